// SPDX-License-Identifier: Apache-2.0
#include "backbone.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <unordered_set>

#include "engram/plugin_error.h"

namespace backbone_cpu {

namespace {

using engram::sdk::PluginError;

constexpr size_t kSmallWork = 32 * 1024;
constexpr uint64_t kDefaultKvBytes = uint64_t{2} << 30;

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

uint64_t KvTokens(const ModelConfig& config, const Options& options) {
  if (options.kv_cache_tokens != 0) return options.kv_cache_tokens;
  const uint64_t affordable = kDefaultKvBytes / (KvCache::FloatsPerToken(config) * sizeof(float));
  return std::max<uint64_t>(KvCache::kBlockPositions,
                            std::min<uint64_t>(uint64_t{config.max_positions} * options.max_sequences, affordable));
}

ModelConfig ReadBoundedConfig(const std::string& model_dir, const Options& options) {
  ModelConfig config = ReadModelConfig(model_dir);
  config.max_positions = static_cast<uint32_t>(std::min<uint64_t>(config.max_positions, KvTokens(config, options)));
  return config;
}

const Kernels& SelectKernels(const Options& options) {
  const char* environment = std::getenv("ENGRAM_KERNELS");
  const std::string name = !options.kernels.empty() ? options.kernels : environment != nullptr ? environment : "";
  const Kernels* kernels = ChooseKernels(name.c_str());
  if (kernels == nullptr) {
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "kernels '" + name +
                                                   "' (option kernels or ENGRAM_KERNELS) are unknown or this "
                                                   "processor cannot run them");
  }
  return *kernels;
}

size_t NumThreads(const Options& options) {
  return options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

const char* TypeName(engram::sdk::TensorType type) {
  switch (type) {
    case engram::sdk::TensorType::kBF16:
      return "bf16";
    case engram::sdk::TensorType::kF16:
      return "f16";
    default:
      return "f32";
  }
}

PluginError Refuse(const std::string& what) {
  return PluginError(ENGRAM_INVALID_ARGUMENT, "batch: " + what);
}

}  // namespace

Backbone::Backbone(const engram_host* host, const std::string& model_dir, const Options& options)
    : host_(host),
      config_(ReadBoundedConfig(model_dir, options)),
      weights_(ReadWeights(model_dir, config_)),
      max_batch_tokens_(options.max_batch_tokens),
      max_sequences_(options.max_sequences),
      pool_(NumThreads(options)),
      compute_{SelectKernels(options), pool_},
      cache_(config_, KvTokens(config_, options), max_sequences_),
      attention_(config_, compute_, max_batch_tokens_, config_.max_positions),
      mlp_(config_, compute_, max_batch_tokens_),
      mix_(config_, compute_, max_batch_tokens_),
      engram_(config_, weights_.row_format, compute_, max_batch_tokens_),
      weight_type_(TypeName(weights_.layers.front().q.type)),
      streams_(size_t{max_batch_tokens_} * config_.stream_width()),
      normed_(size_t{max_batch_tokens_} * config_.hidden_size),
      site_out_(normed_.size()),
      gates_(config_.engram.layers.size() * max_batch_tokens_ * config_.num_streams) {
  device_ = std::string("cpu ") + compute_.kernels.name + ", " + std::to_string(pool_.num_threads()) + " threads";
  const std::string line = "backbone_cpu: " + model_dir + ": " + device_ + ", " + weight_type_ + " weights of " +
                           std::to_string(weights_.num_bytes) + " bytes, KV cache of " +
                           std::to_string(cache_.capacity_tokens()) + " positions";
  if (host_ != nullptr && host_->log != nullptr) host_->log(host_->context, ENGRAM_LOG_INFO, line.c_str());
}

void Backbone::Describe(engram_backbone_info* info) const {
  info->vocab_size = config_.vocab_size;
  info->hidden_size = config_.hidden_size;
  info->num_layers = config_.num_layers;
  info->num_streams = config_.num_streams;
  info->max_positions = config_.max_positions;
  info->max_batch_tokens = max_batch_tokens_;
  info->max_sequences = max_sequences_;
  const bool has_engram = !config_.engram.layers.empty();
  info->num_engram_layers = static_cast<uint32_t>(config_.engram.layers.size());
  info->num_columns = has_engram ? config_.engram.num_columns() : 0;
  info->row_values = config_.engram.head_dim;
  info->row_format = has_engram ? weights_.row_format : 0;
  info->engram_layers = config_.engram.layers.data();
  info->weight_bytes = weights_.num_bytes;
  info->kv_capacity_tokens = cache_.capacity_tokens();
  info->kv_bytes_per_token = KvCache::FloatsPerToken(config_) * sizeof(float);
  info->device = device_.c_str();
  info->weight_type = weight_type_.c_str();
}

void Backbone::Stats(engram_backbone_stats* stats) const {
  stats->num_sequences = cache_.num_sequences();
  stats->num_steps = num_steps_.load(std::memory_order_relaxed);
  stats->num_tokens = num_tokens_.load(std::memory_order_relaxed);
  stats->kv_used_tokens = cache_.used_tokens();
  stats->step_ns = step_ns_.load(std::memory_order_relaxed);
}

void Backbone::Plan(const engram_batch& batch) {
  if (batch.num_tokens == 0 || batch.num_tokens > max_batch_tokens_) {
    throw Refuse(std::to_string(batch.num_tokens) + " tokens; 1 to " + std::to_string(max_batch_tokens_) +
                 " are allowed");
  }
  if (batch.slices == nullptr || batch.tokens == nullptr || batch.wants_logits == nullptr) {
    throw Refuse("slices, tokens or wants_logits is null");
  }
  if (batch.num_slices == 0 || batch.num_slices > batch.num_tokens) {
    throw Refuse(std::to_string(batch.num_slices) + " slices for " + std::to_string(batch.num_tokens) + " tokens");
  }
  for (uint32_t t = 0; t < batch.num_tokens; ++t) {
    if (batch.tokens[t] < 0 || static_cast<uint32_t>(batch.tokens[t]) >= config_.vocab_size) {
      throw Refuse("token " + std::to_string(t) + " is " + std::to_string(batch.tokens[t]) +
                   ", outside the vocabulary of " + std::to_string(config_.vocab_size));
    }
  }
  step_.slices.clear();
  step_.tokens.clear();
  step_.memory_tokens.clear();
  std::unordered_set<uint64_t> seen;
  for (uint32_t s = 0; s < batch.num_slices; ++s) {
    const engram_slice& slice = batch.slices[s];
    const std::string place = "slice " + std::to_string(s) + ": ";
    if (slice.num_tokens == 0 || slice.first_token != step_.tokens.size() ||
        slice.num_tokens > batch.num_tokens - slice.first_token) {
      throw Refuse(place + "tokens " + std::to_string(slice.first_token) + "+" + std::to_string(slice.num_tokens) +
                   " do not follow the slice before within the batch");
    }
    const Sequence* sequence = cache_.Find(slice.sequence);
    if (sequence == nullptr) throw Refuse(place + "sequence " + std::to_string(slice.sequence) + " is unknown");
    if (!seen.insert(slice.sequence).second) {
      throw Refuse(place + "sequence " + std::to_string(slice.sequence) + " has another slice");
    }
    if (slice.position != sequence->length) {
      throw Refuse(place + "position " + std::to_string(slice.position) + " is not the sequence's length " +
                   std::to_string(sequence->length));
    }
    if (slice.num_tokens > sequence->reserved - sequence->length) {
      throw Refuse(place + std::to_string(slice.num_tokens) + " tokens exceed the reservation of " +
                   std::to_string(sequence->reserved) + " positions");
    }
    if ((slice.flags & ~uint32_t{ENGRAM_SLICE_MEMORY_OFF}) != 0) throw Refuse(place + "unknown flags");
    const bool memory_off = (slice.flags & ENGRAM_SLICE_MEMORY_OFF) != 0;
    if (sequence->length != 0 && sequence->memory_off != memory_off) {
      throw Refuse(place + "sequence " + std::to_string(slice.sequence) +
                   " was run with the other setting of ENGRAM_SLICE_MEMORY_OFF");
    }
    step_.slices.push_back({sequence, slice.first_token, slice.num_tokens, slice.position});
    for (uint32_t i = 0; i < slice.num_tokens; ++i) {
      if (!memory_off) step_.memory_tokens.push_back(slice.first_token + i);
      step_.tokens.push_back({sequence, slice.position + i});
    }
  }
  if (step_.tokens.size() != batch.num_tokens) throw Refuse("slices do not cover all tokens");
  if (config_.engram.layers.empty()) step_.memory_tokens.clear();
  if (!step_.memory_tokens.empty() && (batch.rows == nullptr || host_ == nullptr || host_->await_rows == nullptr)) {
    throw Refuse("slices use memory, but there are no rows");
  }
}

void Backbone::RunStep(const engram_batch& batch, engram_step_output* output) {
  const uint64_t start = NowNs();
  uint64_t wait_ns = 0;
  Plan(batch);
  if ((batch.flags & ENGRAM_BATCH_GATES) != 0) {
    std::fill_n(gates_.data(), config_.engram.layers.size() * batch.num_tokens * config_.num_streams, 0.0f);
  }
  lens_ = (batch.flags & ENGRAM_BATCH_LENS) != 0;
  if (lens_) PrepareLens(batch);
  attention_.Prepare(step_);
  Embed(batch);
  for (uint32_t layer = 0; layer < config_.num_layers; ++layer) {
    RunLayer(layer, batch, &wait_ns);
    if (lens_) Look(layer, batch);
  }
  Finish(batch, output);
  for (uint32_t s = 0; s < batch.num_slices; ++s) {
    Sequence* sequence = cache_.Find(batch.slices[s].sequence);
    sequence->length += batch.slices[s].num_tokens;
    sequence->memory_off = (batch.slices[s].flags & ENGRAM_SLICE_MEMORY_OFF) != 0;
  }
  num_steps_.fetch_add(1, std::memory_order_relaxed);
  num_tokens_.fetch_add(batch.num_tokens, std::memory_order_relaxed);
  step_ns_.fetch_add(NowNs() - start - wait_ns, std::memory_order_relaxed);
}

void Backbone::Embed(const engram_batch& batch) {
  const size_t hidden = config_.hidden_size;
  for (size_t t = 0; t < batch.num_tokens; ++t) {
    float* streams = streams_.data() + t * config_.stream_width();
    WidenRow(compute_.kernels, weights_.embedding, static_cast<size_t>(batch.tokens[t]), streams);
    for (size_t s = 1; s < config_.num_streams; ++s) {
      std::memcpy(streams + s * hidden, streams, hidden * sizeof(float));
    }
  }
}

void Backbone::RunLayer(uint32_t layer, const engram_batch& batch, uint64_t* wait_ns) {
  const LayerWeights& weights = weights_.layers[layer];
  if (weights.engram != nullptr && !step_.memory_tokens.empty()) RunEngram(layer, batch, wait_ns);
  ReadSite(weights.attention_mix, weights.input_norm);
  attention_.Run(weights, layer, step_, normed_.data(), &cache_, site_out_.data());
  UpdateSite();
  ReadSite(weights.mlp_mix, weights.post_norm);
  mlp_.Run(weights, normed_.data(), step_.tokens.size(), site_out_.data());
  UpdateSite();
}

void Backbone::RunEngram(uint32_t layer, const engram_batch& batch, uint64_t* wait_ns) {
  const auto& layers = config_.engram.layers;
  const auto index = static_cast<uint32_t>(std::find(layers.begin(), layers.end(), layer) - layers.begin());
  char text[512] = "";
  engram_message message = {text, sizeof(text)};
  engram_row_view view = {};
  view.struct_size = sizeof(view);
  const uint64_t start = NowNs();
  const engram_status status = host_->await_rows(host_->context, batch.rows, index, &view, &message);
  *wait_ns += NowNs() - start;
  if (status != ENGRAM_OK) {
    throw PluginError(status, text[0] != '\0' ? text : "await_rows failed at layer " + std::to_string(layer));
  }
  const uint64_t row_bytes = RowBytes(weights_.row_format, config_.engram.head_dim);
  if (view.data == nullptr || view.num_tokens != batch.num_tokens || view.num_columns != config_.engram.num_columns() ||
      view.row_bytes != row_bytes) {
    throw PluginError(ENGRAM_INTERNAL,
                      "rows of layer " + std::to_string(layer) + " are [" + std::to_string(view.num_tokens) + "][" +
                          std::to_string(view.num_columns) + "][" + std::to_string(view.row_bytes) +
                          "], the batch needs [" + std::to_string(batch.num_tokens) + "][" +
                          std::to_string(config_.engram.num_columns()) + "][" + std::to_string(row_bytes) + "]");
  }
  const size_t num_floats = size_t{batch.num_tokens} * config_.stream_width();
  if (lens_) std::memcpy(lens_streams_.data(), streams_.data(), num_floats * sizeof(float));
  engram_.Run(*weights_.layers[layer].engram, index, step_, view.data, &cache_, streams_.data(),
              gates_.data() + size_t{index} * batch.num_tokens * config_.num_streams);
  if (lens_) MeasureMemory(index, batch.num_tokens);
}

void Backbone::ReadSite(const MixWeights& mix, const Vector& norm) {
  const size_t num_tokens = step_.tokens.size();
  const float* x = streams_.data();
  if (config_.num_streams > 1) {
    mix_.Read(mix, streams_.data(), num_tokens, normed_.data());
    x = normed_.data();
  }
  Norm(norm, x, num_tokens, normed_.data());
}

void Backbone::UpdateSite() {
  const size_t num_tokens = step_.tokens.size();
  const size_t hidden = config_.hidden_size;
  if (config_.num_streams > 1) {
    mix_.Update(site_out_.data(), num_tokens, streams_.data());
    return;
  }
  compute_.pool.ParallelFor(num_tokens, num_tokens * hidden < kSmallWork, [&](size_t t, size_t) {
    compute_.kernels.axpy(streams_.data() + t * hidden, site_out_.data() + t * hidden, 1.0f, hidden);
  });
}

void Backbone::Norm(const Vector& norm, const float* x, size_t num_tokens, float* out) {
  const size_t hidden = config_.hidden_size;
  const Kernels& kernels = compute_.kernels;
  compute_.pool.ParallelFor(num_tokens, num_tokens * hidden < kSmallWork, [&](size_t t, size_t) {
    const float* from = x + t * hidden;
    kernels.scale_by(out + t * hidden, from, norm.data(), kernels.rms_scale(from, hidden, config_.rms_norm_eps),
                     hidden);
  });
}

void Backbone::Head(const float* from, size_t num_logits, float* hidden, float* logits) {
  const float* x = from;
  if (config_.num_streams > 1) {
    mix_.Read(weights_.head_mix, from, num_logits, normed_.data());
    x = normed_.data();
  }
  Norm(weights_.final_norm, x, num_logits, hidden);
  const MatmulJob head = {.w = &weights_.output(),
                          .x = hidden,
                          .x_stride = config_.hidden_size,
                          .y = logits,
                          .y_stride = config_.vocab_size,
                          .num_tokens = num_logits};
  RunMatmuls(compute_, {&head, 1});
}

void Backbone::Finish(const engram_batch& batch, engram_step_output* output) {
  const size_t hidden = config_.hidden_size;
  const size_t width = config_.stream_width();
  size_t num_logits = 0;
  for (size_t t = 0; t < batch.num_tokens; ++t) {
    if (batch.wants_logits[t] == 0) continue;
    // Flagged tokens move to the front; their streams are not needed in place any more.
    std::memmove(streams_.data() + num_logits * width, streams_.data() + t * width, width * sizeof(float));
    ++num_logits;
  }
  if (hidden_.size() < num_logits * hidden) hidden_.resize(num_logits * hidden);
  if (logits_.size() < num_logits * config_.vocab_size) logits_.resize(num_logits * config_.vocab_size);
  if (num_logits != 0) Head(streams_.data(), num_logits, hidden_.data(), logits_.data());
  output->num_logits = static_cast<uint32_t>(num_logits);
  output->logits = logits_.data();
  output->gates = (batch.flags & ENGRAM_BATCH_GATES) != 0 ? gates_.data() : nullptr;
  output->hidden = (batch.flags & ENGRAM_BATCH_HIDDEN) != 0 ? hidden_.data() : nullptr;
  // A host of an older minor has no room for these.
  if (!lens_ || output->struct_size < sizeof(engram_step_output)) return;
  output->lens_logits = lens_logits_.data();
  output->memory_norms = memory_norms_.data();
  output->stream_norms = stream_norms_.data();
}

}  // namespace backbone_cpu
