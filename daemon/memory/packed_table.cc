// SPDX-License-Identifier: Apache-2.0
#include "memory/packed_table.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <string_view>

#include "core/sha256.h"
#include "memory/from_sdk.h"

namespace engram {
namespace {

constexpr uint64_t kIoBytes = 1u << 20;

}  // namespace

sdk::PackedDigest HashConstantsDigest(const Geometry& geometry, const LayerGeometry& layer) {
  Sha256 sha;
  constexpr char kName[] = "engram hash constants 1";
  sha.Update(std::string_view(kName, sizeof(kName)));
  sha.UpdateNumber(geometry.max_ngram_size);
  sha.UpdateNumber(geometry.num_heads);
  sha.UpdateNumber(static_cast<uint64_t>(geometry.pad_compressed_id));
  for (const int64_t multiplier : layer.multipliers) sha.UpdateNumber(static_cast<uint64_t>(multiplier));
  for (const int64_t prime : layer.primes) sha.UpdateNumber(static_cast<uint64_t>(prime));
  return sha.Finish();
}

bool IsStated(const sdk::PackedDigest& digest) {
  return digest != sdk::PackedDigest{};
}

std::string HexText(const sdk::PackedDigest& digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Result<std::unique_ptr<PackedTable>> PackedTable::Open(const std::filesystem::path& path) {
  ENGRAM_TRY(ReadOnlyFile file, ReadOnlyFile::Open(path));
  uint8_t header[sdk::kPackedHeaderBytes] = {};
  // A file shorter than a header is told apart from a foreign one by its first bytes.
  const uint64_t readable = std::min<uint64_t>(file.size_bytes(), sizeof(header));
  ENGRAM_CHECK_OK(file.ReadAt(0, header, readable));
  if (readable < sizeof(header) && readable >= sizeof(sdk::kPackedMagic) &&
      std::memcmp(header, sdk::kPackedMagic, sizeof(sdk::kPackedMagic)) == 0)
    return DataLoss(path.string() + ": truncated: " + std::to_string(readable) +
                    " bytes, a packed table's header alone has " + std::to_string(sizeof(header)));
  return FromSdk("reading a packed table", [&]() -> Result<std::unique_ptr<PackedTable>> {
    const sdk::PackedTableInfo info = sdk::DecodePackedHeader(header, file.size_bytes(), path.string());
    return std::unique_ptr<PackedTable>(new PackedTable(std::move(file), info));
  });
}

Status PackedTable::ForEachPage(uint64_t first, uint64_t end,
                                const std::function<Status(uint64_t page, const uint8_t* bytes)>& visit) const {
  const uint64_t at_once = std::clamp<uint64_t>(kIoBytes / info_.page_bytes, 1, std::max<uint64_t>(end - first, 1));
  std::vector<uint8_t> pages(at_once * info_.page_bytes);
  for (uint64_t page = first; page < end; page += at_once) {
    const uint64_t count = std::min(at_once, end - page);
    ENGRAM_CHECK_OK(file_.ReadAt(info_.PageOffset(page), pages.data(), count * info_.page_bytes));
    for (uint64_t i = 0; i < count; ++i) ENGRAM_CHECK_OK(visit(page + i, &pages[i * info_.page_bytes]));
  }
  return {};
}

Status PackedTable::Read(uint64_t first_row, uint64_t num_rows, uint8_t* dst) const {
  if (first_row > info_.num_rows || num_rows > info_.num_rows - first_row)
    return InvalidArgument(path().string() + ": rows " + std::to_string(first_row) + "+" + std::to_string(num_rows) +
                           " of a table of " + std::to_string(info_.num_rows) + " rows");
  if (num_rows == 0) return {};
  const uint64_t end_row = first_row + num_rows;
  return FromSdk("reading a packed table", [&] {
    return ForEachPage(info_.PageOf(first_row), info_.PageOf(end_row - 1) + 1,
                       [&](uint64_t page, const uint8_t* bytes) -> Status {
                         if (!sdk::PackedPageIntact(info_, page, bytes))
                           return DataLoss(sdk::DamagedPageText(info_, page, path().string()));
                         const uint64_t page_row = page * info_.rows_per_page;
                         const uint64_t from = std::max(first_row, page_row);
                         const uint64_t count = std::min(end_row, page_row + info_.rows_per_page) - from;
                         std::memcpy(dst, bytes + info_.OffsetInPage(from), count * info_.row_bytes);
                         dst += count * info_.row_bytes;
                         return {};
                       });
  });
}

engram_row_source PackedTable::source() const {
  engram_row_source source{};
  source.context = const_cast<PackedTable*>(this);
  source.read = [](void* context, uint64_t first_row, uint64_t num_rows, uint8_t* dst, engram_message* message) {
    const Status read = static_cast<const PackedTable*>(context)->Read(first_row, num_rows, dst);
    if (read) return engram_status{ENGRAM_OK};
    WriteMessage(message, read.error().message);
    return StatusFromErrorCode(read.error().code);
  };
  return source;
}

Result<PackedTable::Findings> PackedTable::Verify(const std::function<void(const std::string&)>& report,
                                                  const std::function<Status(uint64_t)>& progress) const {
  return FromSdk("verifying a packed table", [&]() -> Result<Findings> {
    Findings findings;
    Sha256 sha;
    const bool stated = IsStated(info_.content_digest);
    ENGRAM_CHECK_OK(ForEachPage(0, info_.num_pages, [&](uint64_t page, const uint8_t* bytes) -> Status {
      if (!sdk::PackedPageIntact(info_, page, bytes)) {
        ++findings.damaged_pages;
        report(sdk::DamagedPageText(info_, page, path().string()));
      }
      if (stated) sha.Update({bytes, uint64_t{info_.RowsIn(page)} * info_.row_bytes});
      return progress(page + 1);
    }));
    findings.content_checked = stated && findings.damaged_pages == 0;
    findings.content_matches = findings.content_checked && sha.Finish() == info_.content_digest;
    return findings;
  });
}

struct PackedTableWriter::Digest : Sha256 {};

PackedTableWriter::PackedTableWriter(FileReplacement file, const sdk::PackedTableInfo& info)
    : file_(std::move(file)), info_(info), digest_(std::make_unique<Digest>()) {}
PackedTableWriter::~PackedTableWriter() = default;

Result<std::unique_ptr<PackedTableWriter>> PackedTableWriter::Create(const std::filesystem::path& path,
                                                                     const sdk::PackedTableInfo& info) {
  ENGRAM_TRY(FileReplacement file, FileReplacement::Create(path));
  if ((info.flags & sdk::kPackedHoles) == 0) ENGRAM_CHECK_OK(file.Reserve(info.file_bytes()));
  return FromSdk("writing a packed table", [&]() -> Result<std::unique_ptr<PackedTableWriter>> {
    std::unique_ptr<PackedTableWriter> writer(new PackedTableWriter(std::move(file), info));
    // Made from all that is known before the rows are: the same table always gives the same file, and tables of
    // different layers or models have different ids.
    writer->info_.table_id = 0;
    writer->info_.content_digest = {};
    uint8_t header[sdk::kPackedHeaderBytes];
    sdk::EncodePackedHeader(writer->info_, header);
    Sha256 sha;
    sha.Update(std::span<const uint8_t>(header));
    writer->info_.table_id = sdk::internal::GetLittle(sha.Finish().data(), 8);
    writer->pages_.reserve(kIoBytes + info.page_bytes);
    return writer;
  });
}

Status PackedTableWriter::Append(const uint8_t* rows, uint64_t num_rows) {
  if (num_rows > info_.num_rows - rows_)
    return InvalidArgument(file_.path().string() + ": " + std::to_string(num_rows) + " rows after row " +
                           std::to_string(rows_) + " of a table of " + std::to_string(info_.num_rows));
  if ((info_.flags & sdk::kPackedHoles) == 0) digest_->Update({rows, num_rows * info_.row_bytes});
  while (num_rows > 0) {
    const uint64_t page = info_.PageOf(rows_);
    const uint64_t page_row = page * info_.rows_per_page;
    if (rows_ == page_row) pages_.resize((page - first_page_ + 1) * info_.page_bytes);  // zeroed
    uint8_t* bytes = &pages_[(page - first_page_) * info_.page_bytes];
    const uint64_t end_row = page_row + info_.RowsIn(page);
    const uint64_t count = std::min(num_rows, end_row - rows_);
    std::memcpy(bytes + info_.OffsetInPage(rows_), rows, count * info_.row_bytes);
    rows += count * info_.row_bytes;
    num_rows -= count;
    rows_ += count;
    if (rows_ < end_row) continue;
    sdk::SealPackedPage(info_, page, bytes);
    if (pages_.size() >= kIoBytes) ENGRAM_CHECK_OK(Flush());
  }
  return {};
}

Status PackedTableWriter::Flush() {
  ENGRAM_CHECK_OK(file_.WriteAt(info_.PageOffset(first_page_), pages_.data(), pages_.size()));
  first_page_ += pages_.size() / info_.page_bytes;
  pages_.clear();
  return {};
}

Status PackedTableWriter::SkipPages(uint64_t num_pages) {
  const uint64_t page = info_.PageOf(rows_);
  if ((info_.flags & sdk::kPackedHoles) == 0 || rows_ % info_.rows_per_page != 0 || num_pages >= info_.num_pages - page)
    return InvalidArgument(file_.path().string() + ": cannot leave " + std::to_string(num_pages) +
                           " pages out at row " + std::to_string(rows_));
  ENGRAM_CHECK_OK(Flush());
  first_page_ = page + num_pages;
  rows_ = first_page_ * info_.rows_per_page;
  return {};
}

Result<sdk::PackedTableInfo> PackedTableWriter::Finish() {
  if (rows_ != info_.num_rows)
    return FailedPrecondition(file_.path().string() + ": only " + std::to_string(rows_) + " of " +
                              std::to_string(info_.num_rows) + " rows were written");
  ENGRAM_CHECK_OK(Flush());
  if ((info_.flags & sdk::kPackedHoles) == 0) info_.content_digest = digest_->Finish();
  uint8_t header[sdk::kPackedHeaderBytes];
  sdk::EncodePackedHeader(info_, header);
  ENGRAM_CHECK_OK(file_.WriteAt(0, header, sizeof(header)));
  ENGRAM_CHECK_OK(file_.Commit(info_.file_bytes()));
  return info_;
}

}  // namespace engram
