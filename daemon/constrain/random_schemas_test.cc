// SPDX-License-Identifier: Apache-2.0
// Random schemas: whatever random sampling under their masks makes is JSON that the schema accepts, as another, plain
// reading of JSON Schema sees it.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

#include "constrain/test_grammars.h"
#include "constrain/test_schema_validator.h"
#include "core/json_text.h"

namespace engram {
namespace {

namespace json = boost::json;

class SchemaMaker {
 public:
  explicit SchemaMaker(uint32_t seed) : random_(seed) {}

  json::value Make() {
    json::object schema = Schema(0);
    // Recursion through a definition.
    schema["$defs"] = {{"leaf", Scalar()},
                       {"tree",
                        {{"type", "object"},
                         {"properties",
                          {{"v", {{"$ref", "#/$defs/leaf"}}},
                           {"kids", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}, {"maxItems", 2}}}}},
                         {"required", {"v"}}}}};
    return schema;
  }

 private:
  int Pick(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  json::object Scalar() {
    static const char* kPatterns[] = {"^[A-Z]{2}[0-9]{1,3}$", "^(yes|no|maybe)$", "^x", "[0-9]$",
                                      "^a+(-b+)?$",           "^[!-~]{1,4}$"};
    switch (Pick(9)) {
      case 0: {
        const int low = Pick(400) - 200;
        return {{"type", "integer"}, {"minimum", low}, {"maximum", low + Pick(1000)}};
      }
      case 1: {
        const int low = Pick(40) - 20;
        return {{"type", "number"},
                {Pick(2) ? "minimum" : "exclusiveMinimum", low},
                {Pick(2) ? "maximum" : "exclusiveMaximum", low + 1 + Pick(50)}};
      }
      case 2: {
        const int low = Pick(6);
        return {{"type", "string"}, {"minLength", low}, {"maxLength", low + Pick(10)}};
      }
      case 3:
        return {{"type", "string"}, {"pattern", kPatterns[Pick(6)]}};
      case 4:
        return {{"enum", {"red", "green", 7, nullptr, json::array{1, "two"}, "reddish"}}};
      case 5:
        return {{"const", "fixed \"value\" \xc3\xa9"}};
      case 6:
        return {{"type", {"boolean", "null"}}};
      case 7:
        return {{"type", "string"}};
      default:
        return {{"type", Pick(2) ? "integer" : "number"}};
    }
  }

  json::object Schema(int depth) {
    if (depth >= 3) return Scalar();
    switch (Pick(9)) {
      case 0:
      case 1:
      case 2: {
        json::object properties;
        json::array required;
        for (int i = Pick(5); i >= 0; --i) {
          const std::string name = Names()[Pick(8)];
          properties[name] = Schema(depth + 1);
          if (Pick(2) && std::find(required.begin(), required.end(), json::value(name)) == required.end())
            required.push_back(json::value(name));
        }
        json::object schema{{"type", "object"}, {"properties", properties}, {"required", required}};
        if (Pick(3) == 0) schema["additionalProperties"] = Pick(2) ? json::value(false) : json::value(Scalar());
        return schema;
      }
      case 3: {
        const int low = Pick(3);
        return {{"type", "array"}, {"items", Schema(depth + 1)}, {"minItems", low}, {"maxItems", low + Pick(4)}};
      }
      case 4: {
        json::object schema{{"type", "array"}, {"prefixItems", {Schema(depth + 1), Schema(depth + 1)}}};
        if (Pick(2)) schema["items"] = Schema(depth + 1);
        if (Pick(2)) schema["minItems"] = 1;
        return schema;
      }
      case 5:
        return {{Pick(2) ? "anyOf" : "oneOf", {Schema(depth + 1), Schema(depth + 1), {{"$ref", "#/$defs/leaf"}}}}};
      case 6: {
        const std::string name = Names()[Pick(8)];
        return {{"allOf",
                 {{{"type", "object"}, {"properties", {{name, {{"type", "integer"}, {"minimum", -5}}}}}},
                  {{"properties", {{name, {{"maximum", 99}}}, {"extra", Schema(depth + 1)}}}, {"required", {name}}}}}};
      }
      case 7:
        return {{"$ref", Pick(2) ? "#/$defs/tree" : "#/$defs/leaf"}, {"description", "a reference"}};
      default:
        return Scalar();
    }
  }

  static const char* const* Names() {
    static const char* const kNames[] = {"a", "ab", "name", "na\xc3\xafve", "with space", "q\"uote", "", "b"};
    return kNames;
  }

  std::mt19937 random_;
};

// One text, sampled with a liking for what ends things. Nothing when it got too long.
std::optional<std::string> Sample(const std::shared_ptr<Constraint>& constraint, std::mt19937& random) {
  ConstraintMatcher matcher(constraint);
  std::string text;
  for (int step = 0; step < 600; ++step) {
    const auto mask = matcher.Mask();
    EXPECT_TRUE(mask.has_value()) << MessageOf(mask);
    if (!mask) return std::nullopt;
    EXPECT_FALSE(mask->none && !mask->can_end) << "no way out of " << text;
    if (mask->none || (mask->can_end && random() % 2 == 0)) return text;
    std::vector<int32_t> all;
    std::vector<int32_t> closing;
    for (int32_t id = 0; id < static_cast<int32_t>(kTestVocabSize); ++id) {
      if (!Allows(*mask, id)) continue;
      all.push_back(id);
      if (TestTokenizer()->TokenBytes(id).find_first_of("\"}]") != std::string_view::npos) closing.push_back(id);
    }
    const bool close = !closing.empty() && (step > 100 || random() % 3 == 0);
    const std::vector<int32_t>& from = close ? closing : all;
    const int32_t token = from[random() % from.size()];
    if (!matcher.Accept(token)) {
      ADD_FAILURE() << "the mask allowed token " << token << " after " << text;
      return std::nullopt;
    }
    text += TestTokenizer()->TokenBytes(token);
  }
  return std::nullopt;
}

TEST(RandomSchemasTest, SampledTextsAreValid) {
  std::mt19937 random(3);
  int finished = 0;
  int compiled = 0;
  constexpr int kSchemas = 250;
  constexpr int kTexts = 4;
  for (uint32_t seed = 0; seed < kSchemas; ++seed) {
    const json::value schema = SchemaMaker(seed).Make();
    SCOPED_TRACE(json::serialize(schema));
    const auto compiler = TestCompiler();
    const auto constraint = compiler->Get("s", [&] { return SchemaGrammar(schema); });
    if (!constraint) {
      // Two random schemas may well exclude each other; nothing else may be wrong with these.
      EXPECT_TRUE(constraint.error().message.find("combine") != std::string::npos ||
                  constraint.error().message.find("matches no text") != std::string::npos)
          << constraint.error().message;
      continue;
    }
    ++compiled;
    for (int i = 0; i < kTexts; ++i) {
      const std::optional<std::string> text = Sample(*constraint, random);
      if (!text) continue;
      ++finished;
      ASSERT_TRUE(IsValidUtf8(*text)) << *text;
      boost::system::error_code wrong;
      const json::value value = json::parse(*text, wrong);
      ASSERT_FALSE(wrong) << *text << ": " << wrong.message();
      ASSERT_TRUE(TestSchemaValidator(schema).Valid(value)) << *text;
    }
  }
  EXPECT_GE(compiled, kSchemas * 9 / 10);
  EXPECT_GE(finished, compiled * kTexts * 8 / 10);
}

}  // namespace
}  // namespace engram
