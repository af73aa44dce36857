// SPDX-License-Identifier: Apache-2.0
// Files that are wrong, hostile or beyond what is implemented, and patterns of the other engine.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "text/json_fields.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/tokenizer_test_files.h"

namespace engram {
namespace {

namespace json = boost::json;

// A small tokenizer.json with one member replaced; `path` is dotted, an empty value removes.
std::string With(const std::string& path, const std::string& value) {
  json::value document = json::parse(R"({
    "version": "1.0", "truncation": {"max_length": 3}, "padding": {"length": 5}, "added_tokens": [
      {"id": 5, "content": "<s>", "special": true, "normalized": false, "single_word": false, "lstrip": false,
       "rstrip": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "abab": 4}, "merges": ["a b", "ab ab"]}})");
  if (path.empty()) return json::serialize(document);
  json::object* object = &document.as_object();
  size_t at = 0;
  for (size_t dot; (dot = path.find('.', at)) != std::string::npos; at = dot + 1) {
    object = &object->at(path.substr(at, dot - at)).as_object();
  }
  if (value.empty()) {
    object->erase(path.substr(at));
  } else {
    (*object)[path.substr(at)] = json::parse(value);
  }
  return json::serialize(document);
}

TEST(TokenizerFile, SmallFileWorks) {
  const auto tokenizer = LoadText(With("", ""));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(*(*tokenizer)->Encode("abab ab<s>ba", true), (std::vector<int32_t>{4, 3, 2, 5, 1, 0}));
  EXPECT_EQ((*tokenizer)->vocab_size(), 6);
}

struct Refusal {
  const char* path;
  const char* value;
  ErrorCode code;
  const char* place;  // what the message must name
};

class TokenizerFileRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerFileRefuses, NamingThePlace) {
  const Refusal& refusal = GetParam();
  const auto tokenizer = LoadText(With(refusal.path, refusal.value));
  ASSERT_FALSE(tokenizer) << refusal.path << " = " << refusal.value;
  EXPECT_EQ(tokenizer.error().code, refusal.code) << tokenizer.error().message;
  EXPECT_NE(tokenizer.error().message.find(refusal.place), std::string::npos) << tokenizer.error().message;
}

constexpr ErrorCode kBad = ErrorCode::kInvalidArgument;
constexpr ErrorCode kNo = ErrorCode::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerFileRefuses,
    testing::Values(
        Refusal{"model", "", kBad, "model must be an object"}, Refusal{"model", "[]", kBad, "model must be an object"},
        Refusal{"model.type", R"("WordPiece")", kNo, "model: WordPiece"},
        Refusal{"model.type", "7", kBad, "model.type"}, Refusal{"model.vocab", "", kBad, "model.vocab"},
        Refusal{"model.vocab", "[]", kBad, "model.vocab"},
        Refusal{"model.vocab", R"({"a": -1})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": 16777216})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": 99999999999999999999})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": 18446744073709551615})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": 1.5})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": "1"})", kBad, "model.vocab entry \"a\""},
        Refusal{"model.vocab", R"({"a": 1, "b": 1})", kBad, "model.vocab: token id 1 is given to \"a\" and to \"b\""},
        Refusal{"model.merges", "", kBad, "model.merges"}, Refusal{"model.merges", "{}", kBad, "model.merges"},
        Refusal{"model.merges", R"(["a b", "ab"])", kBad, "model.merges[1]"},
        Refusal{"model.merges", R"(["a b c"])", kBad, "model.merges[0]"},
        Refusal{"model.merges", R"([["a", "b", "b"]])", kBad, "model.merges[0]"},
        Refusal{"model.merges", R"([["a", 1]])", kBad, "model.merges[0]"},
        Refusal{"model.merges", R"([5])", kBad, "model.merges[0]"},
        Refusal{"model.merges", R"(["a z"])", kBad, "model.merges[0] names \"z\""},
        Refusal{"model.merges", R"(["z a"])", kBad, "model.merges[0] names \"z\""},
        Refusal{"model.merges", R"(["b a"])", kBad, "model.merges[0] names \"ba\""},
        Refusal{"model.dropout", "0.1", kNo, "model.dropout"},
        Refusal{"model.byte_fallback", "true", kNo, "model.byte_fallback"},
        Refusal{"model.continuing_subword_prefix", R"("##")", kNo, "model.continuing_subword_prefix"},
        Refusal{"model.end_of_word_suffix", R"("</w>")", kNo, "model.end_of_word_suffix"},
        Refusal{"model.unk_token", R"("<unk>")", kBad, "model.unk_token"},
        Refusal{"model.ignore_merges", "1", kBad, "model.ignore_merges"},
        Refusal{"added_tokens", "{}", kBad, "added_tokens"}, Refusal{"added_tokens", "[1]", kBad, "added_tokens[0]"},
        Refusal{"added_tokens", R"([{"id": 5}])", kBad, "added_tokens[0].content"},
        Refusal{"added_tokens", R"([{"content": "x"}])", kBad, "added_tokens[0].id"},
        Refusal{"added_tokens", R"([{"id": 2000000000, "content": "x"}])", kBad, "added_tokens[0].id"},
        Refusal{"added_tokens", R"([{"id": 0, "content": "x"}])", kBad, "added_tokens[0].id"},
        Refusal{"added_tokens", R"([{"id": 9, "content": "ab"}])", kBad, "added_tokens[0].id"},
        Refusal{"added_tokens", R"([{"id": 9, "content": "x", "special": "yes"}])", kBad, "added_tokens[0].special"},
        Refusal{"normalizer", "7", kBad, "normalizer must be an object"},
        Refusal{"normalizer", "{}", kBad, "normalizer.type"},
        Refusal{"normalizer", R"({"type": "Precompiled"})", kNo, "normalizer: normalizer Precompiled"},
        Refusal{"normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Bert"}]})", kNo,
                "normalizer.normalizers[1]: normalizer Bert"},
        Refusal{"normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})", kBad,
                "normalizer.pattern"},
        Refusal{"normalizer", R"({"type": "Replace", "pattern": {}, "content": ""})", kBad, "normalizer.pattern.Regex"},
        Refusal{"pre_tokenizer", "null", kNo, "pre_tokenizer"},
        Refusal{"pre_tokenizer", R"({"type": "Metaspace"})", kNo, "pre-tokenizer Metaspace"},
        Refusal{"pre_tokenizer", R"({"type": "Digits"})", kNo, "does not end in ByteLevel"},
        Refusal{"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": []})", kNo, "does not end in ByteLevel"},
        Refusal{"pre_tokenizer",
                R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})", kNo,
                "pre_tokenizer.pretokenizers[0]: ByteLevel before other steps"},
        Refusal{"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways"})", kNo,
                "pre_tokenizer.behavior: Sideways"},
        Refusal{"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "[[:alpha:]]"}, "behavior": "Isolated"})",
                kNo, "pre_tokenizer.pattern: offset 1"},
        Refusal{"post_processor", R"({"type": "BertProcessing"})", kNo, "post-processor BertProcessing"},
        Refusal{"post_processor", R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X"}}]})", kBad,
                "post_processor.special_tokens"},
        Refusal{"post_processor",
                R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X"}}],
                    "special_tokens": {"X": {"ids": [77]}}})",
                kBad, "post_processor.special_tokens.X.ids"},
        Refusal{"post_processor", R"({"type": "TemplateProcessing", "single": []})", kNo, "post_processor.single"},
        Refusal{"post_processor", R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]})", kBad,
                "post_processor.single[0].Sequence.id"},
        Refusal{"decoder", "null", kNo, "decoder"}, Refusal{"decoder", R"({"type": "WordPiece"})", kNo, "WordPiece"},
        Refusal{"decoder", R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}]})", kNo,
                "decoder.decoders[0]: decoder ByteFallback"}));

TEST(TokenizerFile, BrokenJsonIsAnErrorWithItsByte) {
  const std::string whole = With("", "");
  for (size_t size = 0; size < whole.size(); size += 7) {
    const auto tokenizer = LoadText(whole.substr(0, size));
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(tokenizer.error().message.find("not valid JSON at byte"), std::string::npos);
  }
  for (const std::string& text :
       {std::string(200'000, '['), std::string("{\"model\":") + std::string(200'000, '['),
        std::string("{\"a\xff\": 1}"), std::string("{\"a\": \"\\ud800\"}"), whole + "x", std::string("\0\0", 2)}) {
    const auto tokenizer = LoadText(text);
    ASSERT_FALSE(tokenizer);
    EXPECT_NE(tokenizer.error().message.find("not valid JSON at byte"), std::string::npos);
  }
  const auto missing = Tokenizer::Load("/nonexistent/tokenizer.json");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
}

TEST(TokenizerFile, DeepSequencesAreRefused) {
  std::string nested = R"({"type": "NFC"})";
  for (int i = 0; i < 100; ++i) nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  std::string whole = With("", "");
  const std::string key = "\"normalizer\":null";
  whole.replace(whole.find(key), key.size(), "\"normalizer\":" + nested);
  EXPECT_FALSE(LoadText(whole));
}

// Whatever a damaged file says: a tokenizer or an error, and the tokenizer still takes any text.
TEST(TokenizerFile, RandomDamageNeverCrashes) {
  const std::string base = With("", "");
  const std::string rich = With(
      "pre_tokenizer",
      R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|[^\\r\\n\\p{L}]?\\p{L}+{1,3}"},
          "behavior": "MergedWithNext", "invert": false}, {"type": "Digits", "individual_digits": true},
          {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": false}]})");
  std::mt19937 random(2024);
  int num_loaded = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string text = i % 2 == 0 ? base : rich;
    for (size_t change = 1 + random() % 3; change > 0; --change) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 12));
          break;
        default:
          text[at] = "0123456789\"{}[]:,\\()*+?|"[random() % 24];
      }
      if (text.empty()) text = "{";
    }
    const auto tokenizer = LoadText(text);
    if (!tokenizer) {
      EXPECT_FALSE(tokenizer.error().message.empty());
      continue;
    }
    ++num_loaded;
    for (int j = 0; j < 4; ++j) {
      std::string input(random() % 40, ' ');
      for (char& c : input) c = static_cast<char>(j % 2 == 0 ? random() : "ab <s>1\n"[random() % 8]);
      const auto ids = (*tokenizer)->Encode(input, j % 2 == 0);
      if (ids) (void)(*tokenizer)->Decode(*ids, true);
    }
  }
  EXPECT_GT(num_loaded, 50);
}

TEST(Regex, RefusesWhatTheEnginesReadDifferently) {
  for (const char* pattern :
       {"[[:alpha:]]", "[a[b]]",  "[a&&b]",  "(?s:.)", "(?x) a", "a(?i)b", "(*ACCEPT)", "(?R)",     "(?1)",
        "(?|a|b)",     "(?<n>a)", "\\Qa\\E", "\\R",    "\\X",    "\\K",    "\\G",       "\\1",      "\\k<n>",
        "\\g<n>",      "\\pL",    "\\C",     "[\\W]",  "\\xff",  "(?C1)",  "(?#c)",     "(?P<n>a)", "(?~a)"}) {
    const auto regex = Regex::Compile(pattern, false);
    ASSERT_FALSE(regex) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kUnsupported) << pattern << ": " << regex.error().message;
    EXPECT_NE(regex.error().message.find("offset"), std::string::npos) << regex.error().message;
  }
  for (const char* pattern : {"(", "a)", "[a", "a\\", "*a", "\\p{NoSuchProperty}", "(?<=a+)b", "a{2,1}"}) {
    const auto regex = Regex::Compile(pattern, false);
    ASSERT_FALSE(regex) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kInvalidArgument) << pattern << ": " << regex.error().message;
  }
}

TEST(Regex, TranslatesIntervals) {
  EXPECT_EQ(*TranslateOniguruma("a{1,3}+"), "(?:a{1,3})+");
  EXPECT_EQ(*TranslateOniguruma("x(b|c){2}?"), "x(?:(b|c){2})?");
  EXPECT_EQ(*TranslateOniguruma("\\p{N}{,3}"), "\\p{N}{0,3}");
  EXPECT_EQ(*TranslateOniguruma("é{2,}+"), "(?:é{2,})+");
  EXPECT_EQ(*TranslateOniguruma("a++b*+c?+"), "a++b*+c?+");
  EXPECT_EQ(*TranslateOniguruma("a{x"), "a\\{x");
}

TEST(Regex, HostilePatternEndsWithAnError) {
  const auto regex = Regex::Compile("(?:a|aa|aaa)*[bc]", false);
  ASSERT_TRUE(regex) << regex.error().message;
  RegexScratch scratch;
  const std::string text(200, 'a');
  Regex::Matches matches(*regex, text, scratch);
  Regex::Match match;
  EXPECT_FALSE(matches.Next(match));
  ASSERT_FALSE(matches.status());
  EXPECT_EQ(matches.status().error().code, ErrorCode::kResourceExhausted);
}

// Deep groups leave the JIT stack for the interpreter's.
TEST(Regex, LongGroupsMatch) {
  const auto regex = Regex::Compile("(?:ab|c)+(?=d)", false);
  ASSERT_TRUE(regex) << regex.error().message;
  RegexScratch scratch;
  std::string text;
  while (text.size() < 400'000) text += "abc";
  text += "d";
  Regex::Matches matches(*regex, text, scratch);
  Regex::Match match;
  ASSERT_TRUE(matches.Next(match)) << matches.status().error().message;
  EXPECT_EQ(match.end, text.size() - 1);
}

}  // namespace
}  // namespace engram
