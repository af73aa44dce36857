// SPDX-License-Identifier: Apache-2.0
//
// The plugin, through its ABI, against the reference values of tests/vectors and of the trained model, for every kernel
// set this processor runs.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include "kernels/kernels.h"
#include "testing/plugin_under_test.h"

namespace backbone_cpu::testing {
namespace {

namespace json = boost::json;

json::value ReadJson(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path);
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str());
}

const std::string kVectors = ENGRAM_TEST_SOURCE_DIR "/tests/vectors";
const std::string kTrained = ENGRAM_TEST_SOURCE_DIR "/models/lexicon";

bool IsPrime(int64_t n) {
  for (int64_t i = 2; i * i <= n; ++i) {
    if (n % i == 0) return false;
  }
  return n > 1;
}

// Primes by rule, multipliers from `hash`; `compressed` is the compressed id of each token.
Addresser MakeAddresser(const json::value& config, const json::value& hash, const json::value& compressed) {
  Addresser addresser;
  const json::object& engram = config.at("engram").as_object();
  addresser.max_ngram_size = json::value_to<uint32_t>(engram.at("max_ngram_size"));
  addresser.num_heads = json::value_to<uint32_t>(engram.at("n_heads"));
  addresser.compressed = json::value_to<std::vector<int32_t>>(compressed);
  addresser.pad = addresser.compressed.at(json::value_to<size_t>(engram.at("pad_token_id")));
  const auto sizes = json::value_to<std::vector<int64_t>>(engram.at("vocab_size"));
  std::set<int64_t> used;
  for (const json::value& id : engram.at("layer_ids").as_array()) {
    const auto layer = json::value_to<uint32_t>(id);
    LayerHash constants;
    for (const json::value& text : hash.at("multipliers").at(std::to_string(layer)).as_array()) {
      constants.multipliers.push_back(std::stoll(json::value_to<std::string>(text)));
    }
    for (uint32_t order = 2; order <= addresser.max_ngram_size; ++order) {
      int64_t prime = sizes.at(order - 2) - 1;
      for (uint32_t head = 0; head < addresser.num_heads; ++head) {
        do ++prime;
        while (!IsPrime(prime) || used.count(prime) != 0);
        used.insert(prime);
        constants.primes.push_back(prime);
      }
    }
    addresser.layers[layer] = std::move(constants);
  }
  return addresser;
}

std::vector<std::string> RunnableKernels() {
  std::vector<std::string> names;
  size_t count = 0;
  const Kernels* const* all = AllKernels(&count);
  for (size_t i = 0; i < count; ++i) {
    if (all[i]->supported()) names.push_back(all[i]->name);
  }
  return names;
}

struct Reference {
  std::string model_dir;
  Addresser addresser;
  json::value expected;
};

Reference LoadReference(const std::string& name) {
  Reference reference;
  const bool trained = name == "lexicon";
  reference.model_dir = trained ? kTrained : kVectors + "/models/" + name;
  reference.expected = ReadJson(reference.model_dir + "/expected.json");
  const json::value config = ReadJson(reference.model_dir + "/config.json");
  if (config.as_object().contains("engram")) {
    // The trained model has a tokenizer of its own, the others share one.
    reference.addresser = MakeAddresser(
        config, reference.expected.at("hash"),
        trained ? reference.expected.at("compressed_map") : ReadJson(kVectors + "/compressed_map.json").at("map"));
  }
  return reference;
}

class VectorsTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  VectorsTest()
      : reference_(LoadReference(std::get<0>(GetParam()))),
        model_(reference_.model_dir, reference_.addresser,
               {{"kernels", std::get<1>(GetParam())}, {"threads", "2"}, {"max_batch_tokens", "96"}}) {}

  const json::array& cases() const { return reference_.expected.at("cases").as_array(); }
  static std::vector<int32_t> Tokens(const json::value& list) { return json::value_to<std::vector<int32_t>>(list); }

  Reference reference_;
  OpenedModel model_;
};

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want, double tolerance, const char* what) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::fabs(got.at(i) - want[i]));
  EXPECT_LE(worst, tolerance) << what;
}

TEST_P(VectorsTest, LogitsGatesAndLogprobs) {
  EXPECT_NE(model_.log().find("cpu " + std::get<1>(GetParam()) + ", 2 threads"), std::string::npos) << model_.log();
  for (const json::value& item : cases()) {
    const std::vector<int32_t> prompt = Tokens(item.at("prompt"));
    const auto sequence = model_.New(static_cast<uint32_t>(prompt.size()), prompt);
    const StepResult result = model_.RunAll(sequence, model_.info().max_batch_tokens);
    model_.Free(sequence);
    const json::object& fields = item.as_object();
    const char* key = fields.contains("last_logits") ? "last_logits" : "last_logits_first64";
    // The files round to 5 decimals.
    ExpectNear(result.logits.back(), json::value_to<std::vector<double>>(fields.at(key)), 1e-4, "logits");
    if (fields.contains("logprobs")) {
      const auto logprobs = json::value_to<std::vector<double>>(fields.at("logprobs"));
      ASSERT_EQ(logprobs.size(), prompt.size() - 1);
      for (size_t t = 0; t < logprobs.size(); ++t) {
        double sum = 0;
        for (const float logit : result.logits[t]) sum += std::exp(static_cast<double>(logit));
        EXPECT_NEAR(result.logits[t][static_cast<size_t>(prompt[t + 1])] - std::log(sum), logprobs[t], 1e-4);
      }
    }
    for (uint32_t index = 0; index < model_.info().num_engram_layers; ++index) {
      const std::string layer = std::to_string(model_.info().engram_layers[index]);
      const auto gates = json::value_to<std::vector<std::vector<double>>>(fields.at("gates").at(layer));
      ASSERT_EQ(gates.size(), prompt.size());
      for (size_t t = 0; t < gates.size(); ++t) ExpectNear(result.gates[index][t], gates[t], 1e-5, "gates");
      if (!fields.contains("rows")) continue;
      std::vector<int64_t> rows;
      for (const json::value& row : fields.at("rows").at(layer).as_array()) {
        for (const int64_t id : json::value_to<std::vector<int64_t>>(row)) rows.push_back(id);
      }
      EXPECT_EQ(reference_.addresser.Rows(model_.info().engram_layers[index], prompt), rows);
    }
  }
}

TEST_P(VectorsTest, GreedyTokens) {
  for (const json::value& item : cases()) {
    const std::vector<int32_t> prompt = Tokens(item.at("prompt"));
    const std::vector<int32_t> greedy = Tokens(item.at("greedy"));
    EXPECT_EQ(model_.Greedy(prompt, greedy.size(), false), greedy);
  }
}

TEST_P(VectorsTest, EngramOff) {
  for (const json::value& item : cases()) {
    const json::object& fields = item.as_object();
    if (!fields.contains("greedy_engram_off")) GTEST_SKIP() << "the model has no Engram module";
    const std::vector<int32_t> prompt = Tokens(fields.at("prompt"));
    const std::vector<int32_t> greedy = Tokens(fields.at("greedy_engram_off"));
    EXPECT_EQ(model_.Greedy(prompt, greedy.size(), true), greedy);
    if (!fields.contains("last_logits_engram_off_first16")) continue;
    const auto sequence = model_.New(static_cast<uint32_t>(prompt.size()), prompt);
    const StepResult result = model_.RunAll(sequence, model_.info().max_batch_tokens, true);
    model_.Free(sequence);
    ExpectNear(result.logits.back(), json::value_to<std::vector<double>>(fields.at("last_logits_engram_off_first16")),
               1e-4, "logits");
    for (const auto& layer : result.gates) {
      for (const auto& token : layer) {
        for (const float gate : token) EXPECT_EQ(gate, 0.0f);
      }
    }
  }
}

// However a prefill is cut, and whatever else is in the batch, the bits are the same.
TEST_P(VectorsTest, ChunksAndBatchesGiveTheSameBits) {
  std::vector<std::vector<std::vector<float>>> whole;
  std::vector<std::vector<int32_t>> prompts;
  for (const json::value& item : cases()) {
    prompts.push_back(Tokens(item.at("prompt")));
    const auto sequence = model_.New(static_cast<uint32_t>(prompts.back().size()), prompts.back());
    whole.push_back(model_.RunAll(sequence, model_.info().max_batch_tokens).logits);
    model_.Free(sequence);
    for (const uint32_t chunk : {1u, 2u, 3u, 7u}) {
      const auto chunked = model_.New(static_cast<uint32_t>(prompts.back().size()), prompts.back());
      EXPECT_EQ(model_.RunAll(chunked, chunk).logits, whole.back()) << "chunk " << chunk;
      model_.Free(chunked);
    }
  }
  // All prompts side by side, each with another chunk size, some with memory and one without.
  const auto off = model_.New(static_cast<uint32_t>(prompts[0].size()), prompts[0]);
  const auto expected_off = model_.RunAll(off, 5, true).logits;
  model_.Truncate(off, 0);
  std::vector<engram_sequence_id> sequences;
  for (const auto& prompt : prompts) sequences.push_back(model_.New(static_cast<uint32_t>(prompt.size()), prompt));
  std::vector<size_t> done(prompts.size(), 0);
  size_t off_done = 0;
  for (;;) {
    std::vector<SliceRequest> requests;
    std::vector<size_t> owners;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const size_t count = std::min<size_t>(i + 1, prompts[i].size() - done[i]);
      if (count == 0) continue;
      requests.push_back({sequences[i], static_cast<uint32_t>(count), false});
      owners.push_back(i);
    }
    const size_t off_count = std::min<size_t>(2, prompts[0].size() - off_done);
    if (off_count != 0) requests.push_back({off, static_cast<uint32_t>(off_count), true});
    if (requests.empty()) break;
    const StepResult result = model_.Step(requests);
    size_t token = 0;
    for (size_t r = 0; r < owners.size(); ++r) {
      for (uint32_t i = 0; i < requests[r].num_tokens; ++i) {
        EXPECT_EQ(result.logits[token++], whole[owners[r]][done[owners[r]]++]);
      }
    }
    for (size_t i = 0; i < off_count; ++i) EXPECT_EQ(result.logits[token++], expected_off[off_done++]);
  }
}

TEST_P(VectorsTest, TruncateAndForkAreExact) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 60; ++i) tokens.push_back((i * 37 + 11) % 4000);
  const auto sequence = model_.New(80, tokens);
  const auto whole = model_.RunAll(sequence, 9).logits;
  for (const uint32_t length : {47u, 16u, 1u, 0u}) {
    const auto fork = model_.Fork(sequence, 70);
    model_.Truncate(fork, length);
    // Other tokens in between must leave nothing behind.
    model_.History(fork) = tokens;
    for (size_t i = length; i < tokens.size(); ++i) model_.History(fork)[i] = (tokens[i] + 5) % 4000;
    model_.RunAll(fork, 8);
    model_.Truncate(fork, length);
    model_.History(fork) = tokens;
    const auto again = model_.RunAll(fork, 4).logits;
    EXPECT_TRUE(std::equal(again.begin(), again.end(), whole.begin() + length, whole.end())) << length;
    model_.Free(fork);
  }
  model_.Free(sequence);
}

INSTANTIATE_TEST_SUITE_P(Models, VectorsTest,
                         ::testing::Combine(::testing::Values("plain", "dense-paper", "dense-paper-hc4",
                                                              "moe-paper-hc4-fp8", "dense-v41-hc4-fp8", "lexicon"),
                                            ::testing::ValuesIn(RunnableKernels())),
                         [](const auto& param) {
                           std::string name = std::get<0>(param.param) + "_" + std::get<1>(param.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace backbone_cpu::testing
