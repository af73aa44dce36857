// SPDX-License-Identifier: Apache-2.0
//
// The ABI edge: pointers and struct sizes are checked here, and no exception passes.
#include "backbone.h"
#include "engram/abi.h"
#include "engram/backbone.h"
#include "engram/plugin_error.h"

using backbone_cpu::Backbone;
using engram::sdk::Fence;
using engram::sdk::PluginError;

struct engram_backbone : Backbone {
  using Backbone::Backbone;
};

namespace {

void Require(bool condition, const char* what) {
  if (!condition) throw PluginError(ENGRAM_INVALID_ARGUMENT, what);
}

engram_status Open(const engram_host* host, const char* model_dir, const engram_option* options, uint32_t num_options,
                   engram_backbone** out, engram_message* message) {
  return Fence(message, [&] {
    Require(host != nullptr && host->struct_size >= sizeof(engram_host), "open: host is null or too short");
    Require(model_dir != nullptr && out != nullptr, "open: model_dir or out is null");
    Require(options != nullptr || num_options == 0, "open: options is null");
    *out = new engram_backbone(host, model_dir, backbone_cpu::ParseOptions(options, num_options));
  });
}

void Close(engram_backbone* backbone) {
  delete backbone;
}

engram_status Describe(engram_backbone* backbone, engram_backbone_info* info) {
  return Fence(nullptr, [&] {
    Require(backbone != nullptr && info != nullptr && info->struct_size >= sizeof(*info), "describe: short info");
    backbone->Describe(info);
  });
}

engram_status SequenceNew(engram_backbone* backbone, uint32_t reserve_tokens, engram_sequence_id* out,
                          engram_message* message) {
  return Fence(message, [&] {
    Require(backbone != nullptr && out != nullptr, "sequence_new: backbone or out is null");
    *out = backbone->sequences().New(reserve_tokens);
  });
}

void SequenceFree(engram_backbone* backbone, engram_sequence_id sequence) {
  if (backbone != nullptr) backbone->sequences().Free(sequence);
}

engram_status SequenceTruncate(engram_backbone* backbone, engram_sequence_id sequence, uint32_t length,
                               engram_message* message) {
  return Fence(message, [&] {
    Require(backbone != nullptr, "sequence_truncate: backbone is null");
    backbone->sequences().Truncate(sequence, length);
  });
}

engram_status SequenceFork(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve_tokens,
                           engram_sequence_id* out, engram_message* message) {
  return Fence(message, [&] {
    Require(backbone != nullptr && out != nullptr, "sequence_fork: backbone or out is null");
    *out = backbone->sequences().Fork(source, reserve_tokens);
  });
}

engram_status RunStep(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                      engram_message* message) {
  return Fence(message, [&] {
    Require(backbone != nullptr, "step: backbone is null");
    Require(batch != nullptr && batch->struct_size >= sizeof(*batch), "step: batch is null or too short");
    Require(output != nullptr && output->struct_size >= sizeof(*output), "step: output is null or too short");
    backbone->RunStep(*batch, output);
  });
}

engram_status Stats(engram_backbone* backbone, engram_backbone_stats* stats) {
  return Fence(nullptr, [&] {
    Require(backbone != nullptr && stats != nullptr && stats->struct_size >= sizeof(*stats), "stats: short stats");
    backbone->Stats(stats);
  });
}

constexpr engram_backbone_functions kFunctions = {
    .struct_size = sizeof(engram_backbone_functions),
    .open = Open,
    .close = Close,
    .describe = Describe,
    .sequence_new = SequenceNew,
    .sequence_free = SequenceFree,
    .sequence_truncate = SequenceTruncate,
    .sequence_fork = SequenceFork,
    .step = RunStep,
    .stats = Stats,
};

constexpr engram_plugin_descriptor kDescriptor = {
    .magic = ENGRAM_ABI_MAGIC,
    .abi_major = ENGRAM_ABI_MAJOR,
    .abi_minor = ENGRAM_ABI_MINOR,
    .struct_size = sizeof(engram_plugin_descriptor),
    .kind = ENGRAM_PLUGIN_BACKBONE,
    .name = "backbone_cpu",
    .version = "0.1.0",
    .description = "Transformer with Engram modules on the CPU (AVX-512, AVX2 or portable)",
    .functions = &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
