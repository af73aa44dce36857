// SPDX-License-Identifier: Apache-2.0
// Tokenizer against the Hugging Face library's own results: tests/vectors and tests/vectors-extra.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/json_text.h"
#include "text/tokenizer_test_files.h"

namespace engram {
namespace {

namespace json = boost::json;

std::vector<int32_t> IdsOf(const json::value& ids) {
  return json::value_to<std::vector<int32_t>>(ids);
}

std::string StreamDecode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    EXPECT_TRUE(IsValidUtf8(piece));
    text += piece;
  }
  return text + decoder.Finish();
}

std::shared_ptr<const Tokenizer> LoadVectors() {
  auto tokenizer = Tokenizer::Load(VectorsPath("tokenizer.json"));
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer ? *tokenizer : nullptr;
}

TEST(TokenizerVectors, EncodesAndDecodes) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 4096);
  const json::value cases = ReadJson(VectorsPath("encode_cases.json"));
  ASSERT_GT(cases.as_array().size(), 50u);
  for (const json::value& one : cases.as_array()) {
    const std::string text(one.at("text").as_string());
    SCOPED_TRACE(text);
    const std::vector<int32_t> ids = IdsOf(one.at("ids"));
    const auto encoded = tokenizer->Encode(text, false);
    ASSERT_TRUE(encoded) << encoded.error().message;
    EXPECT_EQ(*encoded, ids);
    const auto& tokens = one.at("tokens").as_array();
    ASSERT_EQ(tokens.size(), ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(tokenizer->TokenString(ids[i]), std::string(tokens[i].as_string()));
      EXPECT_EQ(tokenizer->TokenId(tokenizer->TokenString(ids[i])), ids[i]);
    }
    EXPECT_EQ(tokenizer->Decode(ids, false), std::string(one.at("decoded").as_string()));
    EXPECT_EQ(StreamDecode(*tokenizer, ids, false), tokenizer->Decode(ids, false));
  }
}

// Every record changes members of the base tokenizer.json; "without" takes vocabulary entries out.
json::value ChangedTokenizer(const json::value& base, const json::object& record) {
  json::value document = base;
  json::object& model = document.at("model").as_object();
  for (const auto& [key, value] : record) {
    if (key == "name" || key == "cases") continue;
    if (key == "model") {
      for (const auto& [model_key, model_value] : value.as_object()) model[model_key] = model_value;
    } else if (key != "without") {
      document.as_object()[key] = value;
    }
  }
  if (const json::value* without = record.if_contains("without")) {
    const auto is_out = [&](std::string_view token) {
      for (const json::value& part : without->as_array()) {
        if (token.find(std::string(part.as_string())) != std::string_view::npos) return true;
      }
      return false;
    };
    json::object vocab;
    for (const auto& [token, id] : model["vocab"].as_object()) {
      if (!is_out(std::string(token))) vocab.emplace(token, id);
    }
    json::array merges;
    for (const json::value& merge : model["merges"].as_array()) {
      if (!is_out(std::string(merge.at(0).as_string()) + std::string(merge.at(1).as_string()))) merges.push_back(merge);
    }
    model["vocab"] = vocab;
    model["merges"] = merges;
    document.as_object()["added_tokens"] = json::array();
  }
  return document;
}

TEST(TokenizerVectors, EveryComponentAgreesWithTheOriginal) {
  const json::value base = ReadJson(VectorsPath("tokenizer.json"));
  const json::value records = ReadJson(SourcePath("tests/vectors-extra/tokenizer_cases.json"));
  ASSERT_GT(records.as_array().size(), 90u);
  for (const json::value& record : records.as_array()) {
    SCOPED_TRACE(std::string(record.at("name").as_string()));
    const auto tokenizer = LoadText(json::serialize(ChangedTokenizer(base, record.as_object())));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    for (const json::value& one : record.at("cases").as_array()) {
      const std::string text(one.at("text").as_string());
      SCOPED_TRACE(JsonQuote(text));
      const std::vector<int32_t> ids = IdsOf(one.at("ids"));
      const auto encoded = (*tokenizer)->Encode(text, true);
      ASSERT_TRUE(encoded) << encoded.error().message;
      EXPECT_EQ(*encoded, ids);
      const json::value* decoded = one.as_object().if_contains("decoded");
      const json::value* without_special = one.as_object().if_contains("decoded_without_special");
      const std::string expected = decoded == nullptr ? text : std::string(decoded->as_string());
      const std::string expected_without =
          without_special == nullptr ? expected : std::string(without_special->as_string());
      EXPECT_EQ((*tokenizer)->Decode(ids, false), expected);
      EXPECT_EQ((*tokenizer)->Decode(ids, true), expected_without);
      EXPECT_EQ(StreamDecode(**tokenizer, ids, true), expected_without);
    }
  }
}

TEST(Tokenizer, MergesAsStringsAreTheSame) {
  json::value document = ReadJson(VectorsPath("tokenizer.json"));
  json::array merges = {"#version: 0.2"};
  for (const json::value& merge : document.at("model").at("merges").as_array()) {
    merges.push_back(json::value(std::string(merge.at(0).as_string()) + " " + std::string(merge.at(1).as_string())));
  }
  document.at("model").as_object()["merges"] = merges;
  const auto tokenizer = LoadText(json::serialize(document));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const json::value cases = ReadJson(VectorsPath("encode_cases.json"));
  for (const json::value& one : cases.as_array()) {
    EXPECT_EQ(*(*tokenizer)->Encode(std::string(one.at("text").as_string()), false), IdsOf(one.at("ids")));
  }
}

TEST(Tokenizer, AddsSpecialTokensOnlyWhenAsked) {
  json::value document = ReadJson(VectorsPath("tokenizer.json"));
  document.as_object()["post_processor"] = json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"B","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
          "special_tokens":{"B":{"id":"B","ids":[4092],"tokens":["<|endoftext|>"]}}})");
  const auto tokenizer = LoadText(json::serialize(document));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(*(*tokenizer)->Encode("a", true), (std::vector<int32_t>{4092, 64}));
  EXPECT_EQ(*(*tokenizer)->Encode("a", false), (std::vector<int32_t>{64}));
  EXPECT_EQ(*(*tokenizer)->Encode("", true), (std::vector<int32_t>{4092}));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string text : {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\xaf"}) {
    const auto encoded = tokenizer->Encode(text, false);
    ASSERT_FALSE(encoded);
    EXPECT_EQ(encoded.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(encoded.error().message.find("byte 2"), std::string::npos) << encoded.error().message;
  }
}

TEST(Tokenizer, IdsWithoutATokenAreLeftOut) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<int32_t> ids = {64, -1, 4096, INT32_MAX, INT32_MIN, 64};
  EXPECT_EQ(tokenizer->Decode(ids, false), "aa");
  EXPECT_EQ(StreamDecode(*tokenizer, ids, false), "aa");
  EXPECT_EQ(tokenizer->TokenBytes(4096), "");
  EXPECT_EQ(tokenizer->TokenString(-1), "");
  EXPECT_FALSE(tokenizer->IsSpecial(99999));
  EXPECT_TRUE(tokenizer->IsSpecial(4093));
  EXPECT_FALSE(tokenizer->TokenId("no such token"));
}

std::string RandomUtf8(std::mt19937& random, size_t num_characters) {
  std::string text;
  for (size_t i = 0; i < num_characters; ++i) {
    constexpr uint32_t kLimits[] = {0x80, 0x80, 0x800, 0x3000, 0x10000, 0x110000};
    uint32_t c = static_cast<uint32_t>(random()) % kLimits[random() % std::size(kLimits)];
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
               static_cast<char>(0x80 | (c & 63))};
    } else {
      text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
               static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
  }
  return text;
}

TEST(Tokenizer, DecodingUndoesEncoding) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = RandomUtf8(random, random() % 60);
    const auto ids = tokenizer->Encode(text, false);
    ASSERT_TRUE(ids) << ids.error().message;
    ASSERT_EQ(tokenizer->Decode(*ids, false), text);
    ASSERT_EQ(StreamDecode(*tokenizer, *ids, false), text);
  }
}

// Any ids at all, so also bytes that are no UTF-8: pieces joined are what Decode() gives.
TEST(Tokenizer, StreamedPiecesJoinToTheWhole) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  std::vector<int32_t> byte_ids;  // tokens of one byte, most of them halves of characters
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->TokenBytes(id).size() == 1) byte_ids.push_back(id);
  }
  ASSERT_EQ(byte_ids.size(), 256u);
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    std::vector<int32_t> ids(random() % 24);
    for (int32_t& id : ids) {
      id = random() % 4 == 0 ? static_cast<int32_t>(random() % 4100) : byte_ids[random() % byte_ids.size()];
    }
    for (const bool skip_special : {false, true}) {
      const std::string whole = tokenizer->Decode(ids, skip_special);
      ASSERT_TRUE(IsValidUtf8(whole));
      ASSERT_EQ(StreamDecode(*tokenizer, ids, skip_special), whole);
    }
  }
}

// Every case cut into single bytes: the hardest stream there is.
TEST(Tokenizer, StreamsByteByByte) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  std::vector<int32_t> id_of_byte(256, -1);
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::string_view bytes = tokenizer->TokenBytes(id);
    if (bytes.size() == 1) id_of_byte[static_cast<uint8_t>(bytes[0])] = id;
  }
  const json::value cases = ReadJson(VectorsPath("encode_cases.json"));
  for (const json::value& one : cases.as_array()) {
    const std::string text(one.at("text").as_string());
    StreamDecoder decoder(*tokenizer, false);
    std::string decoded;
    for (size_t i = 0; i < text.size(); ++i) {
      const std::string piece = decoder.Push(id_of_byte[static_cast<uint8_t>(text[i])]);
      decoded += piece;
      // Nothing is held back longer than its character lasts.
      EXPECT_EQ(decoded, text.substr(0, ValidUtf8Prefix(std::string_view(text).substr(0, i + 1))));
    }
    EXPECT_EQ(decoder.Finish(), "");
    EXPECT_EQ(decoded, text);
  }
}

TEST(StreamDecoder, RepairsAtTheEnd) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  auto ids = *tokenizer->Encode("a👍", false);
  ids.pop_back();
  StreamDecoder decoder(*tokenizer, false);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  EXPECT_EQ(text, "a");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(Tokenizer, ManyThreadsAgree) {
  const auto tokenizer = LoadVectors();
  ASSERT_NE(tokenizer, nullptr);
  const json::value cases = ReadJson(VectorsPath("encode_cases.json"));
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> expected;
  for (const json::value& one : cases.as_array()) {
    texts.emplace_back(one.at("text").as_string());
    expected.push_back(IdsOf(one.at("ids")));
  }
  std::vector<int> num_wrong(8, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < num_wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 4 * texts.size(); ++i) {
        const size_t which = (i * (2 * t + 1) + t) % texts.size();
        const auto ids = tokenizer->Encode(texts[which], false);
        if (!ids || *ids != expected[which]) ++num_wrong[t];
        if (tokenizer->Decode(*ids, false) != texts[which]) ++num_wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_wrong, std::vector<int>(8, 0));
}

// Quadratic work would take hours on these.
TEST(Tokenizer, HugeInputsEnd) {
  const json::value base = ReadJson(VectorsPath("tokenizer.json"));
  const json::value records = ReadJson(SourcePath("tests/vectors-extra/tokenizer_cases.json"));
  std::vector<std::string> texts;
  for (const std::string part : {"a", " ", "\n", "ab", "👍", "👨‍👩‍👧‍👦", "e\u0301", "1", "中", "'s",
                                 "<|im_", " \n ", "the", "!", "\u2003"}) {
    std::string text;
    const size_t size = part.size() == 1 || part == "👍" ? 1 << 20 : 1 << 17;
    while (text.size() < size) text += part;
    texts.push_back(text);
    texts.push_back(text + "x");
  }
  for (const json::value& record : records.as_array()) {
    const std::string name(record.at("name").as_string());
    if (name != "qwen" && name != "llama3" && name != "deepseek_v3" && name != "no_cuts") continue;
    SCOPED_TRACE(name);
    const auto tokenizer = LoadText(json::serialize(ChangedTokenizer(base, record.as_object())));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    for (const std::string& text : texts) {
      const auto ids = (*tokenizer)->Encode(text, false);
      ASSERT_TRUE(ids) << text.substr(0, 16) << ": " << ids.error().message;
      if (name != "qwen") {  // its NFC changes some
        EXPECT_EQ((*tokenizer)->Decode(*ids, false), text);
      }
    }
  }
}

}  // namespace
}  // namespace engram
