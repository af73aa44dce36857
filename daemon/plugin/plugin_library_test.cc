// SPDX-License-Identifier: Apache-2.0
#include "plugin/plugin_library.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "plugin/function_table.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kPlugins = ENGRAM_TEST_PLUGIN_DIR;

std::string WhyRefused(const fs::path& path, engram_plugin_kind kind = ENGRAM_PLUGIN_TIER) {
  const auto library = PluginLibrary::Load(path, kind);
  if (library) return "not refused";
  EXPECT_THAT(library.error().message, HasSubstr(path.filename().string()));
  return library.error().message;
}

class TemporaryDirectory : public ::testing::Test {
 protected:
  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
};

TEST(PluginLibrary, LoadsAGoodPlugin) {
  const auto library = PluginLibrary::Load(kPlugins / "tier_dram.so", ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_EQ((*library)->name(), "tier_dram");
  EXPECT_EQ((*library)->path(), kPlugins / "tier_dram.so");
  EXPECT_NE((*library)->descriptor().functions, nullptr);
}

TEST(PluginLibrary, UnloadsWithTheLastUser) {
  const fs::path path = kPlugins / "test/bad_none.so";
  auto library = PluginLibrary::Load(path, ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(library) << library.error().message;
  void* loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(loaded, nullptr);
  dlclose(loaded);
  library = NotFound("dropped");
  EXPECT_EQ(dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD), nullptr);
}

TEST(PluginLibrary, RefusesEachBrokenRule) {
  const fs::path bad = kPlugins / "test";
  EXPECT_THAT(WhyRefused(bad / "bad_magic.so"), HasSubstr("magic is 0x12345678, expected 0x4d52474e"));
  EXPECT_THAT(WhyRefused(bad / "bad_major.so"), HasSubstr("ABI major 2, this host speaks 1"));
  EXPECT_THAT(WhyRefused(bad / "bad_minor.so"), HasSubstr("built for ABI 1.3, newer than this host's 1.2"));
  EXPECT_THAT(WhyRefused(bad / "bad_descriptor_size.so"), HasSubstr("struct_size is 24, expected at least 56"));
  EXPECT_THAT(WhyRefused(bad / "bad_no_name.so"), HasSubstr("has no name"));
  EXPECT_THAT(WhyRefused(bad / "bad_long_name.so"), HasSubstr("longer than 64 bytes"));
  EXPECT_THAT(WhyRefused(bad / "bad_no_version.so"), HasSubstr("has no version"));
  EXPECT_THAT(WhyRefused(bad / "bad_null_descriptor.so"), HasSubstr("returned NULL"));
  EXPECT_THAT(WhyRefused(bad / "bad_no_symbol.so"), HasSubstr("does not export engram_plugin_entry()"));
  EXPECT_THAT(WhyRefused(bad / "bad_no_table.so"), HasSubstr("no function table"));
  EXPECT_THAT(WhyRefused(bad / "bad_table_size.so"),
              HasSubstr("engram_tier_functions.struct_size is 48, expected at least 88"));
  EXPECT_THAT(WhyRefused(bad / "bad_no_read.so"), HasSubstr("engram_tier_functions.read is NULL"));
  EXPECT_THAT(WhyRefused(bad / "bad_unknown_kind.so"), HasSubstr("unknown kind 77, expected a tier"));
  EXPECT_THAT(WhyRefused(bad / "bad_unresolved.so"), HasSubstr("engram_function_that_no_library_has"));
  EXPECT_THAT(WhyRefused(bad / "bad_one_of_pair.so", ENGRAM_PLUGIN_BACKBONE), HasSubstr("only row_buffer_new"));
  EXPECT_EQ(WhyRefused(bad / "bad_none.so"), "not refused");
}

TEST(PluginLibrary, RefusesTheOtherKind) {
  EXPECT_THAT(WhyRefused(kPlugins / "tier_dram.so", ENGRAM_PLUGIN_BACKBONE),
              HasSubstr("plugin is a tier, expected a backbone"));
}

TEST(PluginLibrary, ReadsNoMoreOfALongTableThanItKnows) {
  const auto library = PluginLibrary::Load(kPlugins / "test/bad_long_table.so", ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(library) << library.error().message;
  const auto* table = static_cast<const engram_tier_functions*>((*library)->descriptor().functions);
  EXPECT_EQ(table->struct_size, sizeof(engram_tier_functions) + 4 * sizeof(void*));
  EXPECT_EQ(table->map, nullptr);
}

TEST(PluginLibrary, LoadsPluginsOfOlderEditions) {
  for (const int minor : {0, 1}) {
    const auto library =
        PluginLibrary::Load(kPlugins / ("test/bad_edition_" + std::to_string(minor) + ".so"), ENGRAM_PLUGIN_TIER);
    ASSERT_TRUE(library) << library.error().message;
    EXPECT_EQ((*library)->descriptor().abi_minor, minor);
    const auto* table = static_cast<const engram_tier_functions*>((*library)->descriptor().functions);
    EXPECT_NE(table->read, nullptr);
    EXPECT_EQ(table->hot_rows, nullptr);
  }
}

// A table of an edition that this host's would have grown from.
TEST(FunctionTable, FunctionsThatAnOlderTableLacksAreNull) {
  struct Older {
    uint32_t struct_size;
    uint32_t reserved;
    void (*first)();
  };
  struct Newer {
    uint32_t struct_size;
    uint32_t reserved;
    void (*first)();
    void (*second)();
  };
  const Older older[2] = {{sizeof(Older), 0, [] {}}, {1, 2, [] {}}};  // what lies behind it must not be read
  const auto copy = CopyGrowing<Newer>(&older[0]);
  EXPECT_EQ(copy.first, older[0].first);
  EXPECT_EQ(copy.second, nullptr);
  EXPECT_EQ(copy.struct_size, sizeof(Older));
  EXPECT_EQ(ENGRAM_SIZE_THROUGH(Newer, first), sizeof(Older));
}

TEST_F(TemporaryDirectory, RefusesWhatIsNoSharedObject) {
  const fs::path text = directory_ / "text.so";
  std::ofstream(text) << std::string(200, 'x');
  EXPECT_THAT(WhyRefused(text), HasSubstr("no ELF header"));
  const fs::path empty = directory_ / "empty.so";
  std::ofstream(empty).flush();
  EXPECT_THAT(WhyRefused(empty), HasSubstr("only 0 bytes"));
  EXPECT_THAT(WhyRefused(directory_), HasSubstr("not a regular file"));
  const auto missing = PluginLibrary::Load(directory_ / "missing.so", ENGRAM_PLUGIN_TIER);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(WhyRefused("/proc/self/exe"), ::testing::Not("not refused"));
}

TEST_F(TemporaryDirectory, RefusesATruncatedFileAtEveryLength) {
  std::ifstream file(kPlugins / "tier_dram.so", std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GT(whole.size(), 4096u);
  const fs::path cut = directory_ / "cut.so";
  for (size_t size = whole.size() - 1; size > 0; size = size * 3 / 4) {
    std::ofstream(cut, std::ios::binary | std::ios::trunc).write(whole.data(), static_cast<std::streamsize>(size));
    EXPECT_NE(WhyRefused(cut), "not refused") << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(TemporaryDirectory, FindsByNameInOrder) {
  const fs::path first = directory_ / "first";
  const fs::path second = directory_ / "second";
  fs::create_directory(first);
  fs::create_directory(second);
  std::ofstream(second / "a.so").flush();
  const std::vector<fs::path> directories = {directory_ / "absent", first, second};
  EXPECT_EQ(FindPlugin("a", directories).value_or(""), second / "a.so");
  std::ofstream(first / "a.so").flush();
  EXPECT_EQ(FindPlugin("a", directories).value_or(""), first / "a.so");
  EXPECT_EQ(FindPlugin((second / "a.so").string(), directories).value_or(""), second / "a.so");

  const auto missing = FindPlugin("b", directories);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr(first.string() + ", " + second.string()));
  EXPECT_EQ(FindPlugin("b", {}).error().code, ErrorCode::kNotFound);
}

TEST_F(TemporaryDirectory, FindsNothingOutside) {
  const fs::path allowed = directory_ / "allowed";
  const fs::path sibling = directory_ / "allowed-not";
  fs::create_directory(allowed);
  fs::create_directory(sibling);
  const fs::path outside = sibling / "a.so";
  std::ofstream(outside).flush();
  fs::create_symlink(outside, allowed / "link.so");
  const auto why = [&](const std::string& name) {
    const auto found = FindPlugin(name, {allowed});
    return found ? "found " + found->string() : found.error().message;
  };
  EXPECT_THAT(why(outside.string()), HasSubstr("is outside the plugin directories"));
  EXPECT_THAT(why((allowed / "../allowed-not/a.so").string()), HasSubstr("is outside"));
  EXPECT_THAT(why("../allowed-not/a"), HasSubstr("not found"));
  EXPECT_THAT(why("link"), HasSubstr("is outside"));
  EXPECT_THAT(why((allowed / "link.so").string()), HasSubstr("is outside"));
  EXPECT_THAT(why(""), HasSubstr("not a name or path"));
  EXPECT_THAT(why(std::string("a\0b", 3)), HasSubstr("not a name or path"));
}

}  // namespace
}  // namespace engram
