// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <thread>

#include "core/bounded_queue.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/result.h"

namespace engram {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("odd", "x");
  return x / 2;
}

Result<int> Quarter(int x) {
  ENGRAM_TRY(const int half, Half(x));
  return Half(half);
}

Status CheckEven(int x) {
  ENGRAM_CHECK_OK(Half(x));
  return {};
}

TEST(Result, CarriesValueOrError) {
  EXPECT_EQ(*Quarter(8), 2);
  const auto bad = Quarter(6);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().field, "x");
  EXPECT_TRUE(CheckEven(2));
  EXPECT_FALSE(CheckEven(3));
  EXPECT_EQ(Half(3).value_or(7), 7);
  EXPECT_EQ(Error(InvalidArgument("bad")).At("a.yaml:3").message, "a.yaml:3: bad");
}

TEST(Result, HoldsMoveOnlyTypes) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  std::unique_ptr<int> value = *std::move(result);
  EXPECT_EQ(*value, 5);
}

TEST(Utf8, FindsValidPrefix) {
  EXPECT_TRUE(IsValidUtf8("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"));
  EXPECT_EQ(ValidUtf8Prefix("ab\xff"), 2u);
  EXPECT_FALSE(IsValidUtf8("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(IsValidUtf8("\xc0\x80"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xf4\x90\x80\x80"));  // above U+10FFFF
}

TEST(Utf8, LossyReplacesMaximalParts) {
  EXPECT_EQ(Utf8Lossy("a\xff"
                      "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(Utf8Lossy("\xf0\x9f\x98"), "\xef\xbf\xbd");
  EXPECT_EQ(Utf8Lossy("\xe4\xb8x"), "\xef\xbf\xbdx");
  EXPECT_EQ(Utf8Lossy("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Utf8, SeesIncompleteTail) {
  EXPECT_EQ(IncompleteUtf8Tail("a"), 0u);
  EXPECT_EQ(IncompleteUtf8Tail("a\xc3"), 1u);
  EXPECT_EQ(IncompleteUtf8Tail("a\xf0\x9f\x98"), 3u);
  EXPECT_EQ(IncompleteUtf8Tail("a\xf0\x9f\x98\x80"), 0u);
  EXPECT_EQ(IncompleteUtf8Tail("\x80\x80\x80\x80"), 0u);
  EXPECT_EQ(IncompleteUtf8Tail("\xff"), 0u);
}

TEST(JsonQuote, EscapesWhatJsonNeeds) {
  EXPECT_EQ(JsonQuote("a\"b\\c\n"), R"("a\"b\\c\u000a")");
  EXPECT_EQ(JsonQuote("\xff"), "\"\xef\xbf\xbd\"");
}

TEST(BoundedQueue, RefusesWhenFullAndDrainsWhenClosed) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  std::thread closer([&] { queue.Close(); });
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), 2);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  closer.join();
  EXPECT_FALSE(queue.TryPush(4));
}

TEST(File, ErrorsNameThePath) {
  EXPECT_EQ(ReadFile("/no/such/file", 10).error().code, ErrorCode::kNotFound);
  EXPECT_NE(ReadFile("/no/such/file", 10).error().message.find("/no/such/file"), std::string::npos);
  EXPECT_EQ(ReadFile("/", 10).error().code, ErrorCode::kInvalidArgument);
  const std::string path = testing::TempDir() + "/core_file_test";
  std::ofstream(path) << "hello";
  EXPECT_EQ(*ReadFile(path, 5), "hello");
  EXPECT_EQ(ReadFile(path, 4).error().code, ErrorCode::kInvalidArgument);
  auto file = ReadOnlyFile::Open(path);
  char buffer[4];
  EXPECT_EQ(file->ReadAt(3, buffer, 4).error().code, ErrorCode::kDataLoss);
  std::remove(path.c_str());
}

TEST(File, AReplacementIsSeenOnlyWhenComplete) {
  const std::filesystem::path directory = std::filesystem::path(testing::TempDir()) / "core_replacement_test";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directory(directory);
  const auto path = directory / "f";
  const auto num_files = [&] {
    return std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator());
  };
  std::ofstream(path) << "old";
  {
    auto file = FileReplacement::Create(path);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(file->WriteAt(0, "new", 3));
  }
  EXPECT_EQ(*ReadFile(path, 10), "old");
  EXPECT_EQ(num_files(), 1);
  auto file = FileReplacement::Create(path);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->WriteAt(2, "new", 3));
  EXPECT_EQ(*ReadFile(path, 10), "old");
  ASSERT_TRUE(file->Commit(6));
  EXPECT_EQ(*ReadFile(path, 10), std::string("\0\0new\0", 6));
  EXPECT_EQ(num_files(), 1);
  EXPECT_EQ(FileReplacement::Create(directory / "none" / "f").error().code, ErrorCode::kNotFound);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace engram
