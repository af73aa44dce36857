// SPDX-License-Identifier: Apache-2.0
#include "http/edit_fields.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "http/base64.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxLayer = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxOrder = 32;

RowEdit::Ngram ReadNgram(JsonFields& fields, const TokenReader& tokens) {
  RowEdit::Ngram ngram;
  const json::object* object = fields.Object("ngram");
  ngram.order = static_cast<uint32_t>(fields.OptionalInt("order", 2, kMaxOrder).value_or(0));
  for (const int32_t head : fields.Ints("heads", 0, kMaxHeads - 1)) ngram.heads.push_back(static_cast<uint32_t>(head));
  if (const json::value* heads = fields.Value("heads"); heads != nullptr && ngram.heads.empty())
    fields.Fail("heads", "must not be empty; leave it out for all heads");
  if (object == nullptr) return ngram;
  JsonFields inner(*object, fields.PathOf("ngram"));
  auto read = tokens.Read(inner);
  if (!read) {
    fields.Fail(std::move(read).error());
  } else {
    ngram.tokens = std::move(*read);
  }
  return ngram;
}

}  // namespace

Result<std::vector<int32_t>> TokenReader::Read(JsonFields& fields, bool add_special_tokens) const {
  const json::value* list = fields.Value("tokens");
  const bool has_text = fields.Value("text") != nullptr;
  const std::string text = fields.String("text", "");
  if (has_text == (list != nullptr))
    fields.Fail("text", has_text ? "and tokens cannot both be given" : "or tokens is required");
  ENGRAM_CHECK_OK(fields.Finish());
  std::vector<int32_t> ids;
  const std::string path = fields.PathOf(has_text ? "text" : "tokens");
  if (list != nullptr) {
    ENGRAM_TRY(ids, JsonInts(*list, 0, num_tokens - 1, path));
  } else if (tokenizer == nullptr) {
    return Unsupported(path + " needs the model's tokenizer, which it lacks; send tokens", path);
  } else {
    ENGRAM_TRY(ids, tokenizer->Encode(text, add_special_tokens));
  }
  if (ids.empty()) return InvalidArgument(path + " must have at least one token", path);
  return ids;
}

Result<std::vector<float>> JsonFloats(const json::value& value, const std::string& path) {
  if (!value.is_array()) return InvalidArgument(path + " must be a list of numbers, not " + JsonKindName(value), path);
  const json::array& items = value.get_array();
  std::vector<float> floats;
  floats.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const float number = items[i].is_number() ? static_cast<float>(items[i].to_number<double>()) : 0.0f;
    if (items[i].is_number() && std::isfinite(number)) {
      floats.push_back(number);
      continue;
    }
    const std::string item = path + "[" + std::to_string(i) + "]";
    if (items[i].is_number()) return InvalidArgument(item + " is too large for a 32-bit float", item);
    return InvalidArgument(item + " must be a number, not " + JsonKindName(items[i]), item);
  }
  return floats;
}

std::optional<uint64_t> JsonId(JsonFields& fields, std::string_view name) {
  const json::value* value = fields.Value(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_int64() && value->get_int64() >= 0) return static_cast<uint64_t>(value->get_int64());
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_string()) {
    const std::string_view digits = value->get_string();
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc() && end == digits.data() + digits.size()) return number;
  }
  fields.Fail(name, "must be a whole number from 0 on, or a string of its digits");
  return std::nullopt;
}

uint32_t JsonLayer(JsonFields& fields, std::string_view name) {
  const auto layer = fields.OptionalInt(name, 0, kMaxLayer);
  if (!layer) fields.Fail(name, "is required");
  return static_cast<uint32_t>(layer.value_or(0));
}

Result<RowEdit> ReadRowEdit(const json::object& object, const std::string& path, const TokenReader& tokens,
                            bool allow_add) {
  JsonFields fields(object, path);
  RowEdit edit;
  edit.layer = JsonLayer(fields, "layer");
  edit.row = JsonId(fields, "row");
  const bool has_ngram = fields.Value("ngram") != nullptr;
  const bool has_row = fields.Value("row") != nullptr;
  if (has_ngram) {
    edit.ngram = ReadNgram(fields, tokens);
    if (has_row) fields.Fail("row", "and ngram cannot both be given");
  } else {
    if (!has_row) fields.Fail("row", "or ngram is required");
    for (const char* name : {"order", "heads"})
      if (fields.Value(name) != nullptr) fields.Fail(name, "goes with ngram only");
  }
  const std::string mode = fields.String("mode", "set");
  if (mode == "add") {
    edit.mode = RowEdit::Mode::kAdd;
    if (!allow_add) fields.Fail("mode", "must be \"set\": an overlay's rows are absolute");
  } else if (mode != "set") {
    fields.Fail("mode", allow_add ? "must be \"set\" or \"add\"" : "must be \"set\"");
  }
  const json::value* values = fields.Value("values");
  const bool has_data = fields.Value("data") != nullptr;
  const std::string data = fields.String("data", "");
  if (has_data == (values != nullptr))
    fields.Fail("values", has_data ? "and data cannot both be given" : "or data is required");
  if (has_data && edit.mode == RowEdit::Mode::kAdd) fields.Fail("data", "cannot be added; mode must be \"set\"");
  ENGRAM_CHECK_OK(fields.Finish());
  if (values != nullptr) {
    ENGRAM_TRY(edit.values, JsonFloats(*values, fields.PathOf("values")));
    if (edit.values.empty()) return InvalidArgument(fields.PathOf("values") + " is empty", fields.PathOf("values"));
    return edit;
  }
  auto bytes = DecodeBase64(data);
  const std::string data_path = fields.PathOf("data");
  if (!bytes) return InvalidArgument(data_path + " is not base64 with padding", data_path);
  if (bytes->empty()) return InvalidArgument(data_path + " is empty", data_path);
  edit.data = std::move(*bytes);
  return edit;
}

}  // namespace engram
