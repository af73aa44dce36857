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

LiveModel LiveModel::Of(const std::shared_ptr<Engine>& engine) {
  const Model& model = engine->model();
  LiveModel live;
  live.name = model.name();
  if (model.memory() != nullptr) live.memory = std::shared_ptr<ModelMemory>(engine, model.memory());
  live.tokenizer = std::shared_ptr<const Tokenizer>(engine, &model.tokenizer());
  return live;
}

Result<std::unique_ptr<LiveMemory>> LiveMemory::Open(LiveMemoryOptions options, LiveModel model,
                                                     std::shared_ptr<SharedJournal> journal) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (journal == nullptr) {
    ENGRAM_TRY(journal, SharedJournal::Open(impl->options));
  }
  impl->shared = std::move(journal);
  impl->thread = &impl->shared->thread();
  impl->journal = &impl->shared->journal();
  Impl* const self = impl.get();
  std::shared_ptr<BaseTables> base;
  if (model.memory) {
    ENGRAM_TRY(const ModelRecord known,
               impl->OnJournal([&] { return self->FindOrAddModel(model, /*new_tables=*/false); }));
    ENGRAM_TRY(base, impl->OpenCataloguedBase(known, *model.memory));
  }
  ENGRAM_CHECK_OK(impl->OnJournal([&]() -> Status {
    ENGRAM_CHECK_OK(self->Attach(std::move(model), /*new_tables=*/false, std::move(base)));
    self->shared->AddUpkeep(self, [self] { return self->Upkeep(); });
    return {};
  }));
  try {
    impl->tables = std::thread([self] { self->WorkOnJobs(); });
  } catch (const std::system_error& error) {
    impl->thread->Call([self] { self->shared->RemoveUpkeep(self); });
    return ResourceExhausted(std::string("a thread for the tables: ") + error.what());
  }
  return std::unique_ptr<LiveMemory>(new LiveMemory(std::move(impl)));
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

Status LiveMemory::Impl::Attach(LiveModel next, bool new_tables, std::shared_ptr<BaseTables> base) {
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
    ENGRAM_TRY(const uint64_t kept_after, journal->EditsKeptAfter(record));
    const uint64_t first = std::min(head.version, std::max(FirstRetained(), kept_after));
    ENGRAM_TRY(auto versions, RestoreVersions(*journal, record, *next.memory, first, head.version));
    std::map<std::string, OverlayInfo> infos;
    std::vector<std::string> expired;
    ENGRAM_CHECK_OK(RestoreOverlays(record, next, infos, expired));
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
    // Those of another model are deleted when that one is opened again.
    undeleted = {expired.begin(), expired.end()};
    ngrams = nullptr;
    model = std::move(next);
    return {};
  };
  if (Status attached = attach(); !attached) {
    record = old_record;
    head = old_head;
    return attached;
  }
  shared->RemoveUnusedTables(record.id);
  return {};
}

Status LiveMemory::Impl::RestoreOverlays(const ModelRecord& of, const LiveModel& next,
                                         std::map<std::string, OverlayInfo>& infos, std::vector<std::string>& expired) {
  const ModelMemory& memory = *next.memory;
  const int64_t now = UnixMs();
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
  return journal->ForEachOverlay(of, restore);
}

}  // namespace engram
