// SPDX-License-Identifier: Apache-2.0
#include "ngram/compressed_map.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <unordered_map>

#include "core/file.h"
#include "core/json_text.h"

namespace engram {
namespace json = boost::json;
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";
// 2^24 ids of at most 8 digits, with separators and indentation.
constexpr uint64_t kMaxShippedMapBytes = uint64_t{256} << 20;

}  // namespace

std::string CompressionKey(std::string_view token_bytes, std::string_view token_string) {
  std::string text = Utf8Lossy(token_bytes);
  if (text.find(kReplacementCharacter) != std::string::npos) return std::string(token_string);
  std::string normalized = NormalizeForCompression(text);
  return normalized.empty() ? text : normalized;
}

Result<CompressedMap> CompressedMap::Build(const Tokenizer& tokenizer, int32_t vocab_size) {
  const int32_t num_ids = std::max(vocab_size, tokenizer.vocab_size());
  if (vocab_size < 1 || num_ids > kMaxVocabSize) {
    return InvalidArgument("vocab_size must be in [1, " + std::to_string(kMaxVocabSize) + "], not " +
                               std::to_string(vocab_size < 1 ? vocab_size : num_ids),
                           "vocab_size");
  }
  std::vector<int32_t> map;
  map.reserve(static_cast<size_t>(num_ids));
  std::unordered_map<std::string, int32_t> ids_by_key;
  ids_by_key.reserve(static_cast<size_t>(tokenizer.vocab_size()));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    std::string key = CompressionKey(tokenizer.TokenBytes(id), tokenizer.TokenString(id));
    map.push_back(ids_by_key.emplace(std::move(key), static_cast<int32_t>(ids_by_key.size())).first->second);
  }
  const auto size = static_cast<uint32_t>(ids_by_key.size());
  map.resize(static_cast<size_t>(num_ids), static_cast<int32_t>(size));
  return CompressedMap(std::move(map), size);
}

Status CompressedMap::CheckShipped(const std::filesystem::path& model_dir) const {
  const std::filesystem::path path = model_dir / "compressed_map.json";
  Result<std::string> text = ReadFile(path, kMaxShippedMapBytes);
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) return {};
    return std::move(text).error();
  }
  boost::system::error_code parse_error;
  const json::value root = json::parse(*text, parse_error);
  if (parse_error) return InvalidArgument(path.string() + ": not JSON: " + parse_error.message());
  const json::object* object = root.if_object();
  if (object == nullptr) return InvalidArgument(path.string() + ": not an object");
  const json::value* size = object->if_contains("compressed_vocab_size");
  if (size == nullptr || !size->is_int64()) {
    return InvalidArgument(path.string() + ": compressed_vocab_size: not an integer", "compressed_vocab_size");
  }
  const json::value* map_value = object->if_contains("map");
  const json::array* shipped = map_value == nullptr ? nullptr : map_value->if_array();
  if (shipped == nullptr) return InvalidArgument(path.string() + ": map: not an array", "map");
  if (shipped->size() > map_.size()) {
    return InvalidArgument(path.string() + ": map: has " + std::to_string(shipped->size()) + " token ids, the model " +
                               std::to_string(map_.size()),
                           "map");
  }
  // An id before the size: it says where the two part, the size only that they do.
  for (size_t id = 0; id < map_.size(); ++id) {
    const bool left_out = id >= shipped->size();
    if (left_out && map_[id] == static_cast<int32_t>(size_)) continue;  // padding
    if (!left_out && (*shipped)[id].is_int64() && (*shipped)[id].get_int64() == map_[id]) continue;
    return InvalidArgument(path.string() + ": map: token id " + std::to_string(id) + " has compressed id " +
                               (left_out ? "none" : json::serialize((*shipped)[id]).substr(0, 40)) +
                               ", but the tokenizer's map has " + std::to_string(map_[id]),
                           "map");
  }
  if (size->get_int64() != static_cast<int64_t>(size_)) {
    return InvalidArgument(path.string() + ": compressed_vocab_size: is " + std::to_string(size->get_int64()) +
                               ", but the tokenizer's map has " + std::to_string(size_),
                           "compressed_vocab_size");
  }
  return {};
}

}  // namespace engram
