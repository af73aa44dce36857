// SPDX-License-Identifier: Apache-2.0
// From a journal and a loaded model to a live one.
#include <algorithm>

#include "control/history.h"
#include "control/live_memory_impl.h"
#include "control/overlay_payload.h"
#include "core/log.h"
#include "memory/packed_table.h"
#include "serve/engine.h"

namespace engram {
namespace {

// Upkeep that ran out of memory.
constexpr std::chrono::seconds kUpkeepRetry{5};

}  // namespace

LiveModel LiveModel::Of(const std::shared_ptr<Engine>& engine) {
  const Model& model = engine->model();
  LiveModel live;
  live.name = model.name();
  if (model.memory() != nullptr) live.memory = std::shared_ptr<ModelMemory>(engine, model.memory());
  live.tokenizer = std::shared_ptr<const Tokenizer>(engine, &model.tokenizer());
  return live;
}

Result<std::unique_ptr<LiveMemory>> LiveMemory::Open(LiveMemoryOptions options, LiveModel model) {
  auto impl = std::make_unique<Impl>(std::move(options));
  ENGRAM_CHECK_OK(impl->OpenJournal());
  ENGRAM_CHECK_OK(impl->Attach(std::move(model), /*new_tables=*/false));
  Impl* const self = impl.get();
  try {
    impl->thread = std::make_unique<JournalThread>(
        impl->options.max_queued, [self](bool idle) -> std::optional<JournalThread::Clock::time_point> {
          const auto next =
              Guarded([&]() -> Result<std::optional<JournalThread::Clock::time_point>> { return self->Upkeep(idle); });
          if (next) return *next;
          log::Error("journal: {}", next.error().message);
          return JournalThread::Clock::now() + kUpkeepRetry;
        });
    impl->tables = std::thread([self] { self->WorkOnJobs(); });
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("a thread for the journal: ") + error.what());
  }
  return std::unique_ptr<LiveMemory>(new LiveMemory(std::move(impl)));
}

Status LiveMemory::Impl::OpenJournal() {
  JournalOptions journal_options;
  if (!options.state_dir.empty()) {
    journal_options.path = options.state_dir / "journal.sqlite";
    std::error_code error;
    std::filesystem::create_directories(TableDir(), error);
    if (error) return IoError(TableDir().string() + " cannot be made: " + error.message());
  }
  journal_options.vfs = options.sqlite_vfs;
  journal_options.fault_point = options.fault_point;
  ENGRAM_TRY(journal, Journal::Open(std::move(journal_options)));
  if (options.state_dir.empty())
    log::Warning("there is no state_dir: edits of the memory will be lost when engramd stops");
  return {};
}

Result<ModelRecord> LiveMemory::Impl::FindOrAddModel(const LiveModel& next, bool new_tables) const {
  const ModelMemory& memory = *next.memory;
  ENGRAM_TRY(const MemoryView view, memory.View());
  const std::vector<std::string>& identities = view.base->identities();
  ModelRecord present;
  present.name = next.name;
  present.row_format = memory.row_format();
  present.row_bytes = memory.row_bytes();
  for (size_t i = 0; i < memory.layers().size(); ++i) {
    ENGRAM_TRY(const Sha256Digest digest, ParseSha256(identities[i]));
    present.tables.push_back({memory.layers()[i], digest, std::nullopt, digest});
  }
  ENGRAM_TRY(std::optional<ModelRecord> known, journal->FindModel(next.name, present.origin_digest()));
  if (known) return *std::move(known);
  if (!new_tables) ENGRAM_CHECK_OK(CheckNewName(present));
  return journal->AddModel(std::move(present), UnixMs());
}

Status LiveMemory::Impl::CheckNewName(const ModelRecord& present) const {
  ENGRAM_TRY(const std::vector<ModelRecord> models, journal->ListModels());
  for (const ModelRecord& other : models) {
    if (other.name != present.name) continue;
    std::string differences;
    for (const BaseTableRecord& then : other.tables) {
      const auto now = std::find_if(present.tables.begin(), present.tables.end(),
                                    [&](const BaseTableRecord& table) { return table.layer == then.layer; });
      if (now != present.tables.end() && now->origin == then.origin) continue;
      differences += (differences.empty() ? "" : "; ") + ("layer " + std::to_string(then.layer)) + " was " +
                     HexDigits(then.origin) + ", now " +
                     (now == present.tables.end() ? std::string("missing") : HexDigits(now->origin));
    }
    return FailedPrecondition(journal->database().place() + ": the history of model \"" + present.name +
                              "\" is over other tables (" + differences +
                              "). Serve this model under another name (model.name), or bring its former tables back");
  }
  return {};
}

Result<std::shared_ptr<BaseTables>> LiveMemory::Impl::OpenCataloguedBase(const ModelRecord& of,
                                                                         const ModelMemory& memory) const {
  ENGRAM_TRY(const MemoryView view, memory.View());
  std::map<uint32_t, std::filesystem::path> paths = view.base->packed_tables();
  bool changed = false;
  for (size_t i = 0; i < of.tables.size(); ++i) {
    const BaseTableRecord& table = of.tables[i];
    if (!table.path || view.base->identities()[i] == HexDigits(table.digest)) continue;
    paths[table.layer] = TablePath(table);
    changed = true;
  }
  if (!changed) return std::shared_ptr<BaseTables>();
  auto base = memory.OpenBase(std::move(paths));
  if (!base) return std::move(base).error().At("the tables that the journal names");
  for (size_t i = 0; i < of.tables.size(); ++i)
    if (const std::string expected = HexDigits(of.tables[i].digest); (*base)->identities()[i] != expected)
      return DataLoss("the base table of layer " + std::to_string(of.tables[i].layer) +
                      (of.tables[i].path ? " (" + TablePath(of.tables[i]).string() + ")" : std::string()) + " is " +
                      (*base)->identities()[i] + ", the journal names " + expected);
  return base;
}

uint64_t LiveMemory::Impl::FirstRetained() const {
  const uint64_t retain = std::max<uint64_t>(1, options.retain_versions);
  return std::max(record.floor_version, head.version + 1 > retain ? head.version + 1 - retain : 0);
}

Status LiveMemory::Impl::Attach(LiveModel next, bool new_tables) {
  if (!next.memory) {
    std::lock_guard lock(mutex);
    model = std::move(next);
    overlays.clear();
    overlay_bytes = 0;
    base_version = 0;
    return {};
  }
  const ModelRecord old_record = record;
  const JournalHead old_head = head;
  const auto attach = [&]() -> Status {
    ENGRAM_TRY(record, FindOrAddModel(next, new_tables));
    ENGRAM_TRY(head, journal->Head(record));
    ENGRAM_TRY(std::shared_ptr<BaseTables> base, OpenCataloguedBase(record, *next.memory));
    ENGRAM_TRY(const uint64_t kept_after, journal->EditsKeptAfter(record));
    const uint64_t first = std::min(head.version, std::max(FirstRetained(), kept_after));
    ENGRAM_TRY(auto versions, RestoreVersions(*journal, record, *next.memory, first, head.version));
    std::map<std::string, OverlayInfo> infos;
    ENGRAM_CHECK_OK(RestoreOverlays(record, next, infos));
    if (!base) {
      ENGRAM_TRY(const MemoryView view, next.memory->View());
      base = view.base;
    }
    next.memory->SwapBase(std::move(base), std::move(versions));
    std::lock_guard lock(mutex);
    overlays = std::move(infos);
    overlay_bytes = 0;
    for (const auto& [name, info] : overlays) overlay_bytes += info.bytes;
    base_version = record.base_version;
    next_expiry_ms = 0;
    undeleted.clear();  // of another model: deleted when that one is opened again
    ngrams = nullptr;
    model = std::move(next);
    return {};
  };
  if (Status attached = attach(); !attached) {
    record = old_record;
    head = old_head;
    return attached;
  }
  if (!options.state_dir.empty()) RemoveUnusedTables();
  return {};
}

Status LiveMemory::Impl::RestoreOverlays(const ModelRecord& of, const LiveModel& next,
                                         std::map<std::string, OverlayInfo>& infos) {
  const ModelMemory& memory = *next.memory;
  const int64_t now = UnixMs();
  std::vector<std::string> expired;
  const auto restore = [&](OverlayRecord stored, std::span<const uint8_t> payload) -> Status {
    if (stored.expires_ms && *stored.expires_ms <= now) {
      expired.push_back(stored.name);
      return {};
    }
    const std::string place = journal->database().place() + ": overlay \"" + stored.name + "\"";
    Sha256 sha;
    sha.Update(payload);
    if (sha.Finish() != stored.digest) return DataLoss(place + ": its payload does not match its digest");
    auto content = DecodeOverlay(memory, payload);
    if (!content) return std::move(content).error().At(place);
    auto overlay = Overlay::Create(stored.name, *std::move(content), static_cast<uint32_t>(memory.layers().size()));
    if (!overlay) return std::move(overlay).error().At(place);
    memory.overlays().Put(*std::move(overlay));
    infos[stored.name] = {stored.name,   stored.num_rows,   stored.num_guarded, stored.num_bytes,
                          stored.digest, stored.created_ms, stored.expires_ms};
    return {};
  };
  ENGRAM_CHECK_OK(journal->ForEachOverlay(of, restore));
  if (expired.empty()) return {};
  ENGRAM_CHECK_OK(journal->DeleteOverlays(
      of, expired, {0, now, "engramd", "overlay_expired", std::to_string(expired.size()) + " overlays"}));
  log_holds_deleted = true;
  return {};
}

void LiveMemory::Impl::RemoveUnusedTables() {
  std::set<std::filesystem::path> used;
  const auto models = journal->ListModels();
  if (!models) return log::Warning("journal: {}", models.error().message);
  for (const ModelRecord& known : *models)
    for (const BaseTableRecord& table : known.tables)
      if (table.path && table.path->is_relative()) used.insert(TablePath(table));
  std::error_code error;
  std::vector<std::filesystem::path> unused;
  for (const auto& entry : std::filesystem::directory_iterator(TableDir(), error))
    if (entry.is_regular_file(error) && !used.contains(entry.path())) unused.push_back(entry.path());
  for (const std::filesystem::path& path : unused) {
    std::filesystem::remove(path, error);
    log::Info("removed {}, which the journal does not name{}", path.string(),
              error ? ": failed: " + error.message() : std::string());
  }
}

}  // namespace engram
