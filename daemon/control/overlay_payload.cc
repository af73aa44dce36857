// SPDX-License-Identifier: Apache-2.0
#include "control/overlay_payload.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "control/row_edits.h"

namespace engram {
namespace {

constexpr std::string_view kMagic = "ENGROVL1";
constexpr size_t kMaxName = 200;

void Put(std::vector<uint8_t>& out, uint64_t number) {
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<uint8_t>(number >> (8 * i)));
}

// Reads a payload front to back; after the first thing that does not fit, everything is zero and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }
  uint64_t Number() {
    const auto bytes = Take(8);
    uint64_t number = 0;
    for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | bytes[i];
    return number;
  }
  // A count of things that take at least `unit` bytes each.
  uint64_t Count(size_t unit) {
    const uint64_t count = Number();
    if (ok_ && count > left() / unit) ok_ = false;
    return ok_ ? count : 0;
  }
  std::span<const uint8_t> Take(size_t size) {
    if (!ok_ || size > left()) {
      ok_ = false;
      return {};
    }
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  void Fail() { ok_ = false; }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

Error BadEntry(const std::string& field, const std::string& problem) {
  return InvalidArgument(field + ": " + problem, field);
}

Result<OverlayContent::Guarded> ResolveGuarded(const ModelMemory& memory, const OverlayRequest::Guarded& guarded,
                                               const std::string& name) {
  const size_t head_dim = memory.config().head_dim;
  const size_t columns = memory.geometry().num_columns;
  OverlayContent::Guarded entry;
  if (guarded.suffix.size() < kMinSuffixTokens || guarded.suffix.size() > kMaxSuffixTokens)
    return BadEntry(name + ".suffix", "has " + std::to_string(guarded.suffix.size()) + " tokens, a suffix has " +
                                          std::to_string(kMinSuffixTokens) + " to " + std::to_string(kMaxSuffixTokens));
  const CompressedMap& map = memory.compressed_map();
  for (const int32_t token : guarded.suffix) {
    if (token < 0 || token >= map.num_tokens())
      return BadEntry(name + ".suffix", "token " + std::to_string(token) + ", the model has " +
                                            std::to_string(map.num_tokens()) + " tokens");
    entry.suffix.push_back(map[token]);
  }
  if (guarded.memory.empty()) return BadEntry(name + ".memory", "names no layer");
  for (const auto& [layer, values] : guarded.memory) {
    const std::string field = name + ".memory." + std::to_string(layer);
    ENGRAM_TRY(const uint32_t layer_index, LayerIndex(memory, layer, field));
    if (values.size() != columns * head_dim)
      return BadEntry(field, "has " + std::to_string(values.size()) + " numbers, the memory vector has " +
                                 std::to_string(columns * head_dim));
    std::vector<uint8_t> rows(columns * memory.row_bytes());
    for (size_t c = 0; c < columns; ++c)
      if (Status encoded =
              memory.codec().Encode(std::span(values).subspan(c * head_dim, head_dim), &rows[c * memory.row_bytes()]);
          !encoded)
        return BadEntry(field, encoded.error().message + ", counted from " + std::to_string(c * head_dim));
    entry.memory.emplace(layer_index, std::move(rows));
  }
  return entry;
}

}  // namespace

Status CheckOverlayName(std::string_view name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (!name.empty() && name.size() <= kMaxName && name.front() != '.' &&
      std::all_of(name.begin(), name.end(), is_plain))
    return {};
  return InvalidArgument("an overlay's name has 1 to " + std::to_string(kMaxName) +
                             " letters, digits, '.', '_' or '-', and does not start with '.'",
                         "name");
}

Result<OverlayContent> ResolveOverlay(const ModelMemory& memory, const OverlayRequest& request, uint64_t max_rows) {
  ENGRAM_CHECK_OK(CheckOverlayName(request.name));
  const EditNames row_names{"entries", request.row_entries};
  const EditNames guarded_names{"entries", request.guarded_entries};
  if (request.rows.empty() && request.guarded.empty()) return BadEntry("entries", "an overlay needs at least one");
  if (request.guarded.size() > max_rows)
    return BadEntry("entries", "more than " + std::to_string(max_rows) + " guarded entries");
  for (size_t i = 0; i < request.rows.size(); ++i)
    if (request.rows[i].mode != RowEdit::Mode::kSet)
      return BadEntry(row_names.Of(i) + ".mode", "an overlay's rows are set, not added to what may change below them");
  ENGRAM_TRY(const ResolvedEdits resolved, ResolveEdits(memory, request.rows, max_rows, row_names));
  OverlayContent content;
  for (const ResolvedEdit& edit : resolved.rows) {
    const auto bytes = std::span(resolved.bytes).subspan(edit.at, memory.row_bytes());
    content.rows.push_back({edit.layer_index, edit.row, {bytes.begin(), bytes.end()}});
  }
  std::map<std::vector<int32_t>, size_t> seen;
  for (size_t i = 0; i < request.guarded.size(); ++i) {
    ENGRAM_TRY(OverlayContent::Guarded entry, ResolveGuarded(memory, request.guarded[i], guarded_names.Of(i)));
    const auto [other, is_new] = seen.emplace(entry.suffix, i);
    if (!is_new)
      return BadEntry(guarded_names.Of(i) + ".suffix",
                      "is, compressed, the same as that of " + guarded_names.Of(other->second));
    content.guarded.push_back(std::move(entry));
  }
  return content;
}

std::vector<uint8_t> EncodeOverlay(const ModelMemory& memory, const OverlayContent& content) {
  std::vector<uint8_t> out(kMagic.begin(), kMagic.end());
  Put(out, memory.row_bytes());
  Put(out, memory.geometry().num_columns);
  Put(out, content.rows.size());
  for (const OverlayContent::Row& row : content.rows) {
    Put(out, memory.layers()[row.layer]);
    Put(out, row.row);
    out.insert(out.end(), row.bytes.begin(), row.bytes.end());
  }
  Put(out, content.guarded.size());
  for (const OverlayContent::Guarded& guarded : content.guarded) {
    Put(out, guarded.suffix.size());
    for (const int32_t id : guarded.suffix) Put(out, static_cast<uint64_t>(id));
    Put(out, guarded.memory.size());
    for (const auto& [layer, rows] : guarded.memory) {
      Put(out, memory.layers()[layer]);
      out.insert(out.end(), rows.begin(), rows.end());
    }
  }
  return out;
}

Result<OverlayContent> DecodeOverlay(const ModelMemory& memory, std::span<const uint8_t> payload) {
  const size_t row_bytes = memory.row_bytes();
  const size_t columns = memory.geometry().num_columns;
  Reader in(payload);
  const auto magic = in.Take(kMagic.size());
  if (!std::equal(magic.begin(), magic.end(), kMagic.begin(), kMagic.end()) || in.Number() != row_bytes ||
      in.Number() != columns)
    return DataLoss("an overlay's payload is not one of this model");
  const std::vector<uint32_t>& layers = memory.layers();
  const auto layer_index = [&]() -> uint32_t {
    const uint64_t layer = in.Number();
    const auto found = std::lower_bound(layers.begin(), layers.end(), layer);
    if (found == layers.end() || *found != layer) {
      in.Fail();
      return 0;
    }
    return static_cast<uint32_t>(found - layers.begin());
  };
  OverlayContent content;
  for (uint64_t n = in.Count(16 + row_bytes); n > 0 && in.ok(); --n) {
    OverlayContent::Row row;
    row.layer = layer_index();
    row.row = in.Number();
    const auto bytes = in.Take(row_bytes);
    row.bytes.assign(bytes.begin(), bytes.end());
    content.rows.push_back(std::move(row));
  }
  for (uint64_t n = in.Count(16); n > 0 && in.ok(); --n) {
    OverlayContent::Guarded guarded;
    for (uint64_t tokens = in.Count(8); tokens > 0 && in.ok(); --tokens)
      guarded.suffix.push_back(static_cast<int32_t>(in.Number()));
    if (guarded.suffix.size() < kMinSuffixTokens || guarded.suffix.size() > kMaxSuffixTokens) in.Fail();
    for (uint64_t parts = in.Count(8 + columns * row_bytes); parts > 0 && in.ok(); --parts) {
      const uint32_t layer = layer_index();
      const auto bytes = in.Take(columns * row_bytes);
      guarded.memory.emplace(layer, std::vector<uint8_t>(bytes.begin(), bytes.end()));
    }
    content.guarded.push_back(std::move(guarded));
  }
  if (!in.ok() || in.left() != 0)
    return DataLoss("an overlay's payload of " + std::to_string(payload.size()) + " bytes is damaged at byte " +
                    std::to_string(in.at()));
  return content;
}

}  // namespace engram
