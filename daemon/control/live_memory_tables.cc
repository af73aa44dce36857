// SPDX-License-Identifier: Apache-2.0
// Other base tables under the edits: compaction and table swap. Thread "tables", but for what must not meet a commit.
#include <algorithm>
#include <thread>

#include "control/history.h"
#include "control/live_memory_impl.h"
#include "core/json_text.h"
#include "core/log.h"
#include "memory/packed_table.h"

namespace engram {
namespace {

constexpr uint64_t kRowsAtOnce = 4096;
// Of a table that is checked, between two steps of its progress.
constexpr uint64_t kPagesAtOnce = 1024;
// Edits leave the journal in transactions of this many commits.
constexpr uint64_t kCommitsAtOnce = 16;
// Until the files of a failed compaction are tried to be removed again.
constexpr std::chrono::seconds kRetry{5};

// Keeps a copying loop at a rate, so that it leaves the disk and the processor to those who serve.
class Throttle {
 public:
  explicit Throttle(uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}
  // Waits until these may have been spent, or until `go_on`, which is asked now and then, says otherwise.
  Status Spend(uint64_t bytes, const std::function<Status()>& go_on) {
    if (bytes_per_s_ == 0) return {};
    spent_ += bytes;
    const auto due = start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                  static_cast<double>(spent_) / static_cast<double>(bytes_per_s_)));
    for (auto now = Clock::now(); now < due; now = Clock::now()) {
      ENGRAM_CHECK_OK(go_on());
      std::this_thread::sleep_until(std::min(due, now + kLongestSleep));
    }
    return {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLongestSleep{100};
  const uint64_t bytes_per_s_;
  const Clock::time_point start_ = Clock::now();
  uint64_t spent_ = 0;
};

const LayerGeometry& GeometryOf(const ModelMemory& memory, uint32_t layer) {
  const auto& layers = memory.geometry().layers;
  return *std::find_if(layers.begin(), layers.end(), [&](const LayerGeometry& one) { return one.layer == layer; });
}

// One layer as the view has it, as a packed table.
Result<sdk::PackedTableInfo> WriteTable(const ModelMemory& memory, const MemoryView& view, uint32_t layer_index,
                                        const std::filesystem::path& path, Throttle& throttle,
                                        const std::function<Status(uint64_t rows, uint64_t total)>& progress) {
  const LayerGeometry& layer = GeometryOf(memory, memory.layers()[layer_index]);
  sdk::PackedTableInfo info =
      sdk::LayOutPackedTable(layer.layer, layer.num_rows, memory.row_format(), memory.config().head_dim);
  info.hash_digest = HashConstantsDigest(memory.geometry(), layer);
  ENGRAM_TRY(const auto writer, PackedTableWriter::Create(path, info));
  std::vector<uint64_t> ids;
  std::vector<uint8_t> rows;
  for (uint64_t first = 0; first < layer.num_rows; first += ids.size()) {
    ENGRAM_CHECK_OK(progress(first, layer.num_rows));
    ids.resize(std::min(kRowsAtOnce, layer.num_rows - first));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = first + i;
    rows.resize(ids.size() * memory.row_bytes());
    ENGRAM_CHECK_OK(memory.ReadRows(view, layer_index, ids, rows.data()));
    ENGRAM_CHECK_OK(writer->Append(rows.data(), ids.size()));
    ENGRAM_CHECK_OK(throttle.Spend(rows.size(), [&] { return progress(first + ids.size(), layer.num_rows); }));
  }
  return writer->Finish();
}

}  // namespace

Result<CompactionReport> LiveMemory::Impl::CompactNow(const std::string& actor, const Progress& progress) {
  if (options.state_dir.empty()) return FailedPrecondition("compaction needs a state_dir to write tables to");
  bool catalogue_touched = false;
  auto folded = Guarded([&] { return FoldNow(actor, progress, catalogue_touched); });
  if (folded) {
    DropFoldedEdits(progress, *folded);
    return folded;
  }
  // A transaction that could not be written is none. One whose flush failed may be found complete in the log after a
  // power cut, and then needs its tables, until something else is written over it.
  const bool may_come_back = catalogue_touched && folded.error().code != ErrorCode::kOutOfSpace;
  const Status removed = OnJournal([&]() -> Status {
    if (may_come_back) {
      abandoned_tables = record.id;
      RemoveAbandonedTables();
    } else {
      shared->RemoveUnusedTables(record.id);
    }
    return {};
  });
  if (!removed) log::Warning("compaction: {}", removed.error().message);
  return folded;
}

void LiveMemory::Impl::RemoveAbandonedTables() {
  const Status written = journal->AddAudit({0, UnixMs(), "engramd", "compaction_failed", ""});
  if (!written) {
    log::Warning("journal: {}", written.error().message);
    remove_at = JournalThread::Clock::now() + kRetry;
    return;
  }
  shared->RemoveUnusedTables(std::exchange(abandoned_tables, 0));
}

std::optional<JournalThread::Clock::time_point> LiveMemory::Impl::Upkeep() {
  if (abandoned_tables != 0 && remove_at <= JournalThread::Clock::now()) RemoveAbandonedTables();
  auto due = ExpireOverlays();
  if (abandoned_tables != 0 && (!due || remove_at < *due)) due = remove_at;
  return due;
}

Result<CompactionReport> LiveMemory::Impl::FoldNow(const std::string& actor, const Progress& progress,
                                                   bool& catalogue_touched) {
  ENGRAM_TRY(const auto memory, Memory());
  ModelRecord before;
  MemoryView view;
  ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
    before = record;
    ENGRAM_TRY(view, memory->View());
    return {};
  }));
  const uint64_t version = view.version();
  if (version == before.base_version)
    return FailedPrecondition("the base tables hold version " + std::to_string(version) + " already");

  CompactionReport report;
  report.base_version = version;
  Throttle throttle(options.compaction_bytes_per_s);
  std::vector<BaseTableRecord> tables;
  std::map<uint32_t, std::filesystem::path> paths = view.base->packed_tables();
  for (uint32_t i = 0; i < memory->layers().size(); ++i) {
    if (view.edits->layers[i].empty()) continue;
    const uint32_t layer = memory->layers()[i];
    BaseTableRecord table = before.tables[i];
    table.path = std::filesystem::path("tables") / (SharedJournal::TablePrefix(before.id) + "layer" +
                                                    std::to_string(layer) + "-v" + std::to_string(version) + ".ngt");
    const std::filesystem::path path = TablePath(table);
    const std::string stage = "folding layer " + std::to_string(layer);
    ENGRAM_TRY(const sdk::PackedTableInfo info,
               WriteTable(*memory, view, i, path, throttle, [&](uint64_t done, uint64_t total) {
                 return Step(progress, {stage, done, total});
               }));
    Fault("compact.table");
    table.digest = info.content_digest;
    paths[layer] = path;
    report.tables.push_back({layer, path, table.digest, view.edits->layers[i].size()});
    tables.push_back(std::move(table));
  }
  ENGRAM_CHECK_OK(Step(progress, {"opening the new tables", 0, 0}));
  ENGRAM_TRY(const std::shared_ptr<BaseTables> base, memory->OpenBase(std::move(paths)));
  Fault("compact.opened");
  view = {};
  // The last moment for a cancellation.
  ENGRAM_CHECK_OK(Step(progress, {"serving from the new tables", 0, 0}));

  ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
    ModelRecord after = record;
    after.base_version = version;
    for (const BaseTableRecord& table : tables)
      for (BaseTableRecord& known : after.tables)
        if (known.layer == table.layer) known = table;
    ENGRAM_TRY(const uint64_t kept_after, journal->EditsKeptAfter(record));
    const uint64_t first = std::min(head.version, std::max(FirstRetained(), kept_after));
    // Before the journal says so, as it may fail.
    ENGRAM_TRY(auto versions, RestoreVersions(*journal, after, *memory, first, head.version));
    catalogue_touched = true;
    ENGRAM_CHECK_OK(journal->SetBase(record, version, tables,
                                     {0, UnixMs(), actor, "compaction", "version " + std::to_string(version)}));
    record = std::move(after);
    memory->SwapBase(base, std::move(versions));
    {
      std::lock_guard lock(mutex);
      base_version = version;
    }
    Fault("compact.swapped");
    shared->RemoveUnusedTables(record.id);
    uint64_t rows = 0;
    for (const CompactionReport::Table& table : report.tables) rows += table.rows_folded;
    Emit("compaction", "", rows);
    return {};
  }));
  return report;
}

// The new tables are served by now: what is left of the edits, the next compaction drops.
void LiveMemory::Impl::DropFoldedEdits(const Progress& progress, CompactionReport& report) {
  for (;;) {
    if (!Step(progress, {"dropping folded edits", report.commits_folded, 0})) return;
    const auto dropped = OnJournal([&]() -> Result<uint64_t> {
      const uint64_t up_to = std::min(record.base_version, FirstRetained());
      return journal->DropEdits(record, up_to, kCommitsAtOnce);
    });
    if (!dropped) {
      report.problem = "folded edits are still in the journal: " + dropped.error().message;
      log::Warning("compaction: {}", report.problem);
      return;
    }
    if (*dropped == 0) return;
    report.commits_folded += *dropped;
  }
}

Result<CommitAnswer> LiveMemory::Impl::SwapTableNow(const TableSwapRequest& request, const Progress& progress) {
  ENGRAM_TRY(const auto memory, Memory());
  ENGRAM_TRY(const uint32_t layer_index, LayerIndex(*memory, request.layer, "layer"));
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(request.path, error);
  if (error) return NotFound("path: " + request.path.string() + ": " + error.message(), "path");
  ENGRAM_TRY(const auto table, PackedTable::Open(path));
  const sdk::PackedTableInfo& info = table->info();
  if (request.digest && info.content_digest != *request.digest)
    return InvalidArgument("digest: " + path.string() + " states " + HexText(info.content_digest) + ", asked for is " +
                               HexDigits(*request.digest),
                           "digest");
  std::string first_problem;
  const auto report = [&](const std::string& problem) {
    if (first_problem.empty()) first_problem = problem;
  };
  ENGRAM_TRY(const PackedTable::Findings findings, table->Verify(report, [&](uint64_t pages) -> Status {
    if (pages % kPagesAtOnce != 0) return {};
    return Step(progress, {"checking the table", pages, info.num_pages});
  }));
  if (findings.damaged_pages > 0) return DataLoss("path: " + first_problem);
  if (findings.content_checked && !findings.content_matches)
    return DataLoss("path: " + path.string() + ": its rows do not match the digest in its header");
  ENGRAM_TRY(const MemoryView present, memory->View());
  std::map<uint32_t, std::filesystem::path> paths = present.base->packed_tables();
  paths[request.layer] = path;
  ENGRAM_CHECK_OK(Step(progress, {"opening the new table", 0, 0}));
  ENGRAM_TRY(const std::shared_ptr<BaseTables> base, memory->OpenBase(std::move(paths)));
  ENGRAM_CHECK_OK(Step(progress, {"serving from the new table", 0, 0}));

  return OnJournal([&]() -> Result<CommitAnswer> {
    const size_t at = layer_index;
    BaseTableRecord swapped = record.tables[at];
    swapped.path = path;
    ENGRAM_TRY(swapped.digest, ParseSha256(base->identities()[at]));
    CommitRecord commit = NewRecord(CommitKind::kTableSwap, request.author, request.note, request.actor);
    commit.detail = "{\"layer\":" + std::to_string(request.layer) + ",\"from\":\"" +
                    HexDigits(record.tables[at].digest) + "\",\"to\":\"" + HexDigits(swapped.digest) +
                    "\",\"path\":" + JsonQuote(path.string()) + "}";
    ENGRAM_TRY(const MemoryView view, memory->View());
    auto edits = std::make_shared<MemoryEdits>(*view.edits);
    edits->version = commit.version;
    CommitAnswer answer{commit.version, commit.parent, 0, {}, commit.unix_ms, false};
    ENGRAM_TRY(head, journal->Append(record, head, {std::move(commit), {}, std::nullopt, swapped}));
    record.tables[at] = std::move(swapped);
    record.floor_version = answer.version;
    memory->SwapBase(base, std::move(edits));
    answer.digest = head.digest;
    shared->RemoveUnusedTables(record.id);
    Emit("table_swap", "", 0);
    return answer;
  });
}

}  // namespace engram
