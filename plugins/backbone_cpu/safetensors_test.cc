// SPDX-License-Identifier: Apache-2.0
//
// engram/safetensors.h: what it reads, and what it refuses.
#include "engram/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <sstream>

#include "testing/random_model.h"

namespace backbone_cpu::testing {
namespace {

using engram::sdk::PluginError;
using engram::sdk::SafetensorsModel;
using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name = "model.safetensors") const { return directory_.path() + "/" + name; }

  void WriteRaw(const std::string& header, const std::string& values, uint64_t length) {
    std::string text;
    for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(length >> 8 * i));
    WriteText(Path(), text + header + values);
  }
  // The message of opening a file with this header and 8 bytes of values; empty if it opens.
  std::string Refusal(const std::string& header) {
    WriteRaw(header, "12345678", header.size());
    return OpenError();
  }
  std::string OpenError() const {
    try {
      SafetensorsModel model(directory_.path());
    } catch (const PluginError& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
};

TEST_F(SafetensorsTest, ReadsPartsOfTensors) {
  const std::string header = R"({"b": {"dtype": "U8", "shape": [2, 3], "data_offsets": [2, 8]},
                                 "__metadata__": {"k": "v"},
                                 "a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}})";
  WriteRaw(header, "12345678", header.size());
  const SafetensorsModel model(directory_.path());
  EXPECT_EQ(model.tensors().size(), 2u);
  EXPECT_EQ(model.Find("c"), nullptr);
  EXPECT_EQ(model.Get("a").type, TensorType::kBF16);
  EXPECT_EQ(model.Get("b").shape, (std::vector<uint64_t>{2, 3}));
  char bytes[4] = "";
  model.Read("b", 2, 3, bytes);
  EXPECT_STREQ(bytes, "567");
  model.Read("b", 6, 0, bytes);
  EXPECT_THROW(model.Read("b", 5, 2, bytes), PluginError);
  EXPECT_THROW(model.Read("b", ~uint64_t{0}, 2, bytes), PluginError);
  EXPECT_THROW(model.Get("c"), PluginError);
}

TEST_F(SafetensorsTest, AFileCutWhileOpenIsAnError) {
  const std::string header = R"({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}})";
  WriteRaw(header, "12345678", header.size());
  const SafetensorsModel model(directory_.path());
  ASSERT_EQ(truncate(Path().c_str(), static_cast<off_t>(8 + header.size() + 3)), 0);
  char bytes[8];
  try {
    model.Read("a", 0, 8, bytes);
    FAIL();
  } catch (const PluginError& error) {
    EXPECT_EQ(error.status(), ENGRAM_DATA_LOSS);
    EXPECT_THAT(error.what(), HasSubstr("tensor 'a': the file ends at byte"));
  }
}

TEST_F(SafetensorsTest, RefusesLyingHeaders) {
  const std::string good = R"({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}})";
  EXPECT_EQ(Refusal(good), "");
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a": {"dtype": ")" + dtype + R"(", "shape": )" + shape + R"(, "data_offsets": )" + offsets + "}}";
  };
  EXPECT_THAT(Refusal(entry("U8", "[9]", "[0, 9]")), HasSubstr("tensor 'a': data_offsets [0, 9] are outside"));
  EXPECT_THAT(Refusal(entry("U8", "[8]", "[8, 0]")), HasSubstr("are outside"));
  EXPECT_THAT(Refusal(entry("U8", "[7]", "[0, 8]")), HasSubstr("give 8 bytes, shape [7] of U8 needs 7"));
  EXPECT_THAT(Refusal(entry("F32", "[8]", "[0, 8]")), HasSubstr("needs 32"));
  EXPECT_THAT(Refusal(entry("F32", "[4611686018427387904]", "[0, 0]")), HasSubstr("overflows"));
  EXPECT_THAT(Refusal(entry("U8", "[4294967296, 4294967296]", "[0, 0]")), HasSubstr("overflows"));
  EXPECT_THAT(Refusal(entry("U8", "[-8]", "[0, 8]")), HasSubstr("'shape' holds no unsigned integer"));
  EXPECT_THAT(Refusal(entry("U8", "[8.0]", "[0, 8]")), HasSubstr("'shape'"));
  EXPECT_THAT(Refusal(entry("U8", "8", "[0, 8]")), HasSubstr("'shape' is missing or not an array"));
  EXPECT_THAT(Refusal(entry("U9", "[8]", "[0, 8]")), HasSubstr("dtype 'U9' is unknown"));
  EXPECT_THAT(Refusal(entry("U8", "[8]", "[0]")), HasSubstr("not a pair"));
  EXPECT_THAT(Refusal(R"({"a": 1})"), HasSubstr("not an object"));
  EXPECT_THAT(Refusal("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(Refusal(good.substr(0, good.size() - 1) + ", " + good.substr(1)), HasSubstr("key 'a' occurs twice"));
  EXPECT_THAT(Refusal("{\"a\": " + std::string(5000, '[')), HasSubstr("bad JSON"));
  WriteRaw(good, "12345678", good.size() + 9);
  EXPECT_THAT(OpenError(), HasSubstr("header length"));
  WriteRaw(good, "12345678", ~uint64_t{0});
  EXPECT_THAT(OpenError(), HasSubstr("header length"));
  WriteText(Path(), "1234567");
  EXPECT_THAT(OpenError(), HasSubstr("shorter than"));
}

TEST_F(SafetensorsTest, ChecksTheIndex) {
  const std::string header = R"({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}})";
  WriteRaw(header, "12345678", header.size());
  const auto refusal = [&](const std::string& index) {
    WriteText(Path("model.safetensors.index.json"), index);
    return OpenError();
  };
  EXPECT_EQ(refusal(R"({"weight_map": {"a": "model.safetensors"}})"), "");
  EXPECT_THAT(refusal(R"({"weight_map": {"b": "model.safetensors"}})"), HasSubstr("tensor 'b' is not in"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "absent.safetensors"}})"), HasSubstr("absent.safetensors: No such file"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "../model.safetensors"}})"), HasSubstr("not a plain name"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": "/etc/passwd"}})"), HasSubstr("not a plain name"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": ".."}})"), HasSubstr("not a plain name"));
  EXPECT_THAT(refusal(R"({"weight_map": {"a": 1}})"), HasSubstr("not a string"));
  EXPECT_THAT(refusal(R"({})"), HasSubstr("'weight_map' is missing"));
}

// Whatever bytes a header has, opening ends in a model or a PluginError; under the sanitizers, without a report.
TEST_F(SafetensorsTest, RandomMutationsOfTheHeader) {
  ModelSpec spec;
  spec.layers = 1;
  const RandomModel model = MakeRandomModel(spec, 3);
  WriteModel(model, directory_.path());
  std::ifstream file(Path(), std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string original = stream.str();
  const size_t header_bytes = static_cast<uint8_t>(original[0]) + 256u * static_cast<uint8_t>(original[1]);
  std::mt19937 random(11);
  int num_refused = 0;
  for (int round = 0; round < 400; ++round) {
    std::string mutated = original;
    for (uint32_t i = 0; i <= random() % 3; ++i) {
      const size_t at = random() % (8 + header_bytes);
      if (random() % 2 == 0) {
        mutated[at] = static_cast<char>(random());
      } else {
        mutated[at] = "0123456789[]{}\",:"[random() % 17];
      }
    }
    if (random() % 8 == 0) mutated.resize(random() % mutated.size());
    WriteText(Path(), mutated);
    engram_host host = {};
    host.struct_size = sizeof(host);
    engram_backbone* backbone = nullptr;
    const engram_option options[] = {{"threads", "1"}, {"kv_cache_tokens", "16"}};
    char text[512] = "";
    engram_message message = {text, sizeof(text)};
    const engram_status status = Plugin().open(&host, directory_.path().c_str(), options, 2, &backbone, &message);
    if (status == ENGRAM_OK) {
      Plugin().close(backbone);
    } else {
      ++num_refused;
      EXPECT_NE(text[0], '\0');
      EXPECT_NE(status, ENGRAM_INTERNAL) << text;
    }
  }
  EXPECT_GT(num_refused, 100);
}

}  // namespace
}  // namespace backbone_cpu::testing
