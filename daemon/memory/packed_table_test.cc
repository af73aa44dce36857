// SPDX-License-Identifier: Apache-2.0
// Real files, and the ways they go wrong.
#include "memory/packed_table.h"

#include <engram/synthetic_rows.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace engram {
namespace {

namespace fs = std::filesystem;
using sdk::PackedTableInfo;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kSeed = 7;

std::string Contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class PackedTableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "engram_packed_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    file_ = directory_ / "t.ngt";
  }
  void TearDown() override { fs::remove_all(directory_); }

  // Synthetic rows, appended `at_once` at a time.
  PackedTableInfo Write(PackedTableInfo info, uint64_t at_once = 1000) {
    auto writer = PackedTableWriter::Create(file_, info);
    EXPECT_TRUE(writer) << writer.error().message;
    std::vector<uint8_t> rows(at_once * info.row_bytes);
    for (uint64_t row = 0; row < info.num_rows; row += at_once) {
      const uint64_t count = std::min(at_once, info.num_rows - row);
      for (uint64_t i = 0; i < count; ++i)
        sdk::SyntheticRow(kSeed, row + i, info.row_format, info.head_dim, &rows[i * info.row_bytes]);
      const Status appended = (*writer)->Append(rows.data(), count);
      EXPECT_TRUE(appended) << appended.error().message;
    }
    auto finished = (*writer)->Finish();
    EXPECT_TRUE(finished) << finished.error().message;
    return *finished;
  }
  void Put(const std::string& bytes) { std::ofstream(file_, std::ios::binary | std::ios::trunc) << bytes; }
  // A header with `change` applied and its checksum made right again.
  std::string Mutated(std::string bytes, const std::function<void(uint8_t*)>& change) {
    auto* header = reinterpret_cast<uint8_t*>(bytes.data());
    change(header);
    sdk::internal::PutLittle(header + 4092, sdk::Crc32c(header, 4092), 4);
    return bytes;
  }
  // The message of the failure to open `bytes`, with its code before it.
  std::string OpenError(const std::string& bytes) {
    Put(bytes);
    const auto table = PackedTable::Open(file_);
    return table ? "opened" : std::string(ErrorCodeName(table.error().code)) + " " + table.error().message;
  }

  fs::path directory_;
  fs::path file_;
};

TEST(Crc32cTest, KnownAnswersOnBothPaths) {
  std::vector<uint8_t> ascending(32);
  for (uint8_t i = 0; i < 32; ++i) ascending[i] = i;
  // RFC 3720, B.4.
  EXPECT_EQ(sdk::Crc32c(ascending.data(), 32), 0x46dd794eu);
  EXPECT_EQ(~sdk::internal::CrcPortable(~0u, ascending.data(), 32), 0x46dd794eu);
  EXPECT_EQ(sdk::Crc32c(std::string(32, '\0').data(), 32), 0x8a9136aau);
  EXPECT_EQ(sdk::Crc32c("123456789", 9), 0xe3069283u);
  std::vector<uint8_t> bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + (i >> 3));
  for (size_t offset = 0; offset < 9; ++offset)
    for (size_t size = 0; size + offset <= bytes.size(); ++size) {
      const uint32_t crc = sdk::Crc32c(&bytes[offset], size);
      ASSERT_EQ(crc, ~sdk::internal::CrcPortable(~0u, &bytes[offset], size)) << offset << " " << size;
      ASSERT_EQ(crc, sdk::Crc32c(&bytes[offset + size / 2], size - size / 2, sdk::Crc32c(&bytes[offset], size / 2)));
    }
}

TEST(PackedLayoutTest, PagesAreFilledToThreeQuartersAtLeast) {
  for (uint32_t head_dim = 1; head_dim <= 1u << 15; head_dim += 1 + head_dim / 50)
    for (const engram_row_format format : {ENGRAM_ROW_BF16, ENGRAM_ROW_F32, ENGRAM_ROW_FP8_E4M3_UE8M0}) {
      const PackedTableInfo info = sdk::LayOutPackedTable(1, 1'000'003, format, head_dim);
      ASSERT_GE(info.rows_per_page * info.row_bytes, info.page_bytes / 4 * 3) << head_dim;
      ASSERT_LE(info.rows_per_page * info.row_bytes + sdk::kPackedChecksumBytes, info.page_bytes) << head_dim;
      ASSERT_TRUE(info.row_bytes > 1024 || info.page_bytes == 4096) << head_dim;
      std::vector<uint8_t> header(sdk::kPackedHeaderBytes);
      sdk::EncodePackedHeader(info, header.data());
      ASSERT_EQ(sdk::DecodePackedHeader(header.data(), info.file_bytes(), "t"), info) << head_dim;
    }
  // DeepSeek-V4.1-Flash, layer 1.
  const PackedTableInfo flash = sdk::LayOutPackedTable(1, 384'006'168, ENGRAM_ROW_FP8_E4M3_UE8M0, 256);
  EXPECT_EQ(flash.row_bytes, 264u);
  EXPECT_EQ(flash.rows_per_page, 15u);
  EXPECT_EQ(flash.file_bytes(), (uint64_t{25'600'412} + 1) * 4096);
  EXPECT_THROW(sdk::LayOutPackedTable(1, 10, 9, 8), sdk::PluginError);
  EXPECT_THROW(sdk::LayOutPackedTable(1, 10, ENGRAM_ROW_F32, 40'000), sdk::PluginError);
  EXPECT_THROW(sdk::LayOutPackedTable(1, 0, ENGRAM_ROW_F32, 4), sdk::PluginError);
  EXPECT_THROW(sdk::LayOutPackedTable(1, uint64_t{1} << 43, ENGRAM_ROW_F32, 4), sdk::PluginError);
}

struct Shape {
  engram_row_format format;
  uint32_t head_dim;
  uint64_t num_rows;
  uint64_t at_once;
};

class PackedShape : public PackedTableTest, public ::testing::WithParamInterface<Shape> {};

TEST_P(PackedShape, ReadsBackEveryRow) {
  const Shape shape = GetParam();
  const PackedTableInfo info =
      Write(sdk::LayOutPackedTable(3, shape.num_rows, shape.format, shape.head_dim), shape.at_once);
  const auto table = PackedTable::Open(file_);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ((*table)->info(), info);
  std::vector<uint8_t> expected(shape.num_rows * info.row_bytes);
  for (uint64_t row = 0; row < shape.num_rows; ++row)
    sdk::SyntheticRow(kSeed, row, shape.format, shape.head_dim, &expected[row * info.row_bytes]);
  std::vector<uint8_t> rows(expected.size());
  const engram_row_source source = (*table)->source();
  ASSERT_EQ(source.read(source.context, 0, shape.num_rows, rows.data(), nullptr), ENGRAM_OK);
  EXPECT_TRUE(rows == expected);
  // From the middle of a page to the middle of another.
  const uint64_t first = shape.num_rows / 3, count = shape.num_rows - first - shape.num_rows / 5;
  rows.assign(count * info.row_bytes, 0);
  ASSERT_TRUE((*table)->Read(first, count, rows.data()));
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + static_cast<ptrdiff_t>(first * info.row_bytes)));
  EXPECT_TRUE((*table)->Read(shape.num_rows, 0, nullptr));
  const Status beyond = (*table)->Read(shape.num_rows - 1, 2, rows.data());
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, ErrorCode::kInvalidArgument);
  uint64_t done = 0;
  const auto found = (*table)->Verify([](const std::string& text) { ADD_FAILURE() << text; },
                                      [&](uint64_t pages) {
                                        done = pages;
                                        return Status();
                                      });
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(found->content_checked && found->content_matches);
  EXPECT_EQ(done, info.num_pages);
  // The same rows give the same file, and nothing else is left behind.
  const std::string bytes = Contents(file_);
  Write(sdk::LayOutPackedTable(3, shape.num_rows, shape.format, shape.head_dim), 1);
  EXPECT_TRUE(Contents(file_) == bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackedShape,
                         ::testing::Values(Shape{ENGRAM_ROW_FP8_E4M3_UE8M0, 256, 20'001, 777},  // several flushes
                                           Shape{ENGRAM_ROW_FP8_E4M3_UE8M0, 40, 5'000, 5'000},  // a part block
                                           Shape{ENGRAM_ROW_BF16, 80, 25, 3},                   // exactly one page
                                           Shape{ENGRAM_ROW_BF16, 1, 1, 1},                     // one row
                                           Shape{ENGRAM_ROW_F16, 2'000, 1'001, 10},             // wider than 4 KiB
                                           Shape{ENGRAM_ROW_F32, 1u << 15, 17, 2}));            // one row a page

TEST_F(PackedTableTest, SyntheticValuesAreFiniteAndDifferFromRowToRow) {
  std::vector<uint8_t> a(264), b(264);
  sdk::SyntheticRow(1, 5, ENGRAM_ROW_FP8_E4M3_UE8M0, 256, a.data());
  sdk::SyntheticRow(1, 6, ENGRAM_ROW_FP8_E4M3_UE8M0, 256, b.data());
  EXPECT_NE(a, b);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(a[i] & 0x40, 0);
  for (size_t i = 256; i < 264; ++i) EXPECT_THAT(a[i], AllOf(::testing::Ge(120), ::testing::Le(123)));
  // The two rows of docs/formats.md, computed by another implementation of its function.
  using ::testing::ElementsAre;
  a.resize(9);
  sdk::SyntheticRow(0, 0, ENGRAM_ROW_FP8_E4M3_UE8M0, 8, a.data());
  EXPECT_THAT(a, ElementsAre(0xaf, 0x8d, 0x1d, 0x3b, 0x39, 0xa8, 0x20, 0xa2, 0x78));
  sdk::SyntheticRow(7, 1'000'000, ENGRAM_ROW_FP8_E4M3_UE8M0, 8, a.data());
  EXPECT_THAT(a, ElementsAre(0x29, 0xb2, 0x1a, 0x09, 0xae, 0x16, 0x94, 0x1b, 0x7a));
  for (const uint32_t head_dim : {1u, 3u, 64u}) {
    std::vector<float> row(head_dim);
    sdk::SyntheticRow(9, 1, ENGRAM_ROW_F32, head_dim, reinterpret_cast<uint8_t*>(row.data()));
    for (const float value : row) EXPECT_TRUE(std::abs(value) >= 1.0f / 128 && std::abs(value) < 2) << value;
  }
}

// 101 GiB by its length, with rows beyond 64 GiB that must be the right ones.
TEST_F(PackedTableTest, SparseTableOfFullSize) {
  PackedTableInfo info = sdk::LayOutPackedTable(14, 384'016'682, ENGRAM_ROW_FP8_E4M3_UE8M0, 256);
  info.flags = sdk::kPackedHoles;
  auto writer = PackedTableWriter::Create(file_, info);
  ASSERT_TRUE(writer) << writer.error().message;
  const uint64_t page = (uint64_t{70} << 30) / info.page_bytes;
  std::vector<uint8_t> rows(15 * 264);
  const auto append = [&](uint64_t at) {
    const uint32_t count = info.RowsIn(at);
    for (uint64_t i = 0; i < count; ++i) sdk::SyntheticRow(kSeed, at * 15 + i, info.row_format, 256, &rows[i * 264]);
    return (*writer)->Append(rows.data(), count);
  };
  ASSERT_TRUE((*writer)->SkipPages(page));
  ASSERT_TRUE(append(page));
  EXPECT_FALSE((*writer)->SkipPages(info.num_pages - page - 1));  // the last page must be written
  ASSERT_TRUE((*writer)->SkipPages(info.num_pages - page - 2));
  EXPECT_FALSE((*writer)->Finish());
  ASSERT_TRUE(append(info.num_pages - 1));
  const auto finished = (*writer)->Finish();
  ASSERT_TRUE(finished) << finished.error().message;
  EXPECT_FALSE(IsStated(finished->content_digest));
  struct stat status {};
  ASSERT_EQ(stat(file_.c_str(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), info.file_bytes());
  EXPECT_LT(status.st_blocks * 512, 1 << 20);

  const auto table = PackedTable::Open(file_);
  ASSERT_TRUE(table) << table.error().message;
  std::vector<uint8_t> got(264), expected(264);
  for (const uint64_t row : {page * 15, page * 15 + 14, info.num_rows - 1}) {
    sdk::SyntheticRow(kSeed, row, info.row_format, 256, expected.data());
    ASSERT_TRUE((*table)->Read(row, 1, got.data()));
    EXPECT_EQ(got, expected) << row;
  }
  ASSERT_TRUE((*table)->Read(page * 15 + 15, 1, got.data()));
  EXPECT_EQ(got, std::vector<uint8_t>(264)) << "a hole";

  const auto found =
      (*table)->Verify([](const std::string& text) { ADD_FAILURE() << text; }, [](uint64_t) -> Status { return {}; });
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->damaged_pages, 0u);
  EXPECT_EQ(found->hole_pages, info.num_pages - 2);
}

TEST_F(PackedTableTest, AHoleWhereNoneMayBeIsDamage) {
  const PackedTableInfo info = Write(sdk::LayOutPackedTable(3, 1000, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  ASSERT_EQ(info.num_pages, 67u);
  const std::string intact = Contents(file_);
  // All of it written anew, but for pages 10 to 39 and the last one.
  const int fd = ::open(file_.c_str(), O_RDWR | O_TRUNC);
  ASSERT_GE(fd, 0);
  const auto copy = [&](uint64_t from, uint64_t to) {
    return ::pwrite(fd, intact.data() + from, to - from, static_cast<off_t>(from)) == static_cast<ssize_t>(to - from);
  };
  ASSERT_TRUE(copy(0, info.PageOffset(10)));
  ASSERT_TRUE(copy(info.PageOffset(40), info.PageOffset(66)));
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(intact.size())), 0);
  ::close(fd);
  const auto table = PackedTable::Open(file_);
  ASSERT_TRUE(table) << table.error().message;
  std::vector<std::string> reports;
  uint64_t done = 0;
  const auto found = (*table)->Verify([&](const std::string& text) { reports.push_back(text); },
                                      [&](uint64_t pages) -> Status {
                                        EXPECT_GE(pages, done);
                                        done = pages;
                                        return {};
                                      });
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->damaged_pages, 31u);
  EXPECT_EQ(found->hole_pages, 0u);
  EXPECT_FALSE(found->content_checked);
  EXPECT_EQ(done, 67u);
  // A file system without holes has each of them damaged on its own.
  ASSERT_FALSE(reports.empty());
  EXPECT_THAT(reports.front(), HasSubstr("page 10 at byte 45056 (rows 150 to 164) is damaged"));
  EXPECT_THAT(reports.back(), HasSubstr("page 66 at byte"));
}

TEST_F(PackedTableTest, EveryPartOfAPageIsChecked) {
  const PackedTableInfo info = Write(sdk::LayOutPackedTable(3, 31, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  ASSERT_EQ(info.num_pages, 3u);
  const std::string intact = Contents(file_);
  std::vector<uint8_t> rows(31 * 264);
  // First and last bytes of rows, the slack behind them, the checksum; in a full and in the part page.
  for (const uint64_t page : {0, 2})
    for (const uint32_t offset : {0u, 263u, 264u, 15 * 264u - 1, 15 * 264u, 4091u, 4092u, 4095u})
      for (const uint8_t bit : {1, 128}) {
        std::string bytes = intact;
        bytes[info.PageOffset(page) + offset] ^= static_cast<char>(bit);
        Put(bytes);
        const auto table = PackedTable::Open(file_);
        ASSERT_TRUE(table) << table.error().message;
        const Status read = (*table)->Read(0, 31, rows.data());
        ASSERT_FALSE(read) << page << " " << offset;
        EXPECT_EQ(read.error().code, ErrorCode::kDataLoss);
        const std::string place = page == 0 ? "t.ngt: layer 3, page 0 at byte 4096 (rows 0 to 14) is damaged"
                                            : "t.ngt: layer 3, page 2 at byte 12288 (rows 30 to 30) is damaged";
        EXPECT_THAT(read.error().message, HasSubstr(place));
        EXPECT_TRUE((*table)->Read(15, 15, rows.data())) << "the other pages are fine";
        std::vector<std::string> reports;
        const auto found = (*table)->Verify([&](const std::string& text) { reports.push_back(text); },
                                            [](uint64_t) { return Status(); });
        ASSERT_TRUE(found);
        EXPECT_EQ(found->damaged_pages, 1u);
        EXPECT_FALSE(found->content_checked);
        EXPECT_THAT(reports, ::testing::ElementsAre(HasSubstr(place)));
      }
}

TEST_F(PackedTableTest, MisplacedForeignAndLostPagesAreFound) {
  const PackedTableInfo info = Write(sdk::LayOutPackedTable(3, 45, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  const std::string intact = Contents(file_);
  Write(sdk::LayOutPackedTable(4, 45, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  const std::string other = Contents(file_);
  std::vector<uint8_t> row(264);
  const auto with_page_1 = [&](const std::string& page) {
    std::string bytes = intact;
    bytes.replace(info.PageOffset(1), 4096, page);
    Put(bytes);
    const auto table = PackedTable::Open(file_);
    return table && (*table)->Read(20, 1, row.data());
  };
  EXPECT_TRUE(with_page_1(intact.substr(info.PageOffset(1), 4096)));
  EXPECT_FALSE(with_page_1(intact.substr(info.PageOffset(2), 4096))) << "of another place";
  EXPECT_FALSE(with_page_1(other.substr(info.PageOffset(1), 4096))) << "of another table";
  EXPECT_FALSE(with_page_1(std::string(4096, '\0'))) << "never written";
}

TEST_F(PackedTableTest, ContentDigestIsOfTheRowsAlone) {
  PackedTableInfo info = Write(sdk::LayOutPackedTable(3, 100, ENGRAM_ROW_BF16, 16));
  const std::string intact = Contents(file_);
  const PackedTableInfo other = Write(sdk::LayOutPackedTable(9, 100, ENGRAM_ROW_BF16, 16));
  EXPECT_EQ(HexText(info.content_digest), HexText(other.content_digest));
  EXPECT_NE(info.table_id, other.table_id);
  Put(Mutated(intact, [](uint8_t* header) { header[72] ^= 1; }));
  const auto table = PackedTable::Open(file_);
  ASSERT_TRUE(table);
  const auto found = (*table)->Verify([](const std::string&) {}, [](uint64_t) { return Status(); });
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->content_checked);
  EXPECT_FALSE(found->content_matches);
}

TEST_F(PackedTableTest, EveryHeaderFieldIsChecked) {
  Write(sdk::LayOutPackedTable(3, 31, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  const std::string intact = Contents(file_);
  const auto put = [&](size_t at, uint64_t value, size_t size = 4) {
    return OpenError(Mutated(intact, [&](uint8_t* header) { sdk::internal::PutLittle(header + at, value, size); }));
  };
  EXPECT_EQ(OpenError(intact), "opened");
  EXPECT_THAT(put(0, 'X', 1), AllOf(HasSubstr("invalid_argument"), HasSubstr("t.ngt: not a packed table")));
  EXPECT_THAT(put(8, 2), AllOf(HasSubstr("invalid_argument"), HasSubstr("version 2")));
  EXPECT_THAT(put(12, 8192), AllOf(HasSubstr("data_loss"), HasSubstr("header_bytes at byte 12 is 8192")));
  EXPECT_THAT(put(16, 2), HasSubstr("flags at byte 16 is 2"));
  EXPECT_THAT(put(24, 0, 8), HasSubstr("num_rows at byte 24 is 0"));
  EXPECT_THAT(put(24, ~uint64_t{0}, 8), HasSubstr("num_rows at byte 24"));
  EXPECT_THAT(put(24, uint64_t{1} << 42, 8), HasSubstr("num_pages at byte 56 is 3"));
  EXPECT_THAT(put(24, 46, 8), HasSubstr("num_pages at byte 56 is 3, expected 4"));
  EXPECT_THAT(put(32, 265), HasSubstr("row_bytes at byte 32 is 265, expected 264"));
  EXPECT_THAT(put(36, 1), HasSubstr("row_bytes at byte 32 is 264, expected 512"));
  EXPECT_THAT(put(36, 77), HasSubstr("row_format at byte 36 and head_dim at byte 40 are 77 and 256"));
  EXPECT_THAT(put(40, 0), HasSubstr("are 3 and 0"));
  EXPECT_THAT(put(40, ~uint32_t{0}), HasSubstr("no such row"));
  EXPECT_THAT(put(44, 14), HasSubstr("rows_per_page at byte 44 is 14, expected 15"));
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{4097}, uint64_t{1} << 21, uint64_t{~uint32_t{0}}})
    EXPECT_THAT(put(48, bytes), HasSubstr("page_bytes at byte 48 is " + std::to_string(bytes)));
  EXPECT_THAT(put(48, 8192), HasSubstr("rows_per_page at byte 44 is 15, expected 31"));
  EXPECT_THAT(put(52, 1), HasSubstr("reserved space at byte 52 is 1"));
  EXPECT_THAT(put(56, ~uint64_t{0}, 8), HasSubstr("num_pages at byte 56"));
  EXPECT_THAT(put(136, 5, 1), HasSubstr("reserved space at byte 136 is 5"));
  EXPECT_THAT(put(4091, 5, 1), HasSubstr("reserved space at byte 4091 is 5"));
  // Free fields: another table, whose pages these are not.
  EXPECT_EQ(put(20, 4), "opened");
  EXPECT_EQ(put(64, 1, 8), "opened");
  std::vector<uint8_t> row(264);
  EXPECT_FALSE((*PackedTable::Open(file_))->Read(0, 1, row.data()));
}

TEST_F(PackedTableTest, EveryBitOfTheHeaderCounts) {
  Write(sdk::LayOutPackedTable(3, 31, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  const std::string intact = Contents(file_);
  const auto* bytes = reinterpret_cast<const uint8_t*>(intact.data());
  ASSERT_NO_THROW(sdk::DecodePackedHeader(bytes, intact.size(), "t"));
  std::vector<uint8_t> header(bytes, bytes + sdk::kPackedHeaderBytes);
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    header[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_THROW(sdk::DecodePackedHeader(header.data(), intact.size(), "t"), sdk::PluginError) << bit;
    header[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

TEST_F(PackedTableTest, TruncatedAndForeignFiles) {
  const PackedTableInfo info = Write(sdk::LayOutPackedTable(3, 31, ENGRAM_ROW_FP8_E4M3_UE8M0, 256));
  const std::string intact = Contents(file_);
  for (const size_t size : {size_t{8}, size_t{100}, size_t{4095}, size_t{4096}, size_t{8192}, intact.size() - 1})
    EXPECT_THAT(OpenError(intact.substr(0, size)), AllOf(HasSubstr("data_loss"), HasSubstr("t.ngt: truncated: ")))
        << size;
  for (const size_t size : {size_t{0}, size_t{7}})
    EXPECT_THAT(OpenError(intact.substr(0, size)), HasSubstr("not a packed table"));
  EXPECT_THAT(OpenError(intact + "x"), HasSubstr("t.ngt: longer than its table: 16385 bytes"));
  EXPECT_THAT(OpenError(std::string(5000, 'a')), HasSubstr("not a packed table"));
  EXPECT_FALSE(PackedTable::Open(directory_));
  EXPECT_EQ(PackedTable::Open(directory_ / "none").error().code, ErrorCode::kNotFound);

  // A file that shrinks while it is open.
  Put(intact);
  const auto table = PackedTable::Open(file_);
  ASSERT_TRUE(table);
  fs::resize_file(file_, info.PageOffset(2) + 100);
  std::vector<uint8_t> rows(31 * 264);
  EXPECT_TRUE((*table)->Read(0, 30, rows.data()));
  const Status read = (*table)->Read(30, 1, rows.data());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(read.error().message, HasSubstr("t.ngt"));
}

TEST_F(PackedTableTest, AnUnfinishedTableLeavesTheOldOneAndNothingElse) {
  Put("old");
  const PackedTableInfo info = sdk::LayOutPackedTable(3, 31, ENGRAM_ROW_FP8_E4M3_UE8M0, 256);
  std::vector<uint8_t> rows(32 * 264);
  {
    auto writer = PackedTableWriter::Create(file_, info);
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->Append(rows.data(), 30));
    EXPECT_FALSE((*writer)->SkipPages(1)) << "no holes allowed";
    EXPECT_FALSE((*writer)->Append(rows.data(), 2)) << "more rows than the table has";
    const auto finished = (*writer)->Finish();
    ASSERT_FALSE(finished);
    EXPECT_THAT(finished.error().message, HasSubstr("only 30 of 31 rows"));
  }
  EXPECT_EQ(Contents(file_), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
  const auto nowhere = PackedTableWriter::Create(directory_ / "none" / "t", info);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kNotFound);
}

TEST_F(PackedTableTest, MoreSpaceThanTheDiskHasIsRefusedAtOnce) {
  const PackedTableInfo info = sdk::LayOutPackedTable(3, sdk::kPackedMaxRows, ENGRAM_ROW_F32, 1u << 15);
  const auto writer = PackedTableWriter::Create(file_, info);
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message, HasSubstr("t.ngt: cannot take "));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 0);
}

}  // namespace
}  // namespace engram
