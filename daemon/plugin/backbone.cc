// SPDX-License-Identifier: Apache-2.0
#include "plugin/backbone.h"

#include <algorithm>

#include "plugin/plugin_host.h"

namespace engram {
namespace {

constexpr size_t kMaxTextBytes = 256;

// One number of engram_backbone_info and the range it must lie in. The upper bounds are far beyond any model; they keep
// a plugin's mistake from becoming an allocation of the host.
struct Bound {
  const char* field;
  uint64_t value;
  uint64_t min;
  uint64_t max;
};

Error Lie(const std::string& what) {
  return Internal("describe: " + what);
}

}  // namespace

Backbone::Backbone(std::shared_ptr<const PluginLibrary> library, RowProvider& rows)
    : library_(std::move(library)),
      functions_(static_cast<const engram_backbone_functions*>(library_->descriptor().functions)),
      host_(std::make_unique<PluginHost>(std::string(library_->name()), &rows)) {}

Result<std::unique_ptr<Backbone>> Backbone::Open(std::shared_ptr<const PluginLibrary> library,
                                                 const std::filesystem::path& model_dir, const PluginOptions& options,
                                                 RowProvider& rows) {
  if (library->descriptor().kind != ENGRAM_PLUGIN_BACKBONE)
    return InvalidArgument("plugin " + library->path().string() + " is not a backbone");
  std::unique_ptr<Backbone> backbone(new Backbone(std::move(library), rows));
  const std::vector<engram_option> abi_options = ToAbi(options);
  PluginMessage message;
  engram_backbone* instance = nullptr;
  const engram_status status =
      backbone->functions_->open(backbone->host_->abi(), model_dir.c_str(), abi_options.data(),
                                 static_cast<uint32_t>(abi_options.size()), &instance, message.out());
  if (status != ENGRAM_OK) return message.ToError(backbone->name(), "open", status);
  if (instance == nullptr)
    return Internal(std::string(backbone->name()) + ": open: reported success but returned no instance");
  backbone->instance_ = instance;
  if (auto described = backbone->Describe(); !described) return std::move(described).error().At(backbone->name());
  return backbone;
}

Backbone::~Backbone() {
  if (instance_ != nullptr) functions_->close(instance_);
}

Status Backbone::Describe() {
  engram_backbone_info info{};
  info.struct_size = sizeof(info);
  if (const engram_status status = functions_->describe(instance_, &info); status != ENGRAM_OK)
    return Error{ErrorCodeFromStatus(status), "describe: gave status " + std::to_string(status), {}};
  constexpr uint64_t kMany = 1 << 24;
  const bool memory = info.num_engram_layers > 0;
  for (const Bound& bound :
       {Bound{"vocab_size", info.vocab_size, 1, kMany}, Bound{"hidden_size", info.hidden_size, 1, kMany},
        Bound{"num_layers", info.num_layers, 1, 1 << 16}, Bound{"num_streams", info.num_streams, 1, 1 << 10},
        Bound{"max_positions", info.max_positions, 1, 1u << 30},
        Bound{"max_batch_tokens", info.max_batch_tokens, 1, kMany},
        Bound{"max_sequences", info.max_sequences, 1, kMany},
        Bound{"num_engram_layers", info.num_engram_layers, 0, info.num_layers},
        Bound{"num_columns", info.num_columns, memory ? 1u : 0u, 1 << 16},
        Bound{"row_values", info.row_values, memory ? 1u : 0u, 1 << 20}}) {
    if (bound.value < bound.min || bound.value > bound.max)
      return Lie(std::string(bound.field) + " is " + std::to_string(bound.value) + ", expected " +
                 std::to_string(bound.min) + " to " + std::to_string(bound.max));
  }
  if (memory) {
    if (info.row_format < ENGRAM_ROW_BF16 || info.row_format > ENGRAM_ROW_F16)
      return Lie("row_format is " + std::to_string(info.row_format) + ", which this host does not know");
    if (info.engram_layers == nullptr)
      return Lie("engram_layers is NULL for " + std::to_string(info.num_engram_layers) + " Engram layers");
    for (uint32_t i = 0; i < info.num_engram_layers; ++i) {
      const std::string where = "engram_layers[" + std::to_string(i) + "] is " + std::to_string(info.engram_layers[i]);
      if (info.engram_layers[i] >= info.num_layers)
        return Lie(where + ", but the model has " + std::to_string(info.num_layers) + " layers");
      if (i > 0 && info.engram_layers[i] <= info.engram_layers[i - 1])
        return Lie(where + " after " + std::to_string(info.engram_layers[i - 1]) + ", expected ascending numbers");
    }
    info_.engram_layers.assign(info.engram_layers, info.engram_layers + info.num_engram_layers);
  }
  if (info.device == nullptr) return Lie("device is NULL");
  if (info.weight_type == nullptr) return Lie("weight_type is NULL");
  info_.vocab_size = info.vocab_size;
  info_.hidden_size = info.hidden_size;
  info_.num_layers = info.num_layers;
  info_.num_streams = info.num_streams;
  info_.max_positions = info.max_positions;
  info_.max_batch_tokens = info.max_batch_tokens;
  info_.max_sequences = info.max_sequences;
  info_.num_columns = info.num_columns;
  info_.row_values = info.row_values;
  info_.row_format = info.row_format;
  info_.weight_bytes = info.weight_bytes;
  info_.kv_capacity_tokens = info.kv_capacity_tokens;
  info_.kv_bytes_per_token = info.kv_bytes_per_token;
  info_.device = PluginText(info.device, kMaxTextBytes);
  info_.weight_type = PluginText(info.weight_type, kMaxTextBytes);
  return {};
}

Result<engram_sequence_id> Backbone::NewSequence(uint32_t reserve_tokens) {
  PluginMessage message;
  engram_sequence_id id = 0;
  const engram_status status = functions_->sequence_new(instance_, reserve_tokens, &id, message.out());
  if (status != ENGRAM_OK) return message.ToError(name(), "sequence_new", status);
  if (id == 0) return Internal(std::string(name()) + ": sequence_new: returned the invalid id 0");
  return id;
}

void Backbone::FreeSequence(engram_sequence_id sequence) {
  functions_->sequence_free(instance_, sequence);
}

Status Backbone::TruncateSequence(engram_sequence_id sequence, uint32_t length) {
  PluginMessage message;
  const engram_status status = functions_->sequence_truncate(instance_, sequence, length, message.out());
  return message.ToResult(name(), "sequence_truncate", status);
}

Result<engram_sequence_id> Backbone::ForkSequence(engram_sequence_id source, uint32_t reserve_tokens) {
  PluginMessage message;
  engram_sequence_id id = 0;
  const engram_status status = functions_->sequence_fork(instance_, source, reserve_tokens, &id, message.out());
  if (status != ENGRAM_OK) return message.ToError(name(), "sequence_fork", status);
  if (id == 0) return Internal(std::string(name()) + ": sequence_fork: returned the invalid id 0");
  return id;
}

Result<StepOutput> Backbone::Step(engram_batch batch) {
  batch.struct_size = sizeof(batch);
  engram_step_output output{};
  output.struct_size = sizeof(output);
  PluginMessage message;
  host_->BeginStep(batch.rows, static_cast<uint32_t>(info_.engram_layers.size()));
  const engram_status status = functions_->step(instance_, &batch, &output, message.out());
  // The rows' own error is better than the plugin's retelling, and a step that ignored it computed from nothing.
  if (auto error = host_->EndStep()) return std::move(*error).At(std::string(name()) + ": step");
  if (status != ENGRAM_OK) return message.ToError(name(), "step", status);

  const auto expected = static_cast<uint32_t>(
      std::count_if(batch.wants_logits, batch.wants_logits + batch.num_tokens, [](uint8_t w) { return w != 0; }));
  const auto lie = [&](const std::string& what) { return Internal(std::string(name()) + ": step: " + what); };
  if (output.num_logits != expected)
    return lie("returned logits of " + std::to_string(output.num_logits) + " tokens, " + std::to_string(expected) +
               " were flagged");
  if (expected > 0 && output.logits == nullptr) return lie("returned no logits");
  const bool gates = (batch.flags & ENGRAM_BATCH_GATES) != 0 && !info_.engram_layers.empty();
  if (gates && output.gates == nullptr) return lie("returned no gates although they were asked for");
  const bool hidden = (batch.flags & ENGRAM_BATCH_HIDDEN) != 0;
  if (hidden && expected > 0 && output.hidden == nullptr)
    return lie("returned no hidden states although they were asked for");
  StepOutput result{expected, expected > 0 ? output.logits : nullptr, gates ? output.gates : nullptr,
                    hidden ? output.hidden : nullptr};
  if ((batch.flags & ENGRAM_BATCH_LENS) != 0) {
    result.lens_logits = expected > 0 ? output.lens_logits : nullptr;
    const bool memory = !info_.engram_layers.empty();
    result.memory_norms = memory ? output.memory_norms : nullptr;
    result.stream_norms = memory ? output.stream_norms : nullptr;
  }
  return result;
}

Result<engram_backbone_stats> Backbone::Stats() const {
  engram_backbone_stats stats{};
  stats.struct_size = sizeof(stats);
  if (const engram_status status = functions_->stats(instance_, &stats); status != ENGRAM_OK)
    return Error{
        ErrorCodeFromStatus(status), std::string(name()) + ": stats: gave status " + std::to_string(status), {}};
  return stats;
}

}  // namespace engram
