// SPDX-License-Identifier: Apache-2.0
#include "memory/model_memory.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <mutex>
#include <utility>

#include "memory/packed_table.h"
#include "memory/reclaimer.h"
#include "memory/store_watch.h"

namespace engram {

namespace {

// What the thread that probes stores looks at, since it may outlive the memory.
struct WatchedBase {
  std::mutex mutex;
  std::weak_ptr<BaseTables> base;  // guarded by mutex
};

}  // namespace

struct ModelMemory::Impl {
  Impl(ModelMemoryOptions opened, Geometry expanded, CompressedMap compressed)
      : options(std::move(opened)), geometry(std::move(expanded)), map(std::move(compressed)) {}

  Result<std::shared_ptr<BaseTables>> OpenBase(std::map<uint32_t, std::filesystem::path> packed_tables,
                                               const std::function<Status()>& go_on) const {
    ENGRAM_TRY(std::unique_ptr<BaseTables> base,
               BaseTables::Open({options.model_name, options.model_dir, options.config.head_dim, options.tiers,
                                 std::move(packed_tables), options.hot_sets, go_on},
                                geometry, budget));
    return reclaimer->Track(std::shared_ptr<BaseTables>(std::move(base)));
  }
  std::shared_ptr<BaseTables> CurrentBase() const {
    std::lock_guard lock(mutex);
    return base;
  }

  const ModelMemoryOptions options;
  const Geometry geometry;
  const CompressedMap map;
  std::shared_ptr<TierBudget> budget;
  std::vector<uint32_t> layers;  // ascending
  RowCodec codec;
  std::shared_ptr<Reclaimer> reclaimer;  // frees what the members below drop
  const std::shared_ptr<WatchedBase> watched = std::make_shared<WatchedBase>();

  mutable std::mutex mutex;
  // Guarded by mutex.
  std::shared_ptr<BaseTables> base;
  std::map<uint64_t, std::shared_ptr<const MemoryEdits>> retained;  // by version; the last one is current
  std::shared_ptr<OverlayDirectory> overlays;

  std::shared_ptr<RowGather> gather;
  std::shared_ptr<TokenRowReader> token_rows;  // if there is any lookahead, and tiers that wait
  std::shared_ptr<RowLookahead> lookahead;     // if there is any
  std::shared_ptr<StoreWatch> watch;           // last: reads through the base
};

ModelMemory::ModelMemory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelMemory::~ModelMemory() = default;

Result<std::unique_ptr<ModelMemory>> ModelMemory::Open(ModelMemoryOptions options, CompressedMap map) {
  const EngramConfig& config = options.config;
  if (config.pad_token_id < 0 || config.pad_token_id >= map.num_tokens())
    return InvalidArgument("engram.pad_token_id is " + std::to_string(config.pad_token_id) + ", the tokenizer has " +
                           std::to_string(map.num_tokens()) + " tokens");
  ENGRAM_TRY(Geometry geometry, Geometry::Create(config, map.compressed_vocab_size(), map[config.pad_token_id]));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(geometry), std::move(map));
  impl->budget = std::make_shared<TierBudget>(impl->options.budget_bytes);
  ENGRAM_TRY(impl->reclaimer, Reclaimer::Create());
  impl->overlays = std::make_shared<OverlayDirectory>(impl->reclaimer);
  ENGRAM_TRY(impl->base, impl->OpenBase(impl->options.packed_tables, impl->options.go_on));
  ENGRAM_TRY(impl->codec, RowCodec::Create(impl->base->row_format(), impl->options.config.head_dim));

  // Geometry has the layers in the file's order, in which primes and row ids come; the backbone counts them ascending.
  const std::vector<LayerGeometry>& layers = impl->geometry.layers;
  std::vector<GatherLayer> gather_layers;
  for (uint32_t i = 0; i < layers.size(); ++i) gather_layers.push_back({layers[i].layer, i});
  std::sort(gather_layers.begin(), gather_layers.end(),
            [](const GatherLayer& a, const GatherLayer& b) { return a.layer < b.layer; });
  for (const GatherLayer& layer : gather_layers) impl->layers.push_back(layer.layer);
  ENGRAM_TRY(impl->gather, RowGather::Create(gather_layers, impl->geometry.num_columns, impl->base->row_bytes(),
                                             RowGather::kInlineRows, impl->options.read_timeout));

  if (impl->options.lookahead_tokens > 0) {
    ENGRAM_TRY(impl->lookahead, RowLookahead::Create(gather_layers, impl->geometry.num_columns));
    if (impl->base->may_block()) {
      ENGRAM_TRY(impl->token_rows,
                 TokenRowReader::Create(gather_layers, impl->geometry.num_columns, impl->base->row_bytes()));
    }
  }
  impl->watched->base = impl->base;
  ENGRAM_TRY(impl->watch, StoreWatch::Create([watched = impl->watched]() -> Status {
               std::shared_ptr<BaseTables> base;
               {
                 std::lock_guard lock(watched->mutex);
                 base = watched->base.lock();
               }
               if (base == nullptr) return {};
               for (uint32_t i = 0; i < base->num_layers(); ++i) ENGRAM_CHECK_OK(base->chain(i).Probe(0));
               return {};
             }));

  auto unedited = std::make_shared<MemoryEdits>();
  unedited->layers.resize(layers.size());
  std::unique_ptr<ModelMemory> memory(new ModelMemory(std::move(impl)));
  memory->Publish(std::move(unedited));
  return memory;
}

const Geometry& ModelMemory::geometry() const {
  return impl_->geometry;
}
const EngramConfig& ModelMemory::config() const {
  return impl_->options.config;
}
const CompressedMap& ModelMemory::compressed_map() const {
  return impl_->map;
}
engram_row_format ModelMemory::row_format() const {
  return impl_->codec.format();
}
uint32_t ModelMemory::row_bytes() const {
  return impl_->codec.row_bytes();
}
const RowCodec& ModelMemory::codec() const {
  return impl_->codec;
}
const std::vector<uint32_t>& ModelMemory::layers() const {
  return impl_->layers;
}
OverlayDirectory& ModelMemory::overlays() const {
  std::lock_guard lock(impl_->mutex);
  return *impl_->overlays;
}

Result<MemoryView> ModelMemory::View(std::optional<uint64_t> as_of, std::span<const std::string> overlays) const {
  MemoryView view;
  std::shared_ptr<OverlayDirectory> directory;
  {
    std::lock_guard lock(impl_->mutex);
    const auto& retained = impl_->retained;
    const auto edits = as_of ? retained.find(*as_of) : std::prev(retained.end());
    if (edits == retained.end())
      return NotFound("memory version " + std::to_string(*as_of) + " is not retained; the oldest that is, is " +
                          std::to_string(retained.begin()->first) + ", the newest " +
                          std::to_string(retained.rbegin()->first),
                      "engram.as_of");
    view.base = impl_->base;
    view.edits = edits->second;
    directory = impl_->overlays;
  }
  ENGRAM_TRY(view.overlays, directory->FindAll(overlays));
  return view;
}

void ModelMemory::Publish(std::shared_ptr<const MemoryEdits> edits) {
  assert(edits->layers.size() == impl_->layers.size());
  const uint64_t version = edits->version;
  edits = impl_->reclaimer->Track(std::move(edits));
  std::lock_guard lock(impl_->mutex);
  auto& retained = impl_->retained;
  assert(retained.empty() || version > retained.rbegin()->first);
  retained.insert_or_assign(version, std::move(edits));
  while (retained.size() > std::max(1u, impl_->options.retain_versions)) retained.erase(retained.begin());
}

std::vector<uint64_t> ModelMemory::retained_versions() const {
  std::lock_guard lock(impl_->mutex);
  std::vector<uint64_t> versions;
  versions.reserve(impl_->retained.size());
  for (const auto& [version, edits] : impl_->retained) versions.push_back(version);
  return versions;
}

Result<std::shared_ptr<BaseTables>> ModelMemory::OpenBase(
    std::map<uint32_t, std::filesystem::path> packed_tables) const {
  ENGRAM_TRY(std::shared_ptr<BaseTables> base, impl_->OpenBase(std::move(packed_tables), {}));
  if (base->row_format() != row_format())
    return InvalidArgument("the tables have row format " + std::to_string(base->row_format()) + ", the model's have " +
                           std::to_string(row_format()));
  return base;
}

void ModelMemory::SwapBase(std::shared_ptr<BaseTables> base, std::vector<std::shared_ptr<const MemoryEdits>> versions) {
  assert(!versions.empty() && base->num_layers() == impl_->layers.size());
  std::map<uint64_t, std::shared_ptr<const MemoryEdits>> retained;
  for (std::shared_ptr<const MemoryEdits>& edits : versions) {
    assert(edits->layers.size() == impl_->layers.size());
    const uint64_t version = edits->version;
    assert(retained.empty() || version > retained.rbegin()->first);
    retained.emplace(version, impl_->reclaimer->Track(std::move(edits)));
  }
  {
    std::lock_guard lock(impl_->watched->mutex);
    impl_->watched->base = base;
  }
  // What was there before goes after the lock.
  std::lock_guard lock(impl_->mutex);
  assert(retained.rbegin()->first >= impl_->retained.rbegin()->first);
  impl_->base.swap(base);
  impl_->retained.swap(retained);
}

void ModelMemory::SwapBase(std::shared_ptr<BaseTables> base, std::shared_ptr<const MemoryEdits> edits) {
  std::vector<std::shared_ptr<const MemoryEdits>> versions;
  versions.push_back(std::move(edits));
  SwapBase(std::move(base), std::move(versions));
}

Status ModelMemory::Adopt(const ModelMemory& predecessor) {
  const auto differs = [this](const std::string& what, const std::string& here, const std::string& there) {
    return FailedPrecondition("the memory of " + impl_->options.model_name + " cannot be taken over: " + what + " is " +
                              here + ", was " + there);
  };
  if (row_format() != predecessor.row_format())
    return differs("the row format", std::to_string(row_format()), std::to_string(predecessor.row_format()));
  if (layers().size() != predecessor.layers().size())
    return differs("the number of Engram layers", std::to_string(layers().size()),
                   std::to_string(predecessor.layers().size()));
  for (size_t i = 0; i < layers().size(); ++i) {
    const LayerGeometry& own = geometry().layers[i];
    const LayerGeometry& former = predecessor.geometry().layers[i];
    const std::string here = HexText(HashConstantsDigest(geometry(), own));
    const std::string there = HexText(HashConstantsDigest(predecessor.geometry(), former));
    if (own.layer != former.layer || own.num_rows != former.num_rows || here != there)
      return differs("what addresses the rows of layer " + std::to_string(former.layer), here, there);
  }
  std::shared_ptr<BaseTables> base;
  std::map<uint64_t, std::shared_ptr<const MemoryEdits>> retained;
  std::shared_ptr<OverlayDirectory> directory;
  {
    std::lock_guard lock(predecessor.impl_->mutex);
    base = predecessor.impl_->base;
    retained = predecessor.impl_->retained;
    directory = predecessor.impl_->overlays;
  }
  const std::shared_ptr<BaseTables> own = impl_->CurrentBase();
  for (size_t i = 0; i < layers().size(); ++i)
    if (own->identities()[i] != base->identities()[i])
      return differs("the table of layer " + std::to_string(layers()[i]), own->identities()[i], base->identities()[i]);
  std::lock_guard lock(impl_->mutex);
  impl_->retained.swap(retained);
  impl_->overlays.swap(directory);
  return {};
}

Status ModelMemory::ReadRows(const MemoryView& view, uint32_t layer_index, std::span<const uint64_t> ids,
                             uint8_t* dst) const {
  if (layer_index >= layers().size())
    return InvalidArgument("Engram layer index " + std::to_string(layer_index) + " of " +
                           std::to_string(layers().size()));
  TableChain& chain = view.base->chain(layer_index);
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= chain.num_rows())
      return InvalidArgument("ids[" + std::to_string(i) + "] is row " + std::to_string(ids[i]) +
                             ", the table of layer " + std::to_string(chain.layer()) + " has " +
                             std::to_string(chain.num_rows()));
  ChainScratch scratch;
  std::vector<const uint8_t*> found(view.patches(layer_index) ? std::min<size_t>(RowGather::kReadRows, ids.size()) : 0);
  for (size_t first = 0; first < ids.size(); first += RowGather::kReadRows) {
    const auto some = ids.subspan(first, std::min<size_t>(RowGather::kReadRows, ids.size() - first));
    uint8_t* const rows = dst + first * row_bytes();
    ENGRAM_CHECK_OK(chain.Read(some.data(), static_cast<uint32_t>(some.size()), rows, scratch));
    if (found.empty()) continue;
    view.FindRows(layer_index, some, found.data());
    for (size_t i = 0; i < some.size(); ++i)
      if (found[i] != nullptr) std::memcpy(rows + i * row_bytes(), found[i], row_bytes());
  }
  return {};
}

void ModelMemory::AppendRowIds(RowAddresser& addresser, std::span<const int32_t> tokens,
                               std::vector<uint64_t>& ids) const {
  const size_t per_token = impl_->geometry.layers.size() * impl_->geometry.num_columns;
  size_t at = ids.size();
  ids.resize(at + tokens.size() * per_token);
  for (const int32_t token : tokens) {
    addresser.Append(impl_->map[token], /*masked=*/false, std::span(ids).subspan(at, per_token));
    at += per_token;
  }
}

const char* RowPlaceKindName(RowPlace::Kind kind) {
  switch (kind) {
    case RowPlace::Kind::kTier:
      return "tier";
    case RowPlace::Kind::kCommit:
      return "commit";
    case RowPlace::Kind::kOverlay:
      break;
  }
  return "overlay";
}

std::vector<RowPlace> ModelMemory::FindPlaces(const MemoryView& view, uint32_t layer_index,
                                              std::span<const uint64_t> ids) const {
  const TableChain& chain = view.base->chain(layer_index);
  std::vector<uint32_t> levels(ids.size());
  chain.Locate(ids, levels);
  std::vector<RowPlace> places(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    RowPlace& place = places[i];
    place.name = chain.level_name(levels[i]);
    if (view.edits != nullptr) {
      if (const RowMap::Entry edited = view.edits->layers[layer_index].Find(ids[i]); edited.bytes != nullptr)
        place = {RowPlace::Kind::kCommit, {}, edited.version};
    }
    for (const auto& overlay : view.overlays)
      if (overlay->FindRow(layer_index, ids[i]) != nullptr) place = {RowPlace::Kind::kOverlay, overlay->name(), 0};
  }
  return places;
}

void ModelMemory::AppendGuarded(const MemoryView& view, SuffixTail& tail, std::span<const int32_t> tokens,
                                uint32_t first_token, std::vector<GuardedMatch>& matches) const {
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    tail.Push(impl_->map[tokens[i]]);
    if (const OverlayContent::Guarded* entry = view.FindGuarded(tail.ids()))
      matches.push_back({first_token + i, entry});
  }
}

void ModelMemory::LookAhead(const MemoryView& view, std::shared_ptr<const PromptProgress> progress,
                            std::span<const uint64_t> prompt_ids, uint32_t first_token, uint32_t end) const {
  // A tier that fails has enough to do with what is needed now.
  if (impl_->lookahead == nullptr || !view.base->gains_from_lookahead() || failing()) return;
  const size_t per_token = impl_->geometry.layers.size() * impl_->geometry.num_columns;
  impl_->lookahead->Request(view.base, std::move(progress), first_token,
                            prompt_ids.subspan(first_token * per_token, (end - first_token) * per_token));
}
uint32_t ModelMemory::lookahead_tokens() const {
  return impl_->options.lookahead_tokens;
}

uint64_t ModelMemory::lookahead_rows() const {
  return impl_->lookahead == nullptr ? 0 : impl_->lookahead->rows_read();
}

std::shared_ptr<TokenRows> ModelMemory::AskRows(const MemoryView& view, std::span<const uint64_t> ids) const {
  // As LookAhead().
  if (impl_->token_rows == nullptr || failing()) return nullptr;
  return impl_->token_rows->Ask(view, ids);
}

uint64_t ModelMemory::tokens_asked() const {
  return impl_->token_rows == nullptr ? 0 : impl_->token_rows->tokens_asked();
}

engram_batch_rows* ModelMemory::BeginBatch(uint32_t num_tokens, std::span<const BatchRowIds> runs) {
  return impl_->gather->Begin(num_tokens, runs);
}
Result<engram_row_view> ModelMemory::AwaitRows(engram_batch_rows* rows, uint32_t layer) {
  auto view = impl_->gather->Await(rows, layer);
  if (!view) impl_->watch->Report();
  return view;
}
const std::optional<Error>& ModelMemory::BatchFailure() const {
  return impl_->gather->failure();
}
void ModelMemory::EndBatch(engram_batch_rows* rows) {
  impl_->gather->End(rows);
}
std::vector<LayerRowStats> ModelMemory::layer_stats() const {
  return impl_->gather->layer_stats(*impl_->CurrentBase());
}
std::vector<TierTableStats> ModelMemory::tier_stats() const {
  return impl_->CurrentBase()->tier_stats();
}
std::optional<HotSets::Progress> ModelMemory::warm_up() const {
  return impl_->CurrentBase()->warm_up();
}
uint64_t ModelMemory::tier_bytes() const {
  return impl_->CurrentBase()->tier_bytes();
}
RowHeat::Report ModelMemory::heat(uint32_t layer_index) const {
  return impl_->CurrentBase()->chain(layer_index).heat().report();
}
bool ModelMemory::stalled() const {
  return impl_->gather->stalled() || (impl_->token_rows != nullptr && impl_->token_rows->stalled());
}
bool ModelMemory::failing() const {
  return impl_->watch->failing();
}

}  // namespace engram
