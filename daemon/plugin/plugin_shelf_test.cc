// SPDX-License-Identifier: Apache-2.0
#include "plugin/plugin_shelf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file_digest.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PluginShelfTest : public ::testing::Test {
 protected:
  // As an installer does: written beside and renamed, so that what is mapped keeps its pages.
  void Install(const char* plugin, const fs::path& path) {
    const fs::path temporary = path.string() + ".new";
    fs::copy_file(fs::path(ENGRAM_TEST_PLUGIN_DIR) / "test" / plugin, temporary);
    fs::rename(temporary, path);
  }
  const TempDir dir_;
  const fs::path path_ = dir_.path() / "tier-1.so";
  PluginShelf shelf_;
};

TEST_F(PluginShelfTest, OpensAFileOnceAndForgetsIt) {
  Install("bad_none.so", path_);
  auto first = shelf_.Load(path_, ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(shelf_.Load(path_, ENGRAM_PLUGIN_TIER).value(), *first);
  const auto listed = shelf_.List();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].path, path_);
  EXPECT_EQ(listed[0].name, (*first)->name());
  EXPECT_EQ(listed[0].sha256, FileSha256(path_).value());
  EXPECT_TRUE(listed[0].in_use);
  EXPECT_FALSE(listed[0].is_kept);
  EXPECT_FALSE(shelf_.Load(path_, ENGRAM_PLUGIN_BACKBONE));
  first = NotFound("dropped");
  EXPECT_TRUE(shelf_.List().empty());
}

TEST_F(PluginShelfTest, ChecksTheDigest) {
  Install("bad_none.so", path_);
  const std::string wrong(64, '0');
  const auto refused = shelf_.Load(path_, ENGRAM_PLUGIN_TIER, wrong);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr(path_.string()));
  EXPECT_THAT(refused.error().message, HasSubstr(wrong));
  EXPECT_THAT(refused.error().message, HasSubstr(FileSha256(path_).value()));
  EXPECT_TRUE(shelf_.Load(path_, ENGRAM_PLUGIN_TIER, FileSha256(path_).value()));
}

TEST_F(PluginShelfTest, RefusesOtherContentAtAMappedPath) {
  Install("bad_none.so", path_);
  auto first = shelf_.Load(path_, ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(first) << first.error().message;
  Install("test_tier.so", path_);
  const auto refused = shelf_.Load(path_, ENGRAM_PLUGIN_TIER);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("was replaced while it is loaded"));
  first = NotFound("dropped");
  const auto second = shelf_.Load(path_, ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*second)->name(), "test_tier");
}

TEST_F(PluginShelfTest, AKeptLibraryStaysMappedAndListed) {
  Install("bad_keep_loaded.so", path_);
  ASSERT_TRUE(shelf_.Load(path_, ENGRAM_PLUGIN_TIER));
  const auto listed = shelf_.List();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_FALSE(listed[0].in_use);
  EXPECT_TRUE(listed[0].is_kept);
  Install("bad_none.so", path_);
  EXPECT_FALSE(shelf_.Load(path_, ENGRAM_PLUGIN_TIER));
}

}  // namespace
}  // namespace engram
