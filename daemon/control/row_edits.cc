// SPDX-License-Identifier: Apache-2.0
#include "control/row_edits.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "ngram/row_addresser.h"

namespace engram {
namespace {

// Position of memory.layers()[layer_index] in geometry().layers, which are in the file's order.
size_t GeometryIndex(const ModelMemory& memory, uint32_t layer_index) {
  const auto& layers = memory.geometry().layers;
  const auto found = std::find_if(layers.begin(), layers.end(), [&](const LayerGeometry& layer) {
    return layer.layer == memory.layers()[layer_index];
  });
  return static_cast<size_t>(found - layers.begin());
}

Error BadEdit(const std::string& field, const std::string& problem) {
  return InvalidArgument(field + ": " + problem, field);
}

// The rows one edit addresses, in order of heads.
Result<std::vector<uint64_t>> AddressedRows(const ModelMemory& memory, const RowEdit& edit, uint32_t layer_index,
                                            const std::string& name) {
  const Geometry& geometry = memory.geometry();
  const size_t layer = GeometryIndex(memory, layer_index);
  if (edit.row.has_value() == edit.ngram.has_value())
    return BadEdit(name, "needs either \"row\" or \"ngram\", and not both");
  if (edit.row) {
    const uint64_t num_rows = geometry.layers[layer].num_rows;
    if (*edit.row >= num_rows)
      return BadEdit(name + ".row", "row " + std::to_string(*edit.row) + " of layer " + std::to_string(edit.layer) +
                                        ", which has " + std::to_string(num_rows) + " rows");
    return std::vector<uint64_t>{*edit.row};
  }
  const RowEdit::Ngram& ngram = *edit.ngram;
  const uint64_t order = ngram.order == 0 ? ngram.tokens.size() : ngram.order;
  if (order < 2 || order > geometry.max_ngram_size)
    return BadEdit(name + ".ngram", "its order is " + std::to_string(order) + ", the model's n-grams have 2 to " +
                                        std::to_string(geometry.max_ngram_size) + " tokens");
  if (ngram.tokens.size() < order)
    return BadEdit(name + ".ngram",
                   "has " + std::to_string(ngram.tokens.size()) + " tokens, its order is " + std::to_string(order));
  const CompressedMap& map = memory.compressed_map();
  const auto tail = std::span(ngram.tokens).last(order);
  for (const int32_t token : tail)
    if (token < 0 || token >= map.num_tokens())
      return BadEdit(name + ".ngram", "token " + std::to_string(token) + ", the model has " +
                                          std::to_string(map.num_tokens()) + " tokens");
  RowAddresser addresser(geometry);
  std::vector<uint64_t> ids;
  memory.AppendRowIds(addresser, tail, ids);
  const size_t columns = geometry.num_columns;
  const auto last = std::span(ids).last(geometry.layers.size() * columns).subspan(layer * columns, columns);
  const auto of_order = last.subspan((order - 2) * geometry.num_heads, geometry.num_heads);
  if (ngram.heads.empty()) return std::vector<uint64_t>(of_order.begin(), of_order.end());
  std::vector<uint64_t> rows;
  for (size_t i = 0; i < ngram.heads.size(); ++i) {
    const uint32_t head = ngram.heads[i];
    if (head >= geometry.num_heads)
      return BadEdit(name + ".heads",
                     "head " + std::to_string(head) + ", the model has " + std::to_string(geometry.num_heads));
    if (std::count(ngram.heads.begin(), ngram.heads.end(), head) > 1)
      return BadEdit(name + ".heads", "head " + std::to_string(head) + " twice");
    rows.push_back(of_order[head]);
  }
  return rows;
}

}  // namespace

std::string EditNames::Of(size_t edit) const {
  return list + "[" + std::to_string(edit < entries.size() ? entries[edit] : edit) + "]";
}

Result<uint32_t> LayerIndex(const ModelMemory& memory, uint32_t layer, const std::string& field) {
  const std::vector<uint32_t>& layers = memory.layers();
  const auto found = std::lower_bound(layers.begin(), layers.end(), layer);
  if (found != layers.end() && *found == layer) return static_cast<uint32_t>(found - layers.begin());
  std::string known;
  for (const uint32_t one : layers) known += (known.empty() ? "" : ", ") + std::to_string(one);
  return BadEdit(field, "layer " + std::to_string(layer) + " has no Engram table; layers with one: " + known);
}

Result<ResolvedEdits> ResolveEdits(const ModelMemory& memory, std::span<const RowEdit> edits, uint64_t max_rows,
                                   const EditNames& names) {
  const size_t head_dim = memory.config().head_dim;
  const size_t row_bytes = memory.row_bytes();
  ResolvedEdits resolved;
  std::vector<std::unordered_map<uint64_t, size_t>> seen(memory.layers().size());  // row -> edit
  for (size_t i = 0; i < edits.size(); ++i) {
    const RowEdit& edit = edits[i];
    const std::string name = names.Of(i);
    ENGRAM_TRY(const uint32_t layer_index, LayerIndex(memory, edit.layer, name + ".layer"));
    ENGRAM_TRY(const std::vector<uint64_t> rows, AddressedRows(memory, edit, layer_index, name));
    const size_t n = rows.size();
    const bool is_data = !edit.data.empty();
    const std::string field = name + (is_data ? ".data" : ".values");
    if (is_data == !edit.values.empty()) return BadEdit(name, "needs either \"values\" or \"data\", and not both");
    if (is_data && edit.mode == RowEdit::Mode::kAdd) return BadEdit(field, "stored bytes can only be set, not added");
    const size_t unit = is_data ? row_bytes : head_dim;
    const size_t size = is_data ? edit.data.size() : edit.values.size();
    if (size != unit && size != unit * n)
      return BadEdit(field,
                     "has " + std::to_string(size) + (is_data ? " bytes" : " numbers") + ", a row has " +
                         std::to_string(unit) +
                         (n > 1 ? ", " + std::to_string(n) + " heads " + std::to_string(unit * n) : std::string()));
    if (resolved.rows.size() + n > max_rows)
      return BadEdit(names.list, "more than " + std::to_string(max_rows) + " rows");
    for (size_t k = 0; k < n; ++k) {
      const auto [other, is_new] = seen[layer_index].emplace(rows[k], i);
      if (!is_new)
        return BadEdit(name, "row " + std::to_string(rows[k]) + " of layer " + std::to_string(edit.layer) +
                                 " is also edited by " + names.Of(other->second));
      ResolvedEdit row{static_cast<uint32_t>(i), layer_index, rows[k], edit.mode == RowEdit::Mode::kAdd, 0};
      const size_t from = size == unit ? 0 : k * unit;
      if (row.add) {
        const auto values = std::span(edit.values).subspan(from, head_dim);
        if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
          return BadEdit(field, "holds what is not a finite number");
        row.at = resolved.values.size();
        resolved.values.insert(resolved.values.end(), values.begin(), values.end());
      } else {
        row.at = resolved.bytes.size();
        resolved.bytes.resize(row.at + row_bytes);
        if (is_data) {
          std::copy_n(edit.data.begin() + static_cast<ptrdiff_t>(from), row_bytes,
                      resolved.bytes.begin() + static_cast<ptrdiff_t>(row.at));
        } else if (Status encoded =
                       memory.codec().Encode(std::span(edit.values).subspan(from, head_dim), &resolved.bytes[row.at]);
                   !encoded) {
          return BadEdit(field, encoded.error().message + (from > 0 ? " of head " + std::to_string(k) : ""));
        }
      }
      resolved.rows.push_back(row);
    }
  }
  return resolved;
}

void ChunkBuilder::Add(uint32_t layer, uint64_t row, uint8_t flags, uint64_t before_version,
                       std::span<const uint8_t> after, std::span<const uint8_t> before) {
  if (chunks_.empty() || chunks_.back().layer != layer || chunks_.back().rows.size() == EditChunk::kRows) {
    chunks_.emplace_back();
    chunks_.back().layer = layer;
  }
  EditChunk& chunk = chunks_.back();
  chunk.rows.push_back(row);
  chunk.flags.push_back(flags);
  chunk.before_versions.push_back(before_version);
  chunk.after.insert(chunk.after.end(), after.begin(), after.end());
  chunk.before.insert(chunk.before.end(), before.begin(), before.end());
  ++num_rows_;
}

RowOrigin OriginOf(const MemoryView& view, uint32_t layer_index, uint64_t row) {
  if (view.edits == nullptr) return {};
  const RowMap::Entry entry = view.edits->layers[layer_index].Find(row);
  // Version 0 in a map: a row of an older base, kept because the present base has another one there.
  if (entry.bytes == nullptr || entry.version == 0) return {};
  return {false, entry.version};
}

Result<std::vector<EditChunk>> BuildChunks(const ModelMemory& memory, const MemoryView& view,
                                           const ResolvedEdits& resolved, const EditNames& names) {
  const size_t row_bytes = memory.row_bytes();
  const size_t head_dim = memory.config().head_dim;
  std::vector<size_t> order(resolved.rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const ResolvedEdit& x = resolved.rows[a];
    const ResolvedEdit& y = resolved.rows[b];
    return std::pair(x.layer_index, x.row) < std::pair(y.layer_index, y.row);
  });
  ChunkBuilder chunks;
  std::vector<uint64_t> ids;
  std::vector<uint8_t> before;
  std::vector<uint8_t> after(row_bytes);
  std::vector<float> values(head_dim);
  for (size_t begin = 0; begin < order.size();) {
    const uint32_t layer_index = resolved.rows[order[begin]].layer_index;
    ids.clear();
    size_t end = begin;
    for (; end < order.size() && ids.size() < EditChunk::kRows; ++end) {
      if (resolved.rows[order[end]].layer_index != layer_index) break;
      ids.push_back(resolved.rows[order[end]].row);
    }
    before.resize(ids.size() * row_bytes);
    ENGRAM_CHECK_OK(memory.ReadRows(view, layer_index, ids, before.data()));
    for (size_t i = begin; i < end; ++i) {
      const ResolvedEdit& edit = resolved.rows[order[i]];
      const uint8_t* const old = &before[(i - begin) * row_bytes];
      std::span<const uint8_t> bytes(after);
      if (edit.add) {
        memory.codec().Decode(old, values.data());
        for (size_t d = 0; d < head_dim; ++d) values[d] += resolved.values[edit.at + d];
        if (Status encoded = memory.codec().Encode(values, after.data()); !encoded)
          return BadEdit(names.Of(edit.edit) + ".values",
                         "added to row " + std::to_string(edit.row) + ": " + encoded.error().message);
      } else {
        bytes = std::span(resolved.bytes).subspan(edit.at, row_bytes);
      }
      const RowOrigin origin = OriginOf(view, layer_index, edit.row);
      chunks.Add(memory.layers()[layer_index], edit.row, origin.is_base ? kBeforeIsBase : 0, origin.version, bytes,
                 {old, row_bytes});
    }
    begin = end;
  }
  return chunks.Take();
}

double Norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

}  // namespace engram
