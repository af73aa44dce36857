// SPDX-License-Identifier: Apache-2.0
#include "http/commit_body.h"

#include <gtest/gtest.h>

#include <cstring>

#include "http/base64.h"
#include "http/json_body.h"

namespace engram {
namespace {

class CommitBodyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Load(std::string(ENGRAM_TEST_SOURCE_DIR) + "/tests/vectors/tokenizer.json");
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = *tokenizer;
  }
  Result<CommitBody> Read(const std::string& text, size_t max_edits = 10) {
    auto object = ParseJsonObject(text);
    if (!object) return object.error();
    JsonFields fields(*object);
    return ReadCommitFields(fields, {tokenizer_.get(), 4096}, max_edits);
  }
  // With one edit made of `fields`.
  Result<CommitBody> ReadEdit(const std::string& fields) { return Read("{\"edits\":[{" + fields + "}]}"); }

  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(CommitBodyTest, ReadsEveryForm) {
  const auto body = Read(R"({"note": "n", "author": "a", "if_version": 3, "plan": true, "edits": [
    {"layer": 1, "row": 1234, "mode": "add", "values": [1, -2.5, 1e-3]},
    {"layer": 2, "row": "9007199254740993", "data": "AAEC/w=="},
    {"layer": 1, "ngram": {"tokens": [5, 6]}, "heads": [1, 0], "values": [1]},
    {"layer": 1, "ngram": {"text": " the capital of"}, "order": 2, "values": [1]}]})");
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_TRUE(body->plan);
  const CommitRequest& request = body->request;
  EXPECT_EQ(request.note, "n");
  EXPECT_EQ(request.author, "a");
  EXPECT_EQ(request.if_version, 3u);
  ASSERT_EQ(request.edits.size(), 4u);
  EXPECT_EQ(request.edits[0].row, 1234u);
  EXPECT_EQ(request.edits[0].mode, RowEdit::Mode::kAdd);
  EXPECT_EQ(request.edits[0].values, (std::vector<float>{1, -2.5f, 1e-3f}));
  EXPECT_EQ(request.edits[1].layer, 2u);
  EXPECT_EQ(request.edits[1].row, 9007199254740993u);
  EXPECT_EQ(request.edits[1].data, (std::vector<uint8_t>{0, 1, 2, 255}));
  ASSERT_TRUE(request.edits[2].ngram);
  EXPECT_FALSE(request.edits[2].row);
  EXPECT_EQ(request.edits[2].ngram->tokens, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(request.edits[2].ngram->heads, (std::vector<uint32_t>{1, 0}));
  EXPECT_EQ(request.edits[2].ngram->order, 0u);
  EXPECT_EQ(request.edits[3].ngram->tokens, *tokenizer_->Encode(" the capital of", false));
  EXPECT_EQ(request.edits[3].ngram->order, 2u);
}

TEST_F(CommitBodyTest, NamesTheFieldAtFault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("row": 1, "values": [1])", "edits[0].layer"},
      {R"("layer": -1, "row": 1, "values": [1])", "edits[0].layer"},
      {R"("layer": 1, "values": [1])", "edits[0].row"},
      {R"("layer": 1, "row": -1, "values": [1])", "edits[0].row"},
      {R"("layer": 1, "row": 1.5, "values": [1])", "edits[0].row"},
      {R"("layer": 1, "row": "1x", "values": [1])", "edits[0].row"},
      {R"("layer": 1, "row": "", "values": [1])", "edits[0].row"},
      {R"("layer": 1, "row": 1, "ngram": {"tokens": [1, 2]}, "values": [1])", "edits[0].row"},
      {R"("layer": 1, "ngram": {}, "values": [1])", "edits[0].ngram.text"},
      {R"("layer": 1, "ngram": {"text": "a b", "tokens": [1]}, "values": [1])", "edits[0].ngram.text"},
      {R"("layer": 1, "ngram": {"text": ""}, "values": [1])", "edits[0].ngram.text"},
      {R"("layer": 1, "ngram": {"tokens": []}, "values": [1])", "edits[0].ngram.tokens"},
      {R"("layer": 1, "ngram": {"tokens": [1, 4096]}, "values": [1])", "edits[0].ngram.tokens[1]"},
      {R"("layer": 1, "ngram": {"tokens": [1, 2], "x": 1}, "values": [1])", "edits[0].ngram.x"},
      {R"("layer": 1, "ngram": 5, "values": [1])", "edits[0].ngram"},
      {R"("layer": 1, "ngram": {"tokens": [1, 2]}, "order": 1, "values": [1])", "edits[0].order"},
      {R"("layer": 1, "ngram": {"tokens": [1, 2]}, "heads": [-1], "values": [1])", "edits[0].heads[0]"},
      {R"("layer": 1, "ngram": {"tokens": [1, 2]}, "heads": [], "values": [1])", "edits[0].heads"},
      {R"("layer": 1, "row": 1, "heads": [0], "values": [1])", "edits[0].heads"},
      {R"("layer": 1, "row": 1, "order": 2, "values": [1])", "edits[0].order"},
      {R"("layer": 1, "row": 1, "mode": "replace", "values": [1])", "edits[0].mode"},
      {R"("layer": 1, "row": 1)", "edits[0].values"},
      {R"("layer": 1, "row": 1, "values": [], "data": "AA==")", "edits[0].values"},
      {R"("layer": 1, "row": 1, "values": [])", "edits[0].values"},
      {R"("layer": 1, "row": 1, "values": {})", "edits[0].values"},
      {R"("layer": 1, "row": 1, "values": [1, "2"])", "edits[0].values[1]"},
      {R"("layer": 1, "row": 1, "values": [1, 1e39])", "edits[0].values[1]"},
      {R"("layer": 1, "row": 1, "data": "AA=")", "edits[0].data"},
      {R"("layer": 1, "row": 1, "data": "A A=")", "edits[0].data"},
      {R"("layer": 1, "row": 1, "data": "")", "edits[0].data"},
      {R"("layer": 1, "row": 1, "data": 5)", "edits[0].data"},
      {R"("layer": 1, "row": 1, "mode": "add", "data": "AA==")", "edits[0].data"},
      {R"("layer": 1, "row": 1, "values": [1], "value": 1)", "edits[0].value"},
  };
  for (const auto& [fields, want] : cases) {
    const auto body = ReadEdit(fields);
    ASSERT_FALSE(body) << fields;
    EXPECT_EQ(body.error().field, want) << fields << ": " << body.error().message;
    EXPECT_NE(body.error().message.find("edits[0]"), std::string::npos) << body.error().message;
  }
}

TEST_F(CommitBodyTest, NamesTheRequestFieldAtFault) {
  const std::string edit = R"({"layer": 1, "row": 1, "values": [1]})";
  const std::pair<std::string, const char*> cases[] = {
      {"{}", "edits"},
      {R"({"edits": {}})", "edits"},
      {R"({"edits": []})", "edits"},
      {R"({"edits": [1]})", "edits[0]"},
      {R"({"edits": [)" + edit + "," + edit + "," + edit + "]}", "edits"},
      {R"({"edits": [)" + edit + R"(], "if_version": -1})", "if_version"},
      {R"({"edits": [)" + edit + R"(], "note": 5})", "note"},
      {R"({"edits": [)" + edit + R"(], "plan": 1})", "plan"},
      {R"({"edits": [)" + edit + R"(], "author": ")" + std::string(256, 'a') + R"("})", "author"},
      {R"({"edits": [)" + edit + R"(], "nope": 1})", "nope"},
  };
  for (const auto& [text, want] : cases) {
    const auto body = Read(text, 2);
    ASSERT_FALSE(body) << text;
    EXPECT_EQ(body.error().field, want) << text;
  }
}

// A safetensors file of `header` and zero bytes up to `num_bytes`, then `tail`.
std::string File(const std::string& header, std::string values) {
  std::string file(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(file.data(), &size, sizeof(size));
  return file + header + values;
}

template <typename T>
std::string Bytes(std::vector<T> values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

TEST(CommitTensors, ReadsRowsOfSeveralLayers) {
  const std::string header = R"({"__metadata__": {"note": "n", "mode": "add", "if_version": "4", "format": "pt"},
    "layer.2.rows": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
    "layer.2.values": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
    "layer.1.rows": {"dtype": "I64", "shape": [2], "data_offsets": [12, 28]},
    "layer.1.values": {"dtype": "F32", "shape": [2, 2], "data_offsets": [28, 44]},
    "layer.3.rows": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
    "layer.3.values": {"dtype": "F16", "shape": [1, 4], "data_offsets": [44, 52]}})";
  const std::string values = Bytes<int64_t>({1'000'000'000'000}) + Bytes<uint16_t>({0x3f80, 0xc000}) +
                             Bytes<int64_t>({7, 8}) + Bytes<float>({1, 2, 3, 4.5f}) +
                             Bytes<uint16_t>({0x3c00, 0xc000, 0x0001, 0x7bff});
  const auto commit = ReadCommitTensors(File(header, values), 10);
  ASSERT_TRUE(commit) << commit.error().message;
  const CommitRequest& request = commit->body.request;
  EXPECT_EQ(request.note, "n");
  EXPECT_EQ(request.if_version, 4u);
  EXPECT_FALSE(commit->body.plan);
  ASSERT_EQ(request.edits.size(), 4u);
  EXPECT_EQ(request.edits[0].layer, 1u);
  EXPECT_EQ(request.edits[1].row, 8u);
  EXPECT_EQ(request.edits[1].values, (std::vector<float>{3, 4.5f}));
  EXPECT_EQ(request.edits[1].mode, RowEdit::Mode::kAdd);
  EXPECT_EQ(request.edits[2].row, 1'000'000'000'000u);
  EXPECT_EQ(request.edits[2].values, (std::vector<float>{1, -2}));
  EXPECT_EQ(request.edits[3].values, (std::vector<float>{1, -2, 0x1p-24f, 65504}));

  const Error error =
      InTensorTerms(InvalidArgument("edits[1].values[3] is wrong; edits[2].row and edits[3] too", "edits[1].values[3]"),
                    commit->places);
  EXPECT_EQ(error.field, "layer.1.values[1][3]");
  EXPECT_EQ(error.message, "layer.1.values[1][3] is wrong; layer.2.rows[0] and layer.3.rows[0] too");
}

TEST(CommitTensors, TakesStoredBytes) {
  const std::string header = R"({"layer.1.rows": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
    "layer.1.data": {"dtype": "U8", "shape": [2, 3], "data_offsets": [16, 22]}})";
  const auto commit = ReadCommitTensors(File(header, Bytes<int64_t>({1, 2}) + "abcdef"), 2);
  ASSERT_TRUE(commit) << commit.error().message;
  EXPECT_EQ(commit->body.request.edits[1].data, (std::vector<uint8_t>{'d', 'e', 'f'}));
}

TEST(CommitTensors, RefusesWhatIsNotSound) {
  const auto field = [](const std::string& header, size_t num_bytes = 64) {
    const auto commit = ReadCommitTensors(File(header, std::string(num_bytes, '\0')), 2);
    return commit ? "none" : commit.error().field.empty() ? "?" : commit.error().field;
  };
  const std::string rows = R"("layer.1.rows": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]})";
  const std::string values = R"("layer.1.values": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]})";
  EXPECT_EQ(field("{" + rows + "," + values + "}"), "none");
  EXPECT_EQ(field("{" + rows + "," + values + "}", 31), "layer.1.values");
  EXPECT_EQ(field("{" + rows + "}"), "layer.1.values");
  EXPECT_EQ(field("{" + values + "}"), "layer.1.rows");
  EXPECT_EQ(field("{}"), "edits");
  EXPECT_EQ(field("{" + rows + "," + values + R"(, "x": {}})"), "x");
  EXPECT_EQ(field("{" + rows + "," + values +
                  R"(, "layer.01.rows": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}})"),
            "layer.01.rows");
  EXPECT_EQ(field("{" + rows + "," + values + R"(, "__metadata__": {"mode": "x"}})"), "__metadata__.mode");
  EXPECT_EQ(field("{" + rows + "," + values + R"(, "__metadata__": {"what": "x"}})"), "__metadata__.what");
  EXPECT_EQ(field(R"({"layer.1.rows": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]},)" + values + "}"),
            "layer.1.rows");
  EXPECT_EQ(field(R"({"layer.1.rows": {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]},)" + values + "}"),
            "layer.1.rows");
  EXPECT_EQ(field(R"({"layer.1.rows": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]},)" + values + "}"),
            "layer.1.rows");  // above max_edits
  EXPECT_EQ(field("{" + rows + R"(, "layer.1.values": {"dtype": "F32", "shape": [1, 4], "data_offsets": [16, 32]}})"),
            "layer.1.values");
  EXPECT_EQ(field("{" + rows + R"(, "layer.1.values": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}})"),
            "layer.1.values");
  EXPECT_EQ(
      field("{" + rows +
            R"(, "layer.1.values": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}})"),
      "layer.1.values");
  EXPECT_EQ(field("{" + rows + R"(, "layer.1.data": {"dtype": "U8", "shape": [2, 8], "data_offsets": [16, 32]},
    "__metadata__": {"mode": "add"}})"),
            "layer.1.data");
  EXPECT_EQ(field("nonsense"), "?");
  EXPECT_FALSE(ReadCommitTensors("short", 2));
  EXPECT_FALSE(ReadCommitTensors(std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8), 2));
  std::string negative = File("{" + rows + "," + values + "}", Bytes<int64_t>({1, -1}) + std::string(16, '\0'));
  EXPECT_EQ(ReadCommitTensors(negative, 2).error().field, "layer.1.rows");
}

TEST(Base64, TakesExactlyTheStandardForm) {
  const auto text = [](std::string_view base64) {
    const auto bytes = DecodeBase64(base64);
    return bytes ? std::string(bytes->begin(), bytes->end()) : std::string("?");
  };
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("Zg=="), "f");
  EXPECT_EQ(text("Zm8="), "fo");
  EXPECT_EQ(text("Zm9v"), "foo");
  EXPECT_EQ(text("+/+/"), "\xfb\xff\xbf");
  for (const char* bad : {"Z", "Zg", "Zg=", "Z===", "====", " Zm9v", "Zm9v\n", "Zm9v    ", "Zm-_", "Zg==Zg=="})
    EXPECT_EQ(text(bad), "?") << bad;
}

}  // namespace
}  // namespace engram
