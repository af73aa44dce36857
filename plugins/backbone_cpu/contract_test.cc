// SPDX-License-Identifier: Apache-2.0
//
// What the ABI promises around step(): options, sequences, refusals that change nothing, errors that name the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <random>

#include "testing/random_model.h"

namespace backbone_cpu::testing {
namespace {

using ::testing::HasSubstr;

ModelSpec Spec() {
  ModelSpec spec;
  spec.variant = "paper";
  spec.engram_layers = {1};
  spec.kernel = 2;
  return spec;
}

struct OpenResult {
  engram_status status;
  std::string message;
};

void SilentLog(void*, engram_log_level, const char*) {}

OpenResult TryOpen(const std::string& directory, std::vector<engram_option> options = {}) {
  engram_host host = {};
  host.struct_size = sizeof(host);
  host.log = SilentLog;
  char text[1024] = "";
  engram_message message = {text, sizeof(text)};
  engram_backbone* backbone = nullptr;
  const engram_status status = Plugin().open(&host, directory.c_str(), options.data(),
                                             static_cast<uint32_t>(options.size()), &backbone, &message);
  if (status == ENGRAM_OK) Plugin().close(backbone);
  return {status, text};
}

class ContractTest : public ::testing::Test {
 protected:
  ContractTest() : model_(MakeRandomModel(Spec(), 5)) { WriteModel(model_, directory_.path()); }

  std::unique_ptr<OpenedModel> Open(std::vector<std::pair<std::string, std::string>> options) {
    options.emplace_back("threads", "1");
    return std::make_unique<OpenedModel>(directory_.path(), model_.addresser, options);
  }

  // The message of opening after `key`: .. in config.json became `value`, or the config's other text was replaced.
  OpenResult WithConfig(const std::string& from, const std::string& to) {
    std::string config = model_.config;
    const size_t at = config.find(from);
    if (at == std::string::npos) throw std::runtime_error("no " + from + " in " + config);
    config.replace(at, from.size(), to);
    const TemporaryDirectory directory;
    RandomModel changed = model_;
    changed.config = config;
    WriteModel(changed, directory.path());
    return TryOpen(directory.path());
  }
  OpenResult WithTensors(const std::function<void(Tensors&)>& change) {
    RandomModel changed = model_;
    change(changed.tensors);
    const TemporaryDirectory directory;
    WriteModel(changed, directory.path());
    return TryOpen(directory.path());
  }

  TemporaryDirectory directory_;
  RandomModel model_;
};

TEST_F(ContractTest, DescribesItself) {
  const auto opened = Open({{"max_sequences", "3"}, {"max_batch_tokens", "8"}, {"kv_cache_tokens", "64"}});
  const engram_backbone_info& info = opened->info();
  EXPECT_EQ(info.vocab_size, 101u);
  EXPECT_EQ(info.hidden_size, 24u);
  EXPECT_EQ(info.num_layers, 3u);
  EXPECT_EQ(info.num_streams, 1u);
  EXPECT_EQ(info.max_positions, 64u) << "300, cut to what the KV cache holds";
  EXPECT_EQ(info.max_batch_tokens, 8u);
  EXPECT_EQ(info.max_sequences, 3u);
  EXPECT_EQ(info.num_engram_layers, 1u);
  EXPECT_EQ(info.engram_layers[0], 1u);
  EXPECT_EQ(info.num_columns, 4u);
  EXPECT_EQ(info.row_values, 7u);
  EXPECT_EQ(info.row_format, uint32_t{ENGRAM_ROW_F32});
  EXPECT_EQ(info.kv_capacity_tokens, 64u);
  EXPECT_EQ(info.kv_bytes_per_token, 4u * (3 * 2 * 20 + 24 + 1));
  EXPECT_GT(info.weight_bytes, 0u);
  EXPECT_THAT(info.device, HasSubstr("1 threads"));
  EXPECT_STREQ(info.weight_type, "f32");
}

TEST_F(ContractTest, OptionsAreChecked) {
  const auto expect = [&](const char* key, const char* value, const char* part) {
    const OpenResult result = TryOpen(directory_.path(), {{key, value}});
    EXPECT_EQ(result.status, ENGRAM_INVALID_ARGUMENT) << key;
    EXPECT_THAT(result.message, HasSubstr(part));
  };
  expect("colour", "red", "'colour' is unknown");
  expect("threads", "two", "'threads' is 'two'");
  expect("threads", "-1", "'threads'");
  expect("threads", "", "'threads'");
  expect("max_sequences", "0", "'max_sequences'");
  expect("max_batch_tokens", "99999999999999999999", "'max_batch_tokens'");
  expect("weights", "int8", "'weights' is 'int8'");
  expect("kernels", "mmx", "kernels 'mmx'");
}

TEST_F(ContractTest, KernelsComeFromTheEnvironmentToo) {
  ASSERT_EQ(setenv("ENGRAM_KERNELS", "mmx", 1), 0);
  EXPECT_EQ(TryOpen(directory_.path()).status, ENGRAM_INVALID_ARGUMENT);
  ASSERT_EQ(setenv("ENGRAM_KERNELS", "ref", 1), 0);
  EXPECT_THAT(Open({})->info().device, HasSubstr("cpu ref"));
  ASSERT_EQ(unsetenv("ENGRAM_KERNELS"), 0);
}

TEST_F(ContractTest, SequencesAndReservations) {
  const auto opened = Open({{"max_sequences", "3"}, {"kv_cache_tokens", "64"}});
  const engram_backbone_functions& plugin = Plugin();
  char text[256] = "";
  engram_message message = {text, sizeof(text)};
  engram_sequence_id id = 0;
  const auto first = opened->New(33);  // three blocks of 16
  EXPECT_NE(first, 0u);
  EXPECT_EQ(plugin.sequence_new(opened->backbone(), 17, &id, &message), ENGRAM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(text, HasSubstr("16 free positions"));
  EXPECT_EQ(plugin.sequence_new(opened->backbone(), 65, &id, &message), ENGRAM_INVALID_ARGUMENT);
  const auto second = opened->New(16);
  const auto third = opened->New(0);
  EXPECT_EQ(plugin.sequence_new(opened->backbone(), 0, &id, &message), ENGRAM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(text, HasSubstr("3 sequences"));
  engram_backbone_stats stats = {};
  stats.struct_size = sizeof(stats);
  ASSERT_EQ(plugin.stats(opened->backbone(), &stats), ENGRAM_OK);
  EXPECT_EQ(stats.num_sequences, 3u);
  EXPECT_EQ(stats.kv_used_tokens, 64u);
  opened->Free(second);
  opened->Free(third);
  plugin.sequence_free(opened->backbone(), 424242);
  EXPECT_EQ(plugin.sequence_truncate(opened->backbone(), second, 0, &message), ENGRAM_NOT_FOUND);
  EXPECT_EQ(plugin.sequence_truncate(opened->backbone(), first, 1, &message), ENGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(plugin.sequence_fork(opened->backbone(), second, 4, &id, &message), ENGRAM_NOT_FOUND);
  opened->History(first) = {1, 2, 3};
  opened->RunAll(first, 8);
  EXPECT_EQ(plugin.sequence_fork(opened->backbone(), first, 2, &id, &message), ENGRAM_INVALID_ARGUMENT);
  EXPECT_NE(opened->Fork(first, 3), first);
  ASSERT_EQ(plugin.stats(opened->backbone(), &stats), ENGRAM_OK);
  EXPECT_EQ(stats.num_steps, 1u);
  EXPECT_EQ(stats.num_tokens, 3u);
  EXPECT_GT(stats.step_ns, 0u);
}

TEST_F(ContractTest, BadBatchesAreRefusedAndChangeNothing) {
  const auto opened = Open({{"max_batch_tokens", "8"}});
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9, 10};
  const auto good = opened->New(6, tokens);
  const auto expected = opened->RunAll(good, 6, true).logits;
  const auto a = opened->New(6, tokens);
  const auto b = opened->New(2, tokens);
  opened->Step({{a, 2, true}});

  const auto refuse = [&](std::vector<engram_slice> slices, std::vector<int32_t> ids, const char* part) {
    const std::vector<uint8_t> wants(ids.size() + 1, 1);
    engram_batch batch = {};
    batch.struct_size = sizeof(batch);
    batch.num_slices = static_cast<uint32_t>(slices.size());
    batch.num_tokens = static_cast<uint32_t>(ids.size());
    batch.slices = slices.data();
    batch.tokens = ids.data();
    batch.wants_logits = wants.data();
    engram_step_output output = {};
    output.struct_size = sizeof(output);
    char text[512] = "";
    engram_message message = {text, sizeof(text)};
    EXPECT_EQ(Plugin().step(opened->backbone(), &batch, &output, &message), ENGRAM_INVALID_ARGUMENT) << part;
    EXPECT_THAT(text, HasSubstr(part));
  };
  const uint32_t off = ENGRAM_SLICE_MEMORY_OFF;
  refuse({}, {}, "0 tokens");
  refuse({{a, 0, 9, 2, off}}, std::vector<int32_t>(9, 1), "9 tokens");
  refuse({{a, 0, 1, 2, off}}, {101}, "token 0 is 101");
  refuse({{a, 0, 2, 2, off}}, {1, -1}, "token 1 is -1");
  refuse({{a, 0, 1, 3, off}}, {1}, "position 3 is not the sequence's length 2");
  refuse({{a, 0, 5, 2, off}}, {1, 2, 3, 4, 5}, "reservation of 6");
  refuse({{999, 0, 1, 0, off}}, {1}, "sequence 999 is unknown");
  refuse({{0, 0, 1, 0, off}}, {1}, "sequence 0 is unknown");
  refuse({{a, 0, 1, 2, off}, {a, 1, 1, 3, off}}, {1, 2}, "another slice");
  refuse({{a, 0, 1, 2, off}}, {1, 2}, "do not cover");
  refuse({{a, 0, 1, 2, off}, {b, 2, 1, 0, off}}, {1, 2, 3}, "do not follow");
  refuse({{a, 0, 0, 2, off}}, {1}, "do not follow");
  refuse({{a, 0, 2, 2, off}}, {1}, "do not follow");
  refuse({{a, 0, 1, 2, 8}}, {1}, "unknown flags");
  refuse({{a, 0, 1, 2, 0}}, {1}, "other setting of ENGRAM_SLICE_MEMORY_OFF");
  refuse({{b, 0, 1, 0, 0}}, {1}, "there are no rows");
  refuse({{b, 0, 1, 0, off}, {a, 1, 1, 2, off}, {good, 2, 1, 0, off}}, {1, 2}, "3 slices for 2 tokens");

  // The sequence goes on as if nothing had happened.
  const auto rest = opened->RunAll(a, 8, true).logits;
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), expected.begin() + 2, expected.end()));
}

TEST_F(ContractTest, AFailingHostEndsTheStepWithItsStatus) {
  engram_host host = {};
  host.struct_size = sizeof(host);
  host.log = SilentLog;
  host.await_rows = [](void*, engram_batch_rows* rows, uint32_t, engram_row_view* view,
                       engram_message* message) -> engram_status {
    if (*reinterpret_cast<int*>(rows) == 0) {
      snprintf(message->text, message->capacity, "tier gone");
      return ENGRAM_UNAVAILABLE;
    }
    static const uint8_t byte = 0;
    view->num_tokens = 1;
    view->num_columns = 3;  // the model has 4
    view->row_bytes = 28;
    view->data = &byte;
    return ENGRAM_OK;
  };
  engram_backbone* backbone = nullptr;
  ASSERT_EQ(Plugin().open(&host, directory_.path().c_str(), nullptr, 0, &backbone, nullptr), ENGRAM_OK);
  char text[256] = "";
  engram_message message = {text, sizeof(text)};
  engram_sequence_id id = 0;
  ASSERT_EQ(Plugin().sequence_new(backbone, 4, &id, &message), ENGRAM_OK);
  const engram_slice slice = {id, 0, 1, 0, 0};
  const int32_t token = 1;
  const uint8_t wants = 1;
  int mode = 0;
  engram_batch batch = {sizeof(batch), 0, 1, 1, &slice, &token, &wants, reinterpret_cast<engram_batch_rows*>(&mode)};
  engram_step_output output = {};
  output.struct_size = sizeof(output);
  EXPECT_EQ(Plugin().step(backbone, &batch, &output, &message), ENGRAM_UNAVAILABLE);
  EXPECT_STREQ(text, "tier gone");
  mode = 1;
  EXPECT_EQ(Plugin().step(backbone, &batch, &output, &message), ENGRAM_INTERNAL);
  EXPECT_THAT(text, HasSubstr("[1][3][28], the batch needs [1][4][28]"));
  Plugin().close(backbone);
}

TEST_F(ContractTest, BadConfigurationsNameTheKey) {
  const auto expect = [&](const char* from, const char* to, const char* part) {
    const OpenResult result = WithConfig(from, to);
    EXPECT_NE(result.status, ENGRAM_OK) << to;
    EXPECT_THAT(result.message, HasSubstr(part));
    EXPECT_THAT(result.message, HasSubstr("config.json"));
  };
  expect("\"hidden_size\": 24", "\"other\": 24", "'hidden_size' is missing");
  expect("\"hidden_size\": 24", "\"hidden_size\": \"24\"", "'hidden_size' is not an integer");
  expect("\"hidden_size\": 24", "\"hidden_size\": 0", "'hidden_size'");
  expect("\"hidden_size\": 24", "\"hidden_size\": 1e30", "'hidden_size'");
  expect("\"hidden_size\": 24", "\"hidden_size\": NaN", "bad JSON");
  expect("\"hidden_size\": 24", "\"hidden_size\": 24, \"hidden_size\": 24", "'hidden_size' occurs twice");
  expect("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "'num_key_value_heads' (3) does not divide");
  expect("\"head_dim\": 10", "\"head_dim\": 11", "'head_dim' (11) is not even");
  expect("\"rms_norm_eps\": 1e-6", "\"rms_norm_eps\": -1", "'rms_norm_eps' is not a positive number");
  expect("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2.0}",
         "'rope_type' is 'yarn'");
  expect("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"linear\"}", "rope_scaling.'factor' is missing");
  expect("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "'hidden_act' is 'gelu'");
  expect("\"hidden_act\": \"silu\"", "\"sliding_window\": 128", "'sliding_window' is set");
  expect("\"hidden_act\": \"silu\"", "\"quantization_config\": {}", "'quantization_config'");
  expect("\"model_type\": \"engram\"", "\"model_type\": \"mamba\"", "'model_type' is 'mamba'");
  expect("\"variant\": \"paper\"", "\"variant\": \"x\"", "engram.'variant' is 'x'");
  expect("\"layer_ids\": [1]", "\"layer_ids\": [3]", "engram.'layer_ids'");
  expect("\"layer_ids\": [1]", "\"layer_ids\": [1, 1]", "engram.'layer_ids' names layer 1 twice");
  expect("\"max_ngram_size\": 3", "\"max_ngram_size\": 1", "engram.'max_ngram_size'");
  expect("\"max_ngram_size\": 3", "\"max_ngram_size\": 3, \"row_format\": \"fp4\"", "engram.'row_format' is 'fp4'");
  expect("{\"model_type\"", "[\"model_type\"", "bad JSON");
}

TEST_F(ContractTest, BadTensorsAreNamed) {
  const std::string q = "model.layers.1.self_attn.q_proj.weight";
  OpenResult result = WithTensors([&](Tensors& tensors) { tensors.erase(q); });
  EXPECT_EQ(result.status, ENGRAM_NOT_FOUND);
  EXPECT_THAT(result.message, HasSubstr("'" + q + "' is missing"));
  result = WithTensors([&](Tensors& tensors) { std::swap(tensors[q].shape[0], tensors[q].shape[1]); });
  EXPECT_EQ(result.status, ENGRAM_INVALID_ARGUMENT);
  EXPECT_THAT(result.message, HasSubstr("'" + q + "': shape is [24, 40], the configuration asks for [40, 24]"));
  result = WithTensors([&](Tensors& tensors) { tensors[q].type = TensorType::kI32; });
  EXPECT_EQ(result.status, ENGRAM_UNSUPPORTED);
  EXPECT_THAT(result.message, HasSubstr("'" + q + "': type is I32"));
  result =
      WithTensors([&](Tensors& tensors) { tensors["model.layers.1.engram.embed.weight"].type = TensorType::kU32; });
  EXPECT_THAT(result.message, HasSubstr("engram.embed.weight': type is U32"));
  result = WithTensors([&](Tensors& tensors) {
    auto& table = tensors["model.layers.1.engram.embed.weight"];
    table.shape = {table.shape[0] * 7, 1};
  });
  EXPECT_THAT(result.message, HasSubstr("asks for [rows, 7]"));
  result = WithTensors([&](Tensors& tensors) { tensors.erase("model.layers.1.engram.embed.weight"); });
  EXPECT_EQ(result.status, ENGRAM_NOT_FOUND);
  EXPECT_THAT(result.message, HasSubstr("embed.weight' is missing, and config.json has no engram.row_format"));
}

TEST_F(ContractTest, NullsAndShortStructsAreRefused) {
  const engram_backbone_functions& plugin = Plugin();
  engram_backbone* backbone = nullptr;
  EXPECT_EQ(plugin.open(nullptr, "x", nullptr, 0, &backbone, nullptr), ENGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(TryOpen(directory_.path() + "/absent").status, ENGRAM_NOT_FOUND);
  const auto opened = Open({});
  engram_backbone_info info = {};
  EXPECT_EQ(plugin.describe(opened->backbone(), &info), ENGRAM_INVALID_ARGUMENT);
  engram_backbone_stats stats = {};
  EXPECT_EQ(plugin.stats(opened->backbone(), &stats), ENGRAM_INVALID_ARGUMENT);
  engram_batch batch = {};
  engram_step_output output = {};
  output.struct_size = sizeof(output);
  EXPECT_EQ(plugin.step(opened->backbone(), &batch, &output, nullptr), ENGRAM_INVALID_ARGUMENT);
  plugin.close(nullptr);
  plugin.sequence_free(nullptr, 1);
}

}  // namespace
}  // namespace backbone_cpu::testing
