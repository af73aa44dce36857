// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "http/commit_body.h"
#include "http/json_body.h"

namespace engram {
namespace {

namespace json = boost::json;

static_assert(std::endian::native == std::endian::little, "safetensors values are little-endian");

constexpr uint64_t kMaxHeaderBytes = 1u << 20;

struct Tensor {
  std::string type;
  std::vector<uint64_t> shape;
  std::string_view bytes;
};

struct LayerTensors {
  std::optional<Tensor> rows;
  std::optional<Tensor> values;
  std::optional<Tensor> data;
};

Error Wrong(const std::string& tensor, const std::string& what) {
  return InvalidArgument("tensor \"" + tensor + "\" " + what, tensor);
}

uint32_t BytesOf(std::string_view type) {
  if (type == "I64") return 8;
  if (type == "F32") return 4;
  if (type == "BF16" || type == "F16") return 2;
  return type == "U8" ? 1 : 0;
}

std::optional<std::vector<uint64_t>> Sizes(const json::value& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<uint64_t> sizes;
  for (const json::value& item : list.get_array()) {
    if (!item.is_int64() || item.get_int64() < 0) return std::nullopt;
    sizes.push_back(static_cast<uint64_t>(item.get_int64()));
  }
  return sizes;
}

Result<Tensor> ReadTensor(const std::string& name, const json::value& value, std::string_view values) {
  if (!value.is_object()) return Wrong(name, "is not described by an object");
  JsonFields fields(value.get_object(), name);
  Tensor tensor;
  tensor.type = fields.String("dtype", "");
  const json::value* shape = fields.Value("shape");
  const json::value* offsets = fields.Value("data_offsets");
  ENGRAM_CHECK_OK(fields.Finish());
  const auto sizes = shape == nullptr ? std::nullopt : Sizes(*shape);
  const auto range = offsets == nullptr ? std::nullopt : Sizes(*offsets);
  if (!sizes || !range || range->size() != 2) return Wrong(name, "lacks a sound shape or data_offsets");
  tensor.shape = *sizes;
  uint64_t num_bytes = BytesOf(tensor.type);
  if (num_bytes == 0) return Wrong(name, "has the type \"" + tensor.type + "\"; I64, F32, F16, BF16 and U8 are known");
  for (const uint64_t size : tensor.shape) {
    if (__builtin_mul_overflow(num_bytes, size, &num_bytes)) return Wrong(name, "is too large");
  }
  const uint64_t begin = (*range)[0];
  const uint64_t end = (*range)[1];
  if (begin > end || end > values.size() || end - begin != num_bytes) {
    return Wrong(name, "has data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) +
                           "]; its shape needs " + std::to_string(num_bytes) + " bytes, the file has " +
                           std::to_string(values.size()));
  }
  tensor.bytes = values.substr(begin, end - begin);
  return tensor;
}

// "layer.L.KIND".
std::optional<std::pair<uint32_t, std::string_view>> ParseName(std::string_view name) {
  constexpr std::string_view kPrefix = "layer.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  uint32_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  name.remove_prefix(static_cast<size_t>(end - name.data()) + 1);
  return std::pair(layer, name);
}

Status ReadMetadata(const json::value& value, CommitBody& body, RowEdit::Mode& mode) {
  if (!value.is_object()) return InvalidArgument("__metadata__ must be an object of strings", "__metadata__");
  JsonFields fields(value.get_object(), "__metadata__");
  body.request.note = fields.String("note", "");
  body.request.author = fields.String("author", "");
  body.request.if_version = JsonId(fields, "if_version");
  const std::string mode_name = fields.String("mode", "set");
  if (mode_name != "set" && mode_name != "add") fields.Fail("mode", "must be \"set\" or \"add\"");
  mode = mode_name == "add" ? RowEdit::Mode::kAdd : RowEdit::Mode::kSet;
  const std::string plan = fields.String("plan", "false");
  if (plan != "true" && plan != "false") fields.Fail("plan", "must be \"true\" or \"false\"");
  body.plan = plan == "true";
  fields.Accept({"format"});  // what libraries write, e.g. "pt"
  return fields.Finish();
}

float FloatAt(const Tensor& tensor, size_t index) {
  const char* bytes = tensor.bytes.data() + index * BytesOf(tensor.type);
  if (tensor.type == "F32") {
    float value;
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  if (tensor.type == "BF16") return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // Scaling by 2^112 moves the exponent from bias 15 to 127, also of subnormal values.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

Status AppendEdits(uint32_t layer, const LayerTensors& tensors, RowEdit::Mode mode, size_t max_edits,
                   std::vector<RowEdit>& edits) {
  const std::string name = "layer." + std::to_string(layer) + ".";
  if (!tensors.rows) return Wrong(name + "rows", "is missing");
  if (tensors.values.has_value() == tensors.data.has_value())
    return Wrong(name + "values", tensors.data ? "and data cannot both be there" : "or data is missing");
  const Tensor& rows = *tensors.rows;
  if (rows.type != "I64" || rows.shape.size() != 1) return Wrong(name + "rows", "must be I64 [rows]");
  const uint64_t num_rows = rows.shape[0];
  if (num_rows == 0) return Wrong(name + "rows", "is empty");
  if (num_rows > max_edits - edits.size())
    return Wrong(name + "rows", "makes more than " + std::to_string(max_edits) + " edits");
  const Tensor& content = tensors.values ? *tensors.values : *tensors.data;
  const std::string content_name = name + (tensors.values ? "values" : "data");
  const bool is_data = tensors.data.has_value();
  if (is_data ? content.type != "U8" : content.type == "U8" || content.type == "I64")
    return Wrong(content_name, is_data ? "must be U8" : "must be F32, F16 or BF16");
  if (content.shape.size() != 2 || content.shape[0] != num_rows || content.shape[1] == 0)
    return Wrong(content_name, "must have the shape [" + std::to_string(num_rows) + ", values of a row]");
  if (is_data && mode == RowEdit::Mode::kAdd) return Wrong(content_name, "cannot be added; mode must be \"set\"");
  const uint64_t width = content.shape[1];
  for (uint64_t i = 0; i < num_rows; ++i) {
    int64_t row = 0;
    std::memcpy(&row, rows.bytes.data() + i * sizeof(row), sizeof(row));
    if (row < 0) return Wrong(name + "rows", "has a negative id at " + std::to_string(i));
    RowEdit& edit = edits.emplace_back();
    edit.layer = layer;
    edit.row = static_cast<uint64_t>(row);
    edit.mode = mode;
    if (is_data) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(content.bytes.data()) + i * width;
      edit.data.assign(bytes, bytes + width);
    } else {
      edit.values.resize(width);
      for (uint64_t v = 0; v < width; ++v) edit.values[v] = FloatAt(content, i * width + v);
    }
  }
  return {};
}

}  // namespace

Result<TensorCommit> ReadCommitTensors(std::string_view file, size_t max_edits) {
  uint64_t header_bytes = 0;
  if (file.size() < sizeof(header_bytes)) return InvalidArgument("the request body is no safetensors file: too short");
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  file.remove_prefix(sizeof(header_bytes));
  if (header_bytes > std::min<uint64_t>(kMaxHeaderBytes, file.size())) {
    return InvalidArgument("the request body is no safetensors file: a header of " + std::to_string(header_bytes) +
                           " bytes");
  }
  auto header = ParseJsonObject(file.substr(0, header_bytes));
  if (!header) return std::move(header).error().At("the safetensors header");
  const std::string_view values = file.substr(header_bytes);

  TensorCommit commit;
  RowEdit::Mode mode = RowEdit::Mode::kSet;
  std::map<uint32_t, LayerTensors> layers;
  for (const auto& entry : *header) {
    const std::string name(entry.key().data(), entry.key().size());
    if (name == "__metadata__") {
      ENGRAM_CHECK_OK(ReadMetadata(entry.value(), commit.body, mode));
      continue;
    }
    const auto parsed = ParseName(name);
    const bool known = parsed && (parsed->second == "rows" || parsed->second == "values" || parsed->second == "data");
    if (!known)
      return Wrong(name.substr(0, 200), "is unknown; layer.L.rows, layer.L.values and layer.L.data are known");
    ENGRAM_TRY(auto tensor, ReadTensor(name, entry.value(), values));
    LayerTensors& layer = layers[parsed->first];
    auto& place = parsed->second == "rows" ? layer.rows : parsed->second == "values" ? layer.values : layer.data;
    if (place) return Wrong(name, "is there twice");  // "layer.1" and "layer.01"
    place = std::move(tensor);
  }
  if (layers.empty()) return InvalidArgument("the safetensors file has no tensor layer.L.rows", "edits");
  for (const auto& [layer, tensors] : layers) {
    commit.places.push_back({layer, commit.body.request.edits.size()});
    ENGRAM_CHECK_OK(AppendEdits(layer, tensors, mode, max_edits, commit.body.request.edits));
  }
  return commit;
}

Error InTensorTerms(Error error, const std::vector<TensorCommit::Place>& places) {
  const auto translate = [&](const std::string& text) {
    constexpr std::string_view kStart = "edits[";
    std::string out;
    size_t done = 0;
    for (size_t at; (at = text.find(kStart, done)) != std::string::npos;) {
      out.append(text, done, at - done);
      done = at + kStart.size();
      size_t index = 0;
      const auto [end, parsed] = std::from_chars(text.data() + done, text.data() + text.size(), index);
      const size_t close = static_cast<size_t>(end - text.data());
      if (parsed != std::errc() || close >= text.size() || text[close] != ']' || places.empty()) {
        out += kStart;
        continue;
      }
      done = close + 1;
      const auto after =
          std::upper_bound(places.begin(), places.end(), index,
                           [](size_t i, const TensorCommit::Place& place) { return i < place.first_edit; });
      const TensorCommit::Place& place = after == places.begin() ? *after : *std::prev(after);
      std::string kind = "rows";
      for (const char* known : {"values", "data"}) {
        if (text.compare(done, std::strlen(known) + 1, std::string(".") + known) != 0) continue;
        kind = known;
        done += kind.size() + 1;
      }
      if (text.compare(done, 4, ".row") == 0) done += 4;
      out += "layer." + std::to_string(place.layer) + "." + kind + "[" + std::to_string(index - place.first_edit) + "]";
    }
    return out + text.substr(done);
  };
  error.message = translate(error.message);
  error.field = translate(error.field);
  return error;
}

}  // namespace engram
