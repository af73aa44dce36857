// SPDX-License-Identifier: Apache-2.0
// A plain backbone for tests of the engine. Its logits are a hash of all tokens of the sequence, so a token that is
// lost, doubled or out of place changes everything after it. It checks what engram/backbone.h asks of the host.
// Options: vocab_size, kv_tokens, max_sequences, max_positions, max_batch_tokens (numbers), and fail_token, nan_token
// (a step that has the token fails, or gives NaN logits at it) and fork ("fails").
#include <engram/backbone.h>
#include <engram/plugin_error.h>

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

using engram::sdk::Fence;
using engram::sdk::PluginError;

namespace {

struct Sequence {
  uint64_t hash = 0;
  uint32_t length = 0;
  uint32_t reserved = 0;
};

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

struct engram_backbone {
  uint32_t vocab_size = 4096;
  uint64_t kv_tokens = 1u << 16;
  uint32_t max_sequences = 256;
  uint32_t max_positions = 512;
  uint32_t max_batch_tokens = 4096;
  int64_t fail_token = -1;
  int64_t nan_token = -1;
  bool fork_fails = false;

  std::map<engram_sequence_id, Sequence> sequences;
  engram_sequence_id next_id = 1;
  std::vector<float> logits;
  std::atomic<uint64_t> kv_used{0};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> tokens{0};

  Sequence& Find(engram_sequence_id id) {
    const auto found = sequences.find(id);
    if (found == sequences.end()) throw PluginError(ENGRAM_NOT_FOUND, "no sequence " + std::to_string(id));
    return found->second;
  }
  engram_sequence_id Add(Sequence sequence) {
    if (sequence.reserved > max_positions) throw PluginError(ENGRAM_INVALID_ARGUMENT, "reserve_tokens too large");
    if (kv_used + sequence.reserved > kv_tokens || sequences.size() >= max_sequences)
      throw PluginError(ENGRAM_RESOURCE_EXHAUSTED, "KV cache has " + std::to_string(kv_tokens - kv_used) +
                                                       " positions left, " + std::to_string(sequence.reserved) +
                                                       " needed");
    kv_used += sequence.reserved;
    sequences.emplace(next_id, sequence);
    return next_id++;
  }
};

namespace {

engram_status Open(const engram_host*, const char*, const engram_option* options, uint32_t num_options,
                   engram_backbone** out, engram_message* message) {
  return Fence(message, [&] {
    auto backbone = std::make_unique<engram_backbone>();
    for (uint32_t i = 0; i < num_options; ++i) {
      const std::string key = options[i].key;
      const std::string value = options[i].value;
      if (key == "vocab_size") {
        backbone->vocab_size = static_cast<uint32_t>(std::stoul(value));
      } else if (key == "kv_tokens") {
        backbone->kv_tokens = std::stoul(value);
      } else if (key == "max_sequences") {
        backbone->max_sequences = static_cast<uint32_t>(std::stoul(value));
      } else if (key == "max_positions") {
        backbone->max_positions = static_cast<uint32_t>(std::stoul(value));
      } else if (key == "max_batch_tokens") {
        backbone->max_batch_tokens = static_cast<uint32_t>(std::stoul(value));
      } else if (key == "fail_token") {
        backbone->fail_token = std::stol(value);
      } else if (key == "nan_token") {
        backbone->nan_token = std::stol(value);
      } else if (key == "fork" && value == "fails") {
        backbone->fork_fails = true;
      } else {
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "unknown option " + key);
      }
    }
    *out = backbone.release();
  });
}

void Close(engram_backbone* backbone) {
  delete backbone;
}

engram_status Describe(engram_backbone* backbone, engram_backbone_info* info) {
  info->vocab_size = backbone->vocab_size;
  info->hidden_size = 4;
  info->num_layers = 1;
  info->num_streams = 1;
  info->max_positions = backbone->max_positions;
  info->max_batch_tokens = backbone->max_batch_tokens;
  info->max_sequences = backbone->max_sequences;
  info->num_engram_layers = 0;
  info->num_columns = 0;
  info->row_values = 0;
  info->row_format = 0;
  info->engram_layers = nullptr;
  info->weight_bytes = 0;
  info->kv_capacity_tokens = backbone->kv_tokens;
  info->kv_bytes_per_token = 8;
  info->device = "none";
  info->weight_type = "none";
  return ENGRAM_OK;
}

engram_status SequenceNew(engram_backbone* backbone, uint32_t reserve_tokens, engram_sequence_id* out,
                          engram_message* message) {
  return Fence(message, [&] { *out = backbone->Add({0, 0, reserve_tokens}); });
}

void SequenceFree(engram_backbone* backbone, engram_sequence_id id) {
  const auto found = backbone->sequences.find(id);
  if (found == backbone->sequences.end()) return;
  backbone->kv_used -= found->second.reserved;
  backbone->sequences.erase(found);
}

engram_status SequenceTruncate(engram_backbone*, engram_sequence_id, uint32_t, engram_message* message) {
  return Fence(message, [] { throw PluginError(ENGRAM_UNSUPPORTED, "no truncation"); });
}

engram_status SequenceFork(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve_tokens,
                           engram_sequence_id* out, engram_message* message) {
  return Fence(message, [&] {
    if (backbone->fork_fails) throw PluginError(ENGRAM_INTERNAL, "fork fails by request");
    Sequence copy = backbone->Find(source);
    copy.reserved = reserve_tokens;
    *out = backbone->Add(copy);
  });
}

engram_status Step(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                   engram_message* message) {
  return Fence(message, [&] {
    ++backbone->steps;
    backbone->tokens += batch->num_tokens;
    if (batch->num_tokens > backbone->max_batch_tokens)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, std::to_string(batch->num_tokens) + " tokens in a step");
    backbone->logits.clear();
    uint32_t next_token = 0;
    for (uint32_t s = 0; s < batch->num_slices; ++s) {
      const engram_slice& slice = batch->slices[s];
      Sequence& sequence = backbone->Find(slice.sequence);
      if (slice.first_token != next_token || slice.num_tokens == 0 || slice.position != sequence.length ||
          sequence.length + slice.num_tokens > sequence.reserved || slice.flags != 0)
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "slice " + std::to_string(s) + " is out of contract");
      next_token += slice.num_tokens;
      for (uint32_t i = slice.first_token; i < next_token; ++i) {
        const int32_t token = batch->tokens[i];
        if (token == backbone->fail_token) throw PluginError(ENGRAM_IO, "token " + std::to_string(token) + " fails");
        sequence.hash = Mix(sequence.hash ^ static_cast<uint64_t>(token));
        ++sequence.length;
        if (batch->wants_logits[i] == 0) continue;
        for (uint32_t v = 0; v < backbone->vocab_size; ++v)
          backbone->logits.push_back(token == backbone->nan_token
                                         ? std::nanf("")
                                         : static_cast<float>(Mix(sequence.hash + v) >> 40) * 0x1.0p-21f);
      }
    }
    if (next_token != batch->num_tokens) throw PluginError(ENGRAM_INVALID_ARGUMENT, "slices do not cover the tokens");
    output->num_logits = static_cast<uint32_t>(backbone->logits.size() / backbone->vocab_size);
    output->logits = backbone->logits.data();
    output->gates = nullptr;
    output->hidden = nullptr;
  });
}

engram_status Stats(engram_backbone* backbone, engram_backbone_stats* stats) {
  stats->num_sequences = 0;
  stats->num_steps = backbone->steps;
  stats->num_tokens = backbone->tokens;
  stats->kv_used_tokens = backbone->kv_used;
  stats->step_ns = 0;
  return ENGRAM_OK;
}

constexpr engram_backbone_functions kFunctions = {sizeof(engram_backbone_functions),
                                                  0,
                                                  Open,
                                                  Close,
                                                  Describe,
                                                  SequenceNew,
                                                  SequenceFree,
                                                  SequenceTruncate,
                                                  SequenceFork,
                                                  Step,
                                                  Stats,
                                                  nullptr,
                                                  nullptr};
constexpr engram_plugin_descriptor kDescriptor = {ENGRAM_ABI_MAGIC,
                                                  ENGRAM_ABI_MAJOR,
                                                  ENGRAM_ABI_MINOR,
                                                  sizeof(engram_plugin_descriptor),
                                                  ENGRAM_PLUGIN_BACKBONE,
                                                  0,
                                                  0,
                                                  "scripted_backbone",
                                                  "0.1.0",
                                                  "hashes tokens",
                                                  &kFunctions};

}  // namespace

const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
