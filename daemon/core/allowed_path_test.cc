// SPDX-License-Identifier: Apache-2.0
#include "core/allowed_path.h"

#include <gtest/gtest.h>

#include "core/file_digest.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

class AllowedPathTest : public ::testing::Test {
 protected:
  AllowedPathTest() {
    for (const char* name : {"a/m", "b/n", "c/secret", "ab"}) fs::create_directories(dir_.path() / name);
    fs::create_directory_symlink(dir_.path() / "c/secret", dir_.path() / "a/link_out");
    fs::create_directory_symlink(dir_.path() / "b/n", dir_.path() / "c/link_in");
  }
  Result<fs::path> Resolve(const fs::path& path) {
    return ResolveAllowed(path, {dir_.path() / "a", dir_.path() / "missing", dir_.path() / "b"}, "model");
  }
  void ExpectOutside(const fs::path& path) {
    const auto resolved = Resolve(path);
    ASSERT_FALSE(resolved) << *resolved;
    EXPECT_EQ(resolved.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(resolved.error().message.find(path.string()), std::string::npos) << resolved.error().message;
    EXPECT_NE(resolved.error().message.find((dir_.path() / "b").string()), std::string::npos);
  }
  TempDir dir_;
};

TEST_F(AllowedPathTest, InsideAbsoluteRelativeAndThroughLinks) {
  EXPECT_EQ(Resolve(dir_.path() / "a/m").value(), dir_.path() / "a/m");
  EXPECT_EQ(Resolve(dir_.path() / "a").value(), dir_.path() / "a");
  EXPECT_EQ(Resolve("m").value(), dir_.path() / "a/m");
  EXPECT_EQ(Resolve("n/").value().string().substr(0, (dir_.path() / "b/n").string().size()), dir_.path() / "b/n");
  EXPECT_EQ(Resolve("../b/n").value(), dir_.path() / "b/n");
  EXPECT_EQ(Resolve(dir_.path() / "c/link_in").value(), dir_.path() / "b/n");
}

TEST_F(AllowedPathTest, Outside) {
  ExpectOutside(dir_.path() / "c/secret");
  ExpectOutside(dir_.path() / "a/link_out");
  ExpectOutside("../c/secret");
  ExpectOutside(dir_.path() / "ab");  // begins like an allowed one
  ExpectOutside(dir_.path());
  EXPECT_EQ(Resolve(dir_.path() / "a/none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Resolve("").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Resolve(std::string("m\0x", 3)).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ResolveAllowed(dir_.path(), {}, "model").error().code, ErrorCode::kInvalidArgument);
}

TEST(FileDigest, AsSha256sumPrintsThem) {
  TempDir dir;
  dir.Write("b", "abc");
  dir.Write("a", "");
  dir.Write(".hidden", "x");
  fs::create_directory(dir.path() / "sub");
  EXPECT_EQ(FileSha256(dir.path() / "b").value(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(FileSha256(dir.path() / "a").value(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(FileSha256(dir.path() / "none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(DirectorySha256(dir.path()).value(), "bf6e2103d6cbead28abb7d3fec372bc25d03a35b1647e83e090248eb08d0adae");
  EXPECT_EQ(DirectorySha256(dir.path() / "none").error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace engram
