// SPDX-License-Identifier: Apache-2.0
#include "control/history.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "control/row_edits.h"

namespace engram {
namespace {

using Place = std::pair<uint32_t, uint64_t>;  // model layer number, row

struct PlaceHash {
  size_t operator()(const Place& place) const {
    return static_cast<size_t>((place.second ^ (uint64_t{place.first} << 48)) * 0x9e3779b97f4a7c15u >> 7);
  }
};

std::span<const uint8_t> RowOf(const std::vector<uint8_t>& rows, size_t i, size_t row_bytes) {
  return std::span(rows).subspan(i * row_bytes, row_bytes);
}

// Rows of the journal are trusted only where they fit the model.
Result<uint32_t> CheckedLayer(const ModelMemory& memory, const CommitRecord& commit, const EditChunk& chunk) {
  const std::vector<uint32_t>& layers = memory.layers();
  const auto found = std::lower_bound(layers.begin(), layers.end(), chunk.layer);
  if (found == layers.end() || *found != chunk.layer)
    return DataLoss("journal: version " + std::to_string(commit.version) + " edits layer " +
                    std::to_string(chunk.layer) + ", which the model does not have");
  return static_cast<uint32_t>(found - layers.begin());
}

}  // namespace

Status ApplyChunk(const ModelMemory& memory, uint64_t base_version, const CommitRecord& commit, const EditChunk& chunk,
                  MemoryEdits& edits) {
  ENGRAM_TRY(const uint32_t layer, CheckedLayer(memory, commit, chunk));
  RowMap& rows = edits.layers[layer];
  const size_t row_bytes = memory.row_bytes();
  for (size_t i = 0; i < chunk.rows.size(); ++i) {
    const bool is_base = (chunk.flags[i] & kAfterIsBase) != 0;
    if (is_base && commit.base_version == base_version) {
      rows.Erase(chunk.rows[i]);
    } else {
      // A row that was base again, of a base that has been folded since: its bytes, which the present base may not
      // have.
      rows.Set(chunk.rows[i], is_base ? 0 : commit.version, RowOf(chunk.after, i, row_bytes));
    }
  }
  return {};
}

Result<std::vector<std::shared_ptr<const MemoryEdits>>> RestoreVersions(const Journal& journal,
                                                                        const ModelRecord& model,
                                                                        const ModelMemory& memory, uint64_t first,
                                                                        uint64_t last) {
  const uint64_t base = model.base_version;
  const size_t row_bytes = memory.row_bytes();
  std::vector<std::shared_ptr<const MemoryEdits>> versions;
  MemoryEdits edits{base, std::vector<RowMap>(memory.layers().size())};
  const auto keep = [&](uint64_t version) {
    edits.version = version;
    versions.push_back(std::make_shared<const MemoryEdits>(edits));
  };
  // Backwards from the base: what version v-1 showed is what commit v found.
  uint64_t at = base;
  const Status back = journal.ForEachChunk(
      model, std::min(first, base), base, Journal::Order::kNewestFirst, Journal::kBefore,
      [&](const CommitRecord& commit, EditChunk chunk) -> Status {
        while (at > commit.version) keep(--at);
        ENGRAM_TRY(const uint32_t layer, CheckedLayer(memory, commit, chunk));
        for (size_t i = 0; i < chunk.rows.size(); ++i)
          edits.layers[layer].Set(chunk.rows[i], chunk.before_versions[i], RowOf(chunk.before, i, row_bytes));
        return {};
      });
  ENGRAM_CHECK_OK(back);
  while (at > first) keep(--at);
  std::reverse(versions.begin(), versions.end());

  edits.layers.assign(memory.layers().size(), RowMap());
  at = base;
  const Status forward = journal.ForEachChunk(model, base, last, Journal::Order::kOldestFirst, Journal::kAfter,
                                              [&](const CommitRecord& commit, EditChunk chunk) -> Status {
                                                for (; at < commit.version; ++at)
                                                  if (at >= first) keep(at);
                                                return ApplyChunk(memory, base, commit, chunk, edits);
                                              });
  ENGRAM_CHECK_OK(forward);
  for (; at <= last; ++at)
    if (at >= first) keep(at);
  return versions;
}

Status CheckExists(uint64_t version, uint64_t head, const char* field) {
  if (version <= head) return {};
  return NotFound(std::string(field) + ": there is no version " + std::to_string(version) + ", the current one is " +
                      std::to_string(head),
                  field);
}

Status CheckSpan(const Journal& journal, const ModelRecord& model, uint64_t low, uint64_t high, const char* field) {
  const auto refused = [&](const std::string& why) {
    Error error = FailedPrecondition(std::string(field) + ": " + why);
    error.field = field;
    return error;
  };
  if (low < model.floor_version && high >= model.floor_version)
    return refused("version " + std::to_string(low) + " is over other base tables: version " +
                   std::to_string(model.floor_version) + " swapped one");
  ENGRAM_TRY(const uint64_t kept_after, journal.EditsKeptAfter(model));
  if (low < kept_after)
    return refused("the rows of version " + std::to_string(low) + " were folded away by compaction; versions from " +
                   std::to_string(kept_after) + " on are kept");
  return {};
}

Result<std::vector<EditChunk>> BuildRollback(const Journal& journal, const ModelRecord& model,
                                             const ModelMemory& memory, const MemoryView& view, uint64_t to,
                                             uint64_t max_rows) {
  const size_t row_bytes = memory.row_bytes();
  struct Target {
    Place place;
    bool is_base;
    size_t at;  // into `bytes`
  };
  std::vector<Target> targets;
  std::vector<uint8_t> bytes;
  std::unordered_map<Place, bool, PlaceHash> seen;
  // The first commit after `to` that touched a row found what `to` shows.
  const Status read = journal.ForEachChunk(
      model, to, view.version(), Journal::Order::kOldestFirst, Journal::kBefore,
      [&](const CommitRecord& commit, EditChunk chunk) -> Status {
        for (size_t i = 0; i < chunk.rows.size(); ++i) {
          const Place place(chunk.layer, chunk.rows[i]);
          if (!seen.emplace(place, true).second) continue;
          if (targets.size() == max_rows)
            return ResourceExhausted("more than " + std::to_string(max_rows) + " rows differ between version " +
                                     std::to_string(to) + " and now; roll back in steps");
          const bool is_base = (chunk.flags[i] & kBeforeIsBase) != 0 && commit.base_version == model.base_version;
          targets.push_back({place, is_base, bytes.size()});
          const auto before = RowOf(chunk.before, i, row_bytes);
          bytes.insert(bytes.end(), before.begin(), before.end());
        }
        return {};
      });
  ENGRAM_CHECK_OK(read);
  std::sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) { return a.place < b.place; });

  ChunkBuilder chunks;
  std::vector<uint64_t> ids;
  std::vector<uint8_t> current;
  for (size_t begin = 0; begin < targets.size();) {
    const uint32_t layer = targets[begin].place.first;
    ENGRAM_TRY(const uint32_t layer_index, LayerIndex(memory, layer, "to"));
    ids.clear();
    size_t end = begin;
    for (; end < targets.size() && targets[end].place.first == layer && ids.size() < EditChunk::kRows; ++end)
      ids.push_back(targets[end].place.second);
    current.resize(ids.size() * row_bytes);
    ENGRAM_CHECK_OK(memory.ReadRows(view, layer_index, ids, current.data()));
    for (size_t i = begin; i < end; ++i) {
      const Target& target = targets[i];
      const uint64_t row = target.place.second;
      const RowOrigin origin = OriginOf(view, layer_index, row);
      const auto now = RowOf(current, i - begin, row_bytes);
      const auto then = std::span(bytes).subspan(target.at, row_bytes);
      // What shows the right base row needs no edit, whatever showed it then.
      if (std::equal(now.begin(), now.end(), then.begin()) && (origin.is_base || !target.is_base)) continue;
      const auto flags =
          static_cast<uint8_t>((origin.is_base ? kBeforeIsBase : 0) | (target.is_base ? kAfterIsBase : 0));
      chunks.Add(layer, row, flags, origin.version, then, now);
    }
    begin = end;
  }
  return chunks.Take();
}

Result<DiffReport> BuildDiff(const Journal& journal, const ModelRecord& model, const ModelMemory& memory,
                             const DiffRequest& request) {
  const uint64_t low = std::min(request.from, request.to);
  const uint64_t high = std::max(request.from, request.to);
  std::vector<Place> places;
  const Status listed = journal.ForEachChunk(model, low, high, Journal::Order::kOldestFirst, Journal::kIds,
                                             [&](const CommitRecord&, EditChunk chunk) -> Status {
                                               for (const uint64_t row : chunk.rows)
                                                 places.emplace_back(chunk.layer, row);
                                               return {};
                                             });
  ENGRAM_CHECK_OK(listed);
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  DiffReport report;
  report.total = places.size();
  const uint64_t first = std::min<uint64_t>(request.offset, places.size());
  const uint64_t count = std::min<uint64_t>(request.limit, places.size() - first);
  std::unordered_map<Place, size_t, PlaceHash> page;
  for (const Place& place : std::span(places).subspan(first, count)) {
    page.emplace(place, report.rows.size());
    report.rows.push_back({place.first, place.second, {}, {}});
  }
  if (page.empty()) return report;

  const size_t row_bytes = memory.row_bytes();
  const auto state = [&](std::span<const uint8_t> row, bool is_base, uint64_t version) {
    RowState result;
    result.values.resize(memory.config().head_dim);
    memory.codec().Decode(row.data(), result.values.data());
    result.norm = Norm(result.values);
    result.edited = !is_base;
    result.version = is_base ? 0 : version;
    return result;
  };
  const Status filled = journal.ForEachChunk(
      model, low, high, Journal::Order::kOldestFirst, Journal::kBefore | Journal::kAfter,
      [&](const CommitRecord& commit, EditChunk chunk) -> Status {
        for (size_t i = 0; i < chunk.rows.size(); ++i) {
          const auto found = page.find({chunk.layer, chunk.rows[i]});
          if (found == page.end()) continue;
          DiffReport::Row& row = report.rows[found->second];
          if (row.before.values.empty())
            row.before = state(RowOf(chunk.before, i, row_bytes), (chunk.flags[i] & kBeforeIsBase) != 0,
                               chunk.before_versions[i]);
          row.after = state(RowOf(chunk.after, i, row_bytes), (chunk.flags[i] & kAfterIsBase) != 0, commit.version);
        }
        return {};
      });
  ENGRAM_CHECK_OK(filled);
  if (request.from > request.to)
    for (DiffReport::Row& row : report.rows) std::swap(row.before, row.after);
  return report;
}

}  // namespace engram
