// SPDX-License-Identifier: Apache-2.0
#include "serve/model.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

#include "core/file.h"
#include "ngram/compressed_map.h"
#include "ngram/geometry.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr uint64_t kMaxConfigBytes = 16u << 20;

// What serving needs of a model's config.json; the backbone reads its own part.
struct ServingConfig {
  int32_t vocab_size = 0;
  std::optional<EngramConfig> engram;
};

Result<json::object> ReadObject(const std::filesystem::path& path) {
  ENGRAM_TRY(const std::string text, ReadFile(path, kMaxConfigBytes));
  boost::system::error_code ec;
  json::value value = json::parse(text, ec);
  if (ec) return InvalidArgument(fmt::format("{}: not valid JSON: {}", path.string(), ec.message()));
  if (!value.is_object()) return InvalidArgument(fmt::format("{}: must be a JSON object", path.string()));
  return std::move(value.get_object());
}

Result<int32_t> TokenId(const json::value& value, int32_t vocab_size, const std::string& place) {
  const int64_t* id = value.if_int64();
  if (id == nullptr) return InvalidArgument(place + " must be a token id, a list of token ids or null");
  if (*id < 0 || *id >= vocab_size)
    return InvalidArgument(fmt::format("{} is {}, outside the vocab_size of {}", place, *id, vocab_size));
  return static_cast<int32_t>(*id);
}

// Adds an object's eos_token_id (an id, a list or null) to `ids`, each once.
Status AddEosTokens(const json::object& object, const std::filesystem::path& path, int32_t vocab_size,
                    std::vector<int32_t>& ids) {
  const json::value* eos = object.if_contains("eos_token_id");
  if (eos == nullptr || eos->is_null()) return {};
  const std::string place = path.string() + ": eos_token_id";
  const auto add = [&](const json::value& value) -> Status {
    ENGRAM_TRY(const int32_t id, TokenId(value, vocab_size, place));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    return {};
  };
  if (!eos->is_array()) return add(*eos);
  for (const json::value& value : eos->get_array()) ENGRAM_CHECK_OK(add(value));
  return {};
}

Result<ServingConfig> ParseConfig(const json::object& object, const std::filesystem::path& path) {
  ServingConfig config;
  const json::value* vocab_size = object.if_contains("vocab_size");
  const int64_t* value = vocab_size != nullptr ? vocab_size->if_int64() : nullptr;
  if (value == nullptr || *value < 1 || *value > CompressedMap::kMaxVocabSize)
    return InvalidArgument(
        fmt::format("{}: vocab_size must be an integer from 1 to {}", path.string(), CompressedMap::kMaxVocabSize));
  config.vocab_size = static_cast<int32_t>(*value);
  if (const json::value* engram = object.if_contains("engram"); engram != nullptr && !engram->is_null()) {
    Result<EngramConfig> parsed = EngramConfig::FromJson(*engram);
    if (!parsed) return std::move(parsed).error().At(path.string());
    config.engram = std::move(parsed).value();
  }
  return config;
}

// A plain model's backbone never asks for rows; one that does is wrong and told so.
class NoRows final : public RowProvider {
 public:
  Result<engram_row_view> AwaitRows(engram_batch_rows*, uint32_t layer) override {
    return FailedPrecondition(fmt::format(
        "the backbone asked for rows of Engram layer index {}, but config.json has no engram object", layer));
  }
};

// The backbone reads the same config.json on its own: both must have understood the same.
Status CheckBackbone(const BackboneInfo& info, const ServingConfig& config, const ModelMemory* memory) {
  const auto mismatch = [](std::string_view what, const auto& backbone, const auto& own, std::string_view source) {
    return InvalidArgument(fmt::format("{} is {} for the backbone, {} in {}", what, backbone, own, source));
  };
  if (info.vocab_size != static_cast<uint32_t>(config.vocab_size))
    return mismatch("vocab_size", info.vocab_size, config.vocab_size, "config.json");
  if (info.max_positions == 0 || info.max_batch_tokens == 0 || info.max_sequences == 0)
    return InvalidArgument(
        fmt::format("the backbone takes {} positions, {} tokens a step and {} sequences: none may be 0",
                    info.max_positions, info.max_batch_tokens, info.max_sequences));
  std::vector<uint32_t> layers;
  if (config.engram) layers = config.engram->layer_ids;
  std::sort(layers.begin(), layers.end());
  if (info.engram_layers != layers)
    return InvalidArgument(fmt::format("Engram layers are [{}] for the backbone, [{}] in config.json",
                                       fmt::join(info.engram_layers, ", "), fmt::join(layers, ", ")));
  if (memory == nullptr) return {};
  if (info.num_columns != memory->geometry().num_columns)
    return mismatch("the number of rows per token", info.num_columns, memory->geometry().num_columns, "config.json");
  if (info.row_values != config.engram->head_dim)
    return mismatch("the number of values per row", info.row_values, config.engram->head_dim, "config.json");
  if (info.row_format != memory->row_format())
    return mismatch("the row format", info.row_format, memory->row_format(), "the tables");
  return {};
}

}  // namespace

Model::~Model() = default;

std::string Model::NameOf(const std::filesystem::path& directory) {
  // "models/x/" ends in an empty component.
  return (directory.has_filename() ? directory : directory.parent_path()).filename().string();
}

Result<std::unique_ptr<Model>> Model::Load(ModelOptions options) {
  std::unique_ptr<Model> model(new Model);
  model->directory_ = options.directory;
  model->name_ = options.name.empty() ? NameOf(options.directory) : options.name;
  const std::filesystem::path config_path = options.directory / "config.json";
  ENGRAM_TRY(const json::object config_json, ReadObject(config_path));
  ENGRAM_TRY(const ServingConfig config, ParseConfig(config_json, config_path));
  ENGRAM_CHECK_OK(AddEosTokens(config_json, config_path, config.vocab_size, model->eos_token_ids_));
  const std::filesystem::path generation_path = options.directory / "generation_config.json";
  if (std::error_code ec; std::filesystem::exists(generation_path, ec)) {
    ENGRAM_TRY(const json::object generation_json, ReadObject(generation_path));
    ENGRAM_CHECK_OK(AddEosTokens(generation_json, generation_path, config.vocab_size, model->eos_token_ids_));
  }

  const std::filesystem::path tokenizer_path = options.directory / "tokenizer.json";
  ENGRAM_TRY(model->tokenizer_, Tokenizer::Load(tokenizer_path));
  // Fewer is usual: embeddings are padded to a round size.
  if (model->tokenizer_->vocab_size() > config.vocab_size)
    return InvalidArgument(fmt::format("{} has token ids up to {}, but vocab_size in {} is {}", tokenizer_path.string(),
                                       model->tokenizer_->vocab_size() - 1, config_path.string(), config.vocab_size));
  ENGRAM_TRY(model->chat_template_, ChatTemplate::LoadFrom(options.directory));

  static NoRows no_rows;  // stateless
  RowProvider* rows = &no_rows;
  if (config.engram) {
    if (options.tiers.empty())
      return InvalidArgument(
          fmt::format("{} has an engram object, but no tier is configured for its tables", config_path.string()));
    ENGRAM_TRY(CompressedMap map, CompressedMap::Build(*model->tokenizer_, config.vocab_size));
    ENGRAM_CHECK_OK(map.CheckShipped(options.directory));
    ENGRAM_TRY(model->memory_, ModelMemory::Open({.model_name = model->name_,
                                                  .model_dir = options.directory,
                                                  .config = *config.engram,
                                                  .tiers = std::move(options.tiers),
                                                  .packed_tables = std::move(options.packed_tables),
                                                  .budget_bytes = options.memory_budget_bytes,
                                                  .retain_versions = options.retain_versions,
                                                  .hot_sets = std::move(options.hot_sets),
                                                  .read_timeout = options.read_timeout,
                                                  .lookahead_tokens = options.lookahead_tokens,
                                                  .go_on = options.go_on},
                                                 std::move(map)));
    rows = model->memory_.get();
  }
  if (options.go_on) ENGRAM_CHECK_OK(options.go_on());
  ENGRAM_TRY(model->backbone_,
             Backbone::Open(std::move(options.backbone), options.directory, options.backbone_options, *rows));
  if (Status same = CheckBackbone(model->backbone_->info(), config, model->memory_.get()); !same)
    return std::move(same).error().At(options.directory.string());
  model->created_unix_s_ =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return model;
}

}  // namespace engram
