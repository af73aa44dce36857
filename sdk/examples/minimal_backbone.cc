// SPDX-License-Identifier: Apache-2.0
//
// The smallest backbone: after token t it expects token t + 1, whatever came before. A plain model (no Engram layers)
// with no weights; the option `vocab_size` sets its vocabulary. Shows sequences and their reservations, batches of many
// sequences, flagged logits, and how C++ exceptions are kept inside.
#include <engram/backbone.h>
#include <engram/plugin_error.h>

#include <charconv>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

using engram::sdk::Fence;
using engram::sdk::PluginError;

namespace {

constexpr uint32_t kMaxPositions = 4096;
constexpr uint32_t kMaxBatchTokens = 512;
constexpr uint32_t kMaxSequences = 64;

struct Sequence {
  uint32_t reserved = 0;  // positions
  uint32_t length = 0;
};

}  // namespace

struct engram_backbone {
  uint32_t vocab_size = 256;
  engram_sequence_id next_id = 1;
  std::unordered_map<engram_sequence_id, Sequence> sequences;
  std::vector<float> logits;  // [flagged tokens][vocab_size]
};

namespace {

Sequence& Find(engram_backbone* backbone, engram_sequence_id id) {
  const auto found = backbone->sequences.find(id);
  if (found == backbone->sequences.end())
    throw PluginError(ENGRAM_NOT_FOUND, "sequence " + std::to_string(id) + " does not exist");
  return found->second;
}

engram_sequence_id Add(engram_backbone* backbone, uint32_t reserve_tokens, uint32_t length) {
  if (reserve_tokens > kMaxPositions || reserve_tokens < length)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "cannot reserve " + std::to_string(reserve_tokens) + " positions");
  if (backbone->sequences.size() >= kMaxSequences)
    throw PluginError(ENGRAM_RESOURCE_EXHAUSTED, "all " + std::to_string(kMaxSequences) + " sequences are in use");
  const engram_sequence_id id = backbone->next_id++;
  backbone->sequences.emplace(id, Sequence{reserve_tokens, length});
  return id;
}

engram_status Open(const engram_host* host, const char*, const engram_option* options, uint32_t num_options,
                   engram_backbone** out, engram_message* message) {
  return Fence(message, [&] {
    auto backbone = std::make_unique<engram_backbone>();
    for (uint32_t i = 0; i < num_options; ++i) {
      const std::string_view key = options[i].key;
      const std::string_view value = options[i].value;
      if (key != "vocab_size")
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "unknown option \"" + std::string(key) + "\"; known: vocab_size");
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), backbone->vocab_size);
      if (error != std::errc() || end != value.data() + value.size() || backbone->vocab_size == 0)
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "option vocab_size is \"" + std::string(value) + "\"");
    }
    host->log(host->context, ENGRAM_LOG_INFO, "minimal backbone opened");
    *out = backbone.release();
  });
}

void Close(engram_backbone* backbone) {
  delete backbone;
}

engram_status Describe(engram_backbone* backbone, engram_backbone_info* info) {
  info->vocab_size = backbone->vocab_size;
  info->hidden_size = 1;
  info->num_layers = 1;
  info->num_streams = 1;
  info->max_positions = kMaxPositions;
  info->max_batch_tokens = kMaxBatchTokens;
  info->max_sequences = kMaxSequences;
  info->kv_capacity_tokens = uint64_t{kMaxSequences} * kMaxPositions;
  info->device = "cpu";
  info->weight_type = "none";
  return ENGRAM_OK;
}

engram_status SequenceNew(engram_backbone* backbone, uint32_t reserve_tokens, engram_sequence_id* out,
                          engram_message* message) {
  return Fence(message, [&] { *out = Add(backbone, reserve_tokens, 0); });
}

void SequenceFree(engram_backbone* backbone, engram_sequence_id sequence) {
  backbone->sequences.erase(sequence);
}

engram_status SequenceTruncate(engram_backbone* backbone, engram_sequence_id id, uint32_t length,
                               engram_message* message) {
  return Fence(message, [&] {
    Sequence& sequence = Find(backbone, id);
    if (length > sequence.length) throw PluginError(ENGRAM_INVALID_ARGUMENT, "truncated to more than its length");
    sequence.length = length;
  });
}

engram_status SequenceFork(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve_tokens,
                           engram_sequence_id* out, engram_message* message) {
  return Fence(message, [&] { *out = Add(backbone, reserve_tokens, Find(backbone, source).length); });
}

engram_status Step(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                   engram_message* message) {
  return Fence(message, [&] {
    for (uint32_t i = 0; i < batch->num_slices; ++i) {
      const engram_slice& slice = batch->slices[i];
      Sequence& sequence = Find(backbone, slice.sequence);
      if (slice.position != sequence.length || slice.num_tokens > sequence.reserved - sequence.length)
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "slice " + std::to_string(i) + " does not continue its sequence");
      sequence.length += slice.num_tokens;
    }
    const uint32_t vocab_size = backbone->vocab_size;
    backbone->logits.clear();
    for (uint32_t t = 0; t < batch->num_tokens; ++t) {
      if (batch->wants_logits[t] == 0) continue;
      backbone->logits.resize(backbone->logits.size() + vocab_size, 0.0f);
      const uint32_t next = (static_cast<uint32_t>(batch->tokens[t]) + 1) % vocab_size;
      backbone->logits[backbone->logits.size() - vocab_size + next] = 10.0f;
      ++output->num_logits;
    }
    output->logits = backbone->logits.data();
  });
}

engram_status Stats(engram_backbone*, engram_backbone_stats*) {
  return ENGRAM_OK;  // counts nothing: the caller's zeros stay
}

constexpr engram_backbone_functions kFunctions = {
    sizeof(engram_backbone_functions),
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
    nullptr /* row_buffer_new */,
    nullptr /* row_buffer_free */,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_BACKBONE,
    0 /* flags */,
    0,
    "minimal_backbone",
    "1.0.0",
    "Expects the next token id",
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
