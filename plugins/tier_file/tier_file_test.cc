// SPDX-License-Identifier: Apache-2.0
// Through the shared object, as the daemon uses it, on real files, each test with both ways to read.
#include <engram/packed_table.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "plugin/tier.h"

namespace engram {
namespace {

using sdk::PackedTableInfo;
using ::testing::HasSubstr;

uint8_t ByteOf(uint64_t row, uint64_t i) {
  return static_cast<uint8_t>((row * 0x9e3779b97f4a7c15u >> 40) + i * 7 + 1);
}

class TierFile : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto tier = Open({{"io", GetParam()}, {"queue_depth", "8"}});
    if (!tier && std::string(GetParam()) == "uring") GTEST_SKIP() << tier.error().message;
    ASSERT_TRUE(tier) << tier.error().message;
    tier_ = *tier;
    std::string pattern = (std::filesystem::temp_directory_path() / "tier_file_test.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override {
    if (!dir_.empty()) std::filesystem::remove_all(dir_);
  }

  static Result<std::shared_ptr<Tier>> Open(const PluginOptions& options) {
    auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_file.so", ENGRAM_PLUGIN_TIER);
    if (!library) return std::move(library).error();
    return Tier::Open(*library, options);
  }

  std::string Path() const { return (dir_ / "rows.table").string(); }

  // Writes the pages that hold `rows` (all of them without it) of a table of fp8 rows; the file is sparse.
  PackedTableInfo Write(uint64_t num_rows, uint32_t head_dim, const std::vector<uint64_t>& rows = {}) {
    PackedTableInfo info = sdk::LayOutPackedTable(14, num_rows, ENGRAM_ROW_FP8_E4M3_UE8M0, head_dim);
    info.table_id = 77;
    info.flags = rows.empty() ? 0u : uint32_t{sdk::kPackedHoles};
    const int fd = ::open(Path().c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    EXPECT_GE(fd, 0);
    uint8_t header[sdk::kPackedHeaderBytes];
    sdk::EncodePackedHeader(info, header);
    EXPECT_EQ(::pwrite(fd, header, sizeof(header), 0), static_cast<ssize_t>(sizeof(header)));
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(info.file_bytes())), 0) << info.file_bytes();
    std::vector<uint64_t> pages;
    for (const uint64_t row : rows) pages.push_back(info.PageOf(row));
    if (rows.empty()) {
      pages.resize(info.num_pages);
      std::iota(pages.begin(), pages.end(), 0);
    }
    for (const uint64_t page : pages) {
      std::vector<uint8_t> bytes(info.page_bytes);
      for (uint32_t r = 0; r < info.RowsIn(page); ++r)
        for (uint32_t i = 0; i < info.row_bytes; ++i)
          bytes[r * info.row_bytes + i] = ByteOf(page * info.rows_per_page + r, i);
      sdk::SealPackedPage(info, page, bytes.data());
      EXPECT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(info.PageOffset(page))),
                static_cast<ssize_t>(bytes.size()));
    }
    ::close(fd);
    return info;
  }

  void Patch(uint64_t offset, const std::string& bytes) {
    std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.flush());
  }

  Result<std::unique_ptr<TierTable>> Attach(const PackedTableInfo& info, std::shared_ptr<Tier> tier = nullptr) {
    engram_table_desc desc{};
    desc.layer = info.layer;
    desc.model = "test-model";
    const std::string path = Path();
    desc.path = path.c_str();
    desc.num_rows = info.num_rows;
    desc.row_bytes = info.row_bytes;
    desc.row_format = info.row_format;
    return TierTable::Attach(tier == nullptr ? tier_ : tier, desc);
  }

  // Reads rows and checks every byte, also those between them.
  static void ExpectRows(const TierTable& table, uint32_t row_bytes, const std::vector<uint64_t>& ids) {
    const uint64_t stride = row_bytes + 5;
    std::vector<uint8_t> dst(ids.size() * stride, 0xa5);
    std::vector<uint8_t> found(ids.size(), 0);
    const Status read = table.Read(ids.data(), static_cast<uint32_t>(ids.size()), dst.data(), stride, found.data());
    ASSERT_TRUE(read) << read.error().message;
    for (size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(found[i], 1);
      for (uint64_t b = 0; b < stride; ++b)
        ASSERT_EQ(dst[i * stride + b], b < row_bytes ? ByteOf(ids[i], b) : 0xa5) << "row " << ids[i] << " byte " << b;
    }
  }

  static Error ReadError(const TierTable& table, std::vector<uint64_t> ids) {
    std::vector<uint8_t> dst(ids.size() * 4096);
    std::vector<uint8_t> found(ids.size());
    const Status read = table.Read(ids.data(), static_cast<uint32_t>(ids.size()), dst.data(), 4096, found.data());
    EXPECT_FALSE(read);
    return read ? Error{} : read.error();
  }

  std::filesystem::path dir_;
  std::shared_ptr<Tier> tier_;
};

TEST_P(TierFile, IsAStoreThatMayBlock) {
  EXPECT_EQ(tier_->info().flags,
            static_cast<uint32_t>(ENGRAM_TIER_STORE | ENGRAM_TIER_PERSISTENT | ENGRAM_TIER_MAY_BLOCK));
  EXPECT_EQ(tier_->info().medium, "file");
}

TEST_P(TierFile, RefusesBadOptions) {
  const auto why = [](const char* key, const char* value) { return Open({{key, value}}).error().message; };
  EXPECT_THAT(why("depth", "1"), HasSubstr("unknown option \"depth\"; known: io, queue_depth, verify"));
  EXPECT_THAT(why("io", "mmap"), HasSubstr("option io is \"mmap\", expected auto, uring or pread"));
  EXPECT_THAT(why("verify", "1"), HasSubstr("expected true or false"));
  for (const char* bad : {"0", "1025", "-1", "8x", ""})
    EXPECT_THAT(why("queue_depth", bad), HasSubstr("expected a number from 1 to 1024")) << bad;
}

// Rows of one byte and a scale, of 264 bytes, of more than a page; one row, single pages, half a last page.
TEST_P(TierFile, ReadsRowsOfEveryGeometry) {
  std::mt19937_64 random(3);
  for (const uint32_t head_dim : {1u, 32u, 256u, 3000u, 5000u}) {
    for (const uint64_t num_rows : {1u, 15u, 16u, 997u}) {
      const PackedTableInfo info = Write(num_rows, head_dim);
      const auto table = Attach(info);
      ASSERT_TRUE(table) << table.error().message;
      for (const size_t count : {0u, 1u, 7u, 500u}) {
        std::vector<uint64_t> ids(count);
        for (uint64_t& id : ids) id = random() % num_rows;  // some more than once
        ExpectRows(**table, info.row_bytes, ids);
      }
      std::vector<uint64_t> all(num_rows);
      std::iota(all.rbegin(), all.rend(), 0);
      ExpectRows(**table, info.row_bytes, all);
    }
  }
}

TEST_P(TierFile, CountsAndReadsNeighbouringPagesTogether) {
  const PackedTableInfo info = Write(15 * 100, 256);
  const auto table = Attach(info);
  ASSERT_TRUE(table);
  std::vector<uint64_t> all(info.num_rows);
  std::iota(all.begin(), all.end(), 0);
  ExpectRows(**table, info.row_bytes, all);
  const auto stats = *(*table)->Stats();
  EXPECT_EQ(stats.reads, 1u);
  EXPECT_EQ(stats.rows, 1500u);
  EXPECT_EQ(stats.hits, 1500u);
  EXPECT_EQ(stats.bytes_read, 100u * 4096);
  EXPECT_EQ(stats.queue_depth, 0u);
  EXPECT_EQ(stats.errors, 0u);
  uint64_t reads = 0;
  for (const uint64_t count : stats.read_latency) reads += count;
  EXPECT_EQ(reads, 7u);  // of 16 pages
}

TEST_P(TierFile, ReadsPast64GigabytesOfASparseFile) {
  constexpr uint64_t kRows = 384'000'000;  // 105 GB
  const std::vector<uint64_t> ids = {0, 14, 15, 252'000'000, 253'000'003, kRows - 16, kRows - 1};
  const PackedTableInfo info = Write(kRows, 256, ids);
  ASSERT_GT(info.PageOffset(info.PageOf(252'000'000)), uint64_t{64} << 30);
  const auto table = Attach(info);
  ASSERT_TRUE(table) << table.error().message;
  ExpectRows(**table, info.row_bytes, ids);
  // A hole holds zero rows.
  const uint64_t hole = 300'000'000;
  std::vector<uint8_t> row(info.row_bytes, 1);
  uint8_t found = 0;
  ASSERT_TRUE((*table)->Read(&hole, 1, row.data(), row.size(), &found));
  EXPECT_EQ(row, std::vector<uint8_t>(info.row_bytes, 0));
}

TEST_P(TierFile, ADamagedPageIsNamedAndOthersAreRead) {
  const PackedTableInfo info = Write(300, 256);
  const auto table = Attach(info);
  ASSERT_TRUE(table);
  Patch(info.PageOffset(7) + 1000, std::string(1, static_cast<char>(ByteOf(7 * 15 + 3, 208) ^ 1)));
  const Error error = ReadError(**table, {0, 7 * 15, 299});
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_THAT(error.message, HasSubstr(Path() + ": layer 14, page 7 at byte " + std::to_string(info.PageOffset(7))));
  EXPECT_GE((*table)->Stats()->errors, 1u);
  ExpectRows(**table, info.row_bytes, {0, 299, 6 * 15, 8 * 15});
  // Two intact pages in each other's place are both damaged.
  std::ifstream file(Path(), std::ios::binary);
  std::string pages(8192, '\0');
  file.seekg(static_cast<std::streamoff>(info.PageOffset(2)));
  file.read(pages.data(), 8192);
  Patch(info.PageOffset(2), pages.substr(4096) + pages.substr(0, 4096));
  EXPECT_THAT(ReadError(**table, {2 * 15}).message, HasSubstr("page 2 "));
  EXPECT_THAT(ReadError(**table, {3 * 15}).message, HasSubstr("page 3 "));
  // A page that was never written, in a table that has no holes.
  Patch(info.PageOffset(5), std::string(4096, '\0'));
  EXPECT_THAT(ReadError(**table, {5 * 15}).message, HasSubstr("page 5 "));
  const auto trusting = Open({{"io", GetParam()}, {"verify", "false"}});
  ASSERT_TRUE(trusting);
  const auto unverified = Attach(info, *trusting);
  ASSERT_TRUE(unverified);
  ExpectRows(**unverified, info.row_bytes, {0, 7 * 15});
}

TEST_P(TierFile, AFileCutWhileOpenIsAnError) {
  const PackedTableInfo info = Write(300, 256);
  const auto table = Attach(info);
  ASSERT_TRUE(table);
  for (const uint64_t size : {info.PageOffset(10) + 100, info.PageOffset(10), uint64_t{0}}) {
    ASSERT_EQ(::truncate(Path().c_str(), static_cast<off_t>(size)), 0);
    const Error error = ReadError(**table, {10 * 15, 290});
    EXPECT_EQ(error.code, ErrorCode::kDataLoss);
    EXPECT_THAT(error.message, HasSubstr("the file ends at byte "));
    EXPECT_THAT(error.message, HasSubstr("truncated after it was opened"));
  }
}

TEST_P(TierFile, RefusesForeignFiles) {
  const PackedTableInfo info = Write(300, 256);
  const auto why = [&](const PackedTableInfo& wanted) {
    const auto table = Attach(wanted);
    return table ? std::string("attached") : table.error().message;
  };
  PackedTableInfo other = info;
  other.layer = 2;
  EXPECT_THAT(why(other), HasSubstr("holds a table with layer 14, the model needs 2"));
  other = info;
  other.num_rows = 301;
  EXPECT_THAT(why(other), HasSubstr("num_rows 300, the model needs 301"));
  other = info;
  other.row_format = ENGRAM_ROW_BF16;
  EXPECT_THAT(why(other), HasSubstr("row_format 3, the model needs 1"));
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{100}, uint64_t{4096}, info.file_bytes() - 1, info.file_bytes() + 1}) {
    Write(300, 256);
    ASSERT_EQ(::truncate(Path().c_str(), static_cast<off_t>(size)), 0);
    EXPECT_THAT(why(info), HasSubstr("layer 14 of test-model: " + Path())) << size;
  }
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    Write(20, 256);
    Patch(random() % 4096, std::string(1, static_cast<char>(1 + random() % 255)));
    why(info);  // refused or, where the byte was that already, attached; but no crash
  }
  std::filesystem::remove(Path());
  EXPECT_THAT(why(info), HasSubstr("open: No such file"));
  ASSERT_EQ(::mkfifo(Path().c_str(), 0600), 0);
  EXPECT_THAT(why(info), HasSubstr("not a regular file"));
  std::filesystem::remove(Path());
  std::filesystem::create_directory(Path());
  EXPECT_NE(why(info), "attached");
  engram_table_desc desc{};
  desc.layer = 14;
  EXPECT_THAT(TierTable::Attach(tier_, desc).error().message, HasSubstr("no packed table is given"));
}

TEST_P(TierFile, RefusesARowBeyondTheTable) {
  const PackedTableInfo info = Write(300, 256);
  const auto table = Attach(info);
  ASSERT_TRUE(table);
  for (const uint64_t id : {uint64_t{300}, UINT64_MAX})
    EXPECT_EQ(ReadError(**table, {0, id}).code, ErrorCode::kInvalidArgument);
  ExpectRows(**table, info.row_bytes, {299});
}

// More threads than there are lanes, on tables of different page sizes.
TEST_P(TierFile, ManyThreadsReadAtOnce) {
  const PackedTableInfo small = Write(3000, 256);
  const auto first = Attach(small);
  ASSERT_TRUE(first);
  std::filesystem::rename(Path(), dir_ / "other.table");
  const PackedTableInfo large = Write(300, 20'000);
  const auto second = Attach(large);
  ASSERT_TRUE(second);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 20; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int round = 0; round < 10; ++round) {
        const bool one = random() % 2 == 0;
        std::vector<uint64_t> ids(random() % 40);
        for (uint64_t& id : ids) id = random() % (one ? small : large).num_rows;
        ExpectRows(one ? **first : **second, (one ? small : large).row_bytes, ids);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ((*first)->Stats()->reads + (*second)->Stats()->reads, 200u);
  EXPECT_EQ((*first)->Stats()->queue_depth, 0u);
}

INSTANTIATE_TEST_SUITE_P(Io, TierFile, ::testing::Values("uring", "pread", "auto"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace engram
