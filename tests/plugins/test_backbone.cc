// SPDX-License-Identifier: Apache-2.0
// A backbone for tests that misbehaves on demand: its one option `do` names how. Two Engram layers (1 and 3 of 4),
// vocabulary 8. A proper step awaits both layers and gives, as logit 0 of every flagged token, its first row byte of
// layer index 0.
#include <engram/backbone.h>
#include <engram/plugin_error.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using engram::sdk::Fence;
using engram::sdk::PluginError;

struct engram_backbone {
  const engram_host* host;
  std::string act;
  uint32_t layers[2] = {1, 3};
  std::vector<float> logits;
  std::vector<float> gates;
};

namespace {

constexpr uint32_t kVocabSize = 8;

engram_status Open(const engram_host* host, const char*, const engram_option* options, uint32_t num_options,
                   engram_backbone** out, engram_message* message) {
  const std::string act = num_options > 0 ? options[0].value : "";
  if (act == "open_unterminated") {
    std::memset(message->text, 'x', message->capacity);
    return ENGRAM_IO;
  }
  if (act == "open_silent") return ENGRAM_UNAVAILABLE;
  if (act == "open_unknown_status") return 4711;
  if (act == "open_null") return ENGRAM_OK;
  if (act == "open_not_utf8") {
    engram::sdk::WriteMessage(message, "bad \xff byte\nand a second line");
    return ENGRAM_INVALID_ARGUMENT;
  }
  return Fence(message, [&] {
    if (act == "open_fails") throw PluginError(ENGRAM_NOT_FOUND, "config.json is missing");
    if (act == "open_throws") throw std::runtime_error("thrown in C++");
    if (act == "open_throws_int") throw 42;
    *out = new engram_backbone{host, act, {1, 3}, {}, {}};
  });
}

void Close(engram_backbone* backbone) {
  delete backbone;
}

engram_status Describe(engram_backbone* backbone, engram_backbone_info* info) {
  const std::string& act = backbone->act;
  if (act == "describe_fails") return ENGRAM_INTERNAL;
  info->vocab_size = act == "vocab_zero" ? 0 : act == "vocab_huge" ? 0xffffffffu : kVocabSize;
  info->hidden_size = 4;
  info->num_layers = act == "layer_too_high" ? 3 : 4;
  info->num_streams = 1;
  info->max_positions = 64;
  info->max_batch_tokens = 16;
  info->max_sequences = 4;
  info->num_engram_layers = act == "too_many_layers" ? 4000000000u : 2;
  info->num_columns = act == "no_columns" ? 0 : 2;
  info->row_values = 4;
  info->row_format = act == "row_format" ? 99u : static_cast<uint32_t>(ENGRAM_ROW_BF16);
  if (act == "layers_descend") std::swap(backbone->layers[0], backbone->layers[1]);
  info->engram_layers = act == "layers_null" ? nullptr : backbone->layers;
  info->device = act == "device_null" ? nullptr : "test";
  info->weight_type = "none";
  return ENGRAM_OK;
}

engram_status SequenceNew(engram_backbone* backbone, uint32_t, engram_sequence_id* out, engram_message*) {
  *out = backbone->act == "sequence_zero" ? 0 : 7;
  return ENGRAM_OK;
}
void SequenceFree(engram_backbone*, engram_sequence_id) {}
engram_status SequenceTruncate(engram_backbone*, engram_sequence_id, uint32_t, engram_message* message) {
  return Fence(message, [] { throw PluginError(ENGRAM_UNSUPPORTED, "no truncation here"); });
}
engram_status SequenceFork(engram_backbone*, engram_sequence_id, uint32_t, engram_sequence_id* out, engram_message*) {
  *out = 8;
  return ENGRAM_OK;
}

engram_status Step(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                   engram_message* message) {
  return Fence(message, [&] {
    const std::string& act = backbone->act;
    const engram_host& host = *backbone->host;
    const uint8_t* first_rows = nullptr;
    uint32_t token_bytes = 0;
    if (act == "log_loud") {
      host.log(host.context, 99, nullptr);
      host.log(host.context, ENGRAM_LOG_ERROR, std::string(100000, 'x').c_str());
    }
    if (act == "await_null_view" && host.await_rows(host.context, batch->rows, 0, nullptr, message) == ENGRAM_OK)
      throw PluginError(ENGRAM_INTERNAL, "a NULL view was accepted");
    for (uint32_t layer = 0; layer < 2 && (batch->rows != nullptr || act == "await_without_rows"); ++layer) {
      engram_row_view view = {};
      view.struct_size = sizeof(view);
      char text[200] = {};
      engram_message why = {text, sizeof(text)};
      engram_batch_rows* rows = batch->rows;
      if (act == "await_wrong_rows") rows = reinterpret_cast<engram_batch_rows*>(backbone);
      const uint32_t index = act == "await_wrong_layer" ? 2 : layer;
      const engram_status status = host.await_rows(host.context, rows, index, &view, &why);
      if (status != ENGRAM_OK) {
        if (act == "ignores_await_error") continue;
        throw PluginError(status, "retold: " + std::string(text));
      }
      if (layer > 0) continue;
      first_rows = view.data;
      token_bytes = view.num_columns * view.row_bytes;
    }
    backbone->logits.clear();
    for (uint32_t t = 0; t < batch->num_tokens; ++t) {
      if (batch->wants_logits[t] == 0) continue;
      backbone->logits.resize(backbone->logits.size() + kVocabSize);
      if (first_rows != nullptr)
        backbone->logits[backbone->logits.size() - kVocabSize] = first_rows[size_t{t} * token_bytes];
      ++output->num_logits;
    }
    output->logits = act == "logits_null" ? nullptr : backbone->logits.data();
    if (act == "logits_short") --output->num_logits;
    if ((batch->flags & ENGRAM_BATCH_GATES) != 0 && act != "gates_null") {
      backbone->gates.assign(size_t{2} * batch->num_tokens, 0.5f);
      output->gates = backbone->gates.data();
    }
    if (act == "step_throws") throw std::runtime_error("thrown in step");
  });
}

engram_status Stats(engram_backbone* backbone, engram_backbone_stats* stats) {
  if (backbone->act == "stats_fails") return ENGRAM_UNAVAILABLE;
  stats->num_steps = 5;
  return ENGRAM_OK;
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
    nullptr,
    nullptr,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_BACKBONE,
    0,
    0,
    "test_backbone",
    "1.0.0",
    nullptr,
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
