// SPDX-License-Identifier: Apache-2.0
#include "constrain/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <regex>

#include "constrain/number_range.h"
#include "constrain/regex_pattern.h"
#include "constrain/test_grammars.h"

namespace engram {
namespace {

using testing::HasSubstr;

void ExpectTexts(const char* schema, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  SCOPED_TRACE(schema);
  Language language(CompileSchema(schema));
  for (const std::string& text : good) EXPECT_TRUE(language.Has(text)) << text;
  for (const std::string& text : bad) EXPECT_FALSE(language.Has(text)) << text;
}

TEST(JsonSchemaTest, Types) {
  ExpectTexts("true", {"1", "null", R"({"a": [1, {"b": "c"}]})", "[]", "\"\""}, {"", "01", "{a: 1}", "[1,]", "nul"});
  ExpectTexts("{}", {"1.5e-3", "false"}, {"+1"});
  ExpectTexts(R"({"type": "null"})", {"null"}, {"0"});
  ExpectTexts(R"({"type": ["boolean", "integer"]})", {"true", "-12", "0"}, {"1.5", "-0", "\"1\"", "12345678901234567"});
  ExpectTexts(R"({"type": "string", "nullable": true})", {"null", R"("a")"}, {"1"});
  ExpectTexts(R"({"type": "number"})", {"0", "-0.5", "1e5", "12.25E-1"}, {".5", "1.", "--1", "1e", "1e123"});
  ExpectTexts(R"({"type": "string"})", {R"("")", R"("aé😀\n\u00e9\\\"")", R"("\ud83d\ude00")"},
              {R"("\ud83d")", R"("\x")", "\"\n\"", "\"\xff\"", "\"\xed\xa0\x80\""});
  ExpectTexts(R"({"enum": ["a", 1, null, {"b": [true]}, "ab"], "title": "t"})",
              {"\"a\"", "1", "null", R"({"b":[true]})", "\"ab\""}, {"\"b\"", "2"});
  ExpectTexts(R"({"enum": ["a", 1, 2.5], "type": ["integer", "string"]})", {"\"a\"", "1"}, {"2.5"});
  ExpectTexts(R"({"const": "x\"y"})", {R"("x\"y")"}, {"\"x\""});
}

TEST(JsonSchemaTest, Strings) {
  ExpectTexts(R"({"type": "string", "minLength": 2, "maxLength": 3})", {"\"ab\"", R"("é\n😀")", R"("\ud83d\ude00x")"},
              {"\"a\"", "\"abcd\""});
  ExpectTexts(R"({"type": "string", "minLength": 1})", {"\"abcdefgh\""}, {"\"\""});
  ExpectTexts(R"({"type": "string", "maxLength": 1000000000})", {"\"\"", "\"a\""}, {});
  ExpectTexts(R"({"pattern": "^[A-Z]{2}-\\d+$"})", {"\"AB-1\"", "\"AB-123\""}, {"\"A-1\"", "\"xAB-1\"", "\"AB-\""});
  ExpectTexts(R"({"pattern": "b"})", {"\"b\"", "\"abc\"", R"("\nb")"}, {"\"a\""});
  ExpectTexts(R"({"pattern": "^a|b$"})", {"\"axx\"", "\"xxb\""}, {"\"xax\""});
  ExpectTexts(R"({"pattern": "^[\"\\\\]$"})", {R"("\"")", R"("\\")"}, {R"(""")", R"("x")"});
  ExpectTexts(R"({"format": "date"})", {"\"2024-02-28\"", "\"1999-12-31\""},
              {"\"2024-13-01\"", "\"2024-04-31\"", "\"x2024-02-28\""});
  ExpectTexts(R"({"format": "date-time"})", {"\"2024-02-28T23:59:59Z\"", "\"2024-02-28T00:00:00.125+05:30\""},
              {"\"2024-02-28 23:59:59Z\"", "\"2024-02-28T24:00:00Z\"", "\"2024-02-28T23:59:59\""});
  ExpectTexts(R"({"format": "uuid"})", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""});
  ExpectTexts(R"({"format": "ipv4"})", {"\"127.0.0.1\"", "\"255.10.99.249\""},
              {"\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""});
  ExpectTexts(R"({"format": "email"})", {"\"a.b@example.org\""}, {"\"a@\"", "\"@b.c\"", "\"a@-b.c\""});
}

TEST(JsonSchemaTest, Arrays) {
  ExpectTexts(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
              {"[1]", "[1,2]", "[ 1, 2, 3 ]", "[\n  1,\n  2\n]"}, {"[]", "[1,2,3,4]", "[\"a\"]", "[1 ,2]", "[1,,2]"});
  ExpectTexts(R"({"items": false})", {"[]"}, {"[1]"});
  ExpectTexts(R"({"type": "array"})", {"[]", "[1,[2]]"}, {"[", "{}"});
  ExpectTexts(R"({"prefixItems": [{"type": "string"}, {"type": "integer"}]})", {"[\"a\",1]"},
              {"[\"a\"]", "[\"a\",1,2]", "[]"});
  ExpectTexts(
      R"({"prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 1, "items": {"type": "null"}, "maxItems": 4})",
      {"[\"a\"]", "[\"a\",1]", "[\"a\",1,null]", "[\"a\",1,null,null]"},
      {"[]", "[\"a\",null]", "[\"a\",1,null,null,null]"});
}

TEST(JsonSchemaTest, Objects) {
  ExpectTexts(R"({"properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": true}, "required": ["b"]})",
              {R"({"a": 1, "b": "x"})", R"({"b":"x"})", R"({"b":"x","c":[]})", "{\n \"b\": \"x\"\n}"},
              {"{}", R"({"a": 1})", R"({"b":"x","a":1})", R"({"b":"x",})", R"({"b":"x","d":1})", R"({,"b":"x"})"});
  ExpectTexts(R"({"type": "object"})", {"{}", R"({"x": {"y": 1}})"}, {"[]"});
  ExpectTexts(R"({"type": "object", "additionalProperties": false})", {"{}", "{ }"}, {R"({"x":1})"});
  ExpectTexts(R"({"properties": {"ab": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}})",
              {"{}", R"({"ab":1})", R"({"ab":1,"a":true,"abc":false,"é":true})", R"({"b":true})", R"({"":true})"},
              {R"({"ab":true})", R"({"x":true,"ab":false})", R"({"x":1})", R"({"a\u0062":true})"});
  ExpectTexts(R"({"required": ["x"]})", {R"({"x":1})", R"({"x":1,"y":2})"}, {"{}", R"({"y":1})"});
  ExpectTexts(R"({"properties": {"q\"é": {"const": 1}}, "required": ["q\"é"]})", {R"({"q\"é":1})"}, {"{}"});
}

TEST(JsonSchemaTest, Combinations) {
  ExpectTexts(R"({"anyOf": [{"type": "integer"}, {"type": "null"}]})", {"1", "null"}, {"true"});
  ExpectTexts(R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                  "oneOf": [{"required": ["b"], "properties": {"b": {"const": 1}}}, {"properties": {"c": {"const": 2}}, "required": ["c"]}]})",
              {R"({"a":1,"b":1})", R"({"a":1,"c":2})"}, {R"({"a":1})", R"({"a":1,"b":1,"c":2})"});
  ExpectTexts(R"({"allOf": [{"type": ["integer", "string"]}, {"type": "number", "minimum": 3}, {"maximum": 5}]})",
              {"3", "5"}, {"2", "6", "\"a\"", "3.5"});
  ExpectTexts(
      R"({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 7}, "b": {"const": 0}}, "required": ["a"]}]})",
      {R"({"a":7})", R"({"a":8,"b":0})"}, {R"({"a":6})", "{}"});
  ExpectTexts(R"({"$ref": "#/$defs/n", "maximum": 4, "$defs": {"n": {"type": "integer", "minimum": 3}}})", {"3", "4"},
              {"2", "5"});
  ExpectTexts(R"({"$defs": {"a/b~c": {"const": 1}}, "$ref": "#/$defs/a~1b~0c"})", {"1"}, {"2"});
  ExpectTexts(R"({"$defs": {"a b": {"const": 1}}, "$ref": "#/$defs/a%20b"})", {"1"}, {});
  // Lists and trees.
  ExpectTexts(R"({"properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"]})",
              {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"}, {R"({"v":1,"next":{}})"});
  ExpectTexts(R"({"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"})",
              {"[[],[[]]]"}, {"[1]"});
}

TEST(JsonSchemaTest, IntegersBetweenBounds) {
  const std::pair<int, int> ranges[] = {{0, 0},     {0, 9},        {3, 7},    {5, 123},   {-5, 5},
                                        {-123, -4}, {-1, 0},       {99, 100}, {10, 1000}, {-99, 99},
                                        {123, 987}, {-1000, -999}, {1, 1999}};
  for (const auto& [low, high] : ranges) {
    Language language(CompileSchema("{\"type\":\"integer\",\"minimum\":" + std::to_string(low) +
                                    ",\"maximum\":" + std::to_string(high) + "}"));
    for (int i = -2100; i <= 2100; ++i)
      ASSERT_EQ(language.Has(std::to_string(i)), low <= i && i <= high) << low << " " << high << " " << i;
    EXPECT_FALSE(language.Has("-0"));
    EXPECT_FALSE(language.Has("00"));
  }
  Language open(CompileSchema(R"({"type": "integer", "exclusiveMinimum": 41.5})"));
  for (int i = -100; i < 5000; ++i) ASSERT_EQ(open.Has(std::to_string(i)), i >= 42) << i;
  Language below(CompileSchema(R"({"type": "integer", "exclusiveMaximum": 0})"));
  for (int i = -5000; i < 100; ++i) ASSERT_EQ(below.Has(std::to_string(i)), i < 0) << i;
}

TEST(JsonSchemaTest, NumbersBetweenBounds) {
  ExpectTexts(R"({"type": "number", "minimum": 0, "exclusiveMaximum": 1})", {"0", "0.5", "0.999"},
              {"1", "-0.5", "0.0", "1.5"});
  ExpectTexts(R"({"type": "number", "exclusiveMinimum": 0})", {"0.001", "1", "2.5", "1234.5"}, {"0", "-1", "0.0"});
  ExpectTexts(R"({"type": "number", "minimum": -1.5, "maximum": 2})", {"-1", "-0.25", "0", "1.75", "2"},
              {"-1.25", "-2", "2.5", "3"});
  ExpectTexts(R"({"type": "number", "maximum": -3})", {"-3", "-3.5", "-100.25"}, {"-2.5", "3", "0"});
  EXPECT_THAT(MessageOf(CompileSchema(R"({"type": "number", "minimum": 0.25, "maximum": 0.75})")),
              HasSubstr("schema allows no whole"));
  EXPECT_THAT(MessageOf(CompileSchema(R"({"type": "integer", "minimum": 5, "maximum": 4})")),
              HasSubstr("allows no integer"));
  EXPECT_THAT(MessageOf(CompileSchema(R"({"type": "integer", "minimum": 1e300})")), HasSubstr("more than 15 digits"));
}

TEST(JsonSchemaTest, WhatIsNotSupportedIsRefusedWithItsPath) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"properties": {"a": {"not": {}}}})", "schema/properties/a/not is not supported"},
      {R"({"items": {"anyOf": [{"type": "integer", "multipleOf": 2}]}})", "schema/items/anyOf/0/multipleOf is not"},
      {R"({"$defs": {"x": {"if": {}}}, "$ref": "#/$defs/x"})", "schema/$defs/x/if is not supported"},
      {R"({"patternProperties": {}})", "schema/patternProperties"},
      {R"({"type": "array", "uniqueItems": true})", "schema/uniqueItems"},
      {R"({"type": "strin"})", "schema/type must be null, boolean"},
      {R"({"type": "string", "format": "color"})", "schema/format is \"color\"; supported are date-time"},
      {R"({"type": "string", "minLength": -1})", "schema/minLength must be a whole number"},
      {R"({"type": "string", "minLength": 3, "maxLength": 2})", "schema/minLength is above maxLength"},
      {R"s({"type": "string", "pattern": "(?=a)"})s", "schema/pattern: line 1, column 1: of groups"},
      {R"s({"type": "string", "pattern": "(a)\\1"})s", "schema/pattern: line 1, column 4: this escape"},
      {R"s({"type": "string", "pattern": "a(^b)"})s", "only supported at the ends"},
      {R"({"type": "string", "pattern": "a", "maxLength": 3})", "not supported beside"},
      {R"({"$ref": "other.json"})", "schema/$ref is \"other.json\"; only references within"},
      {R"({"$ref": "#/$defs/none"})", "which the schema does not have"},
      {R"({"properties": {"a": 1}})", "schema/properties/a must be an object, true or false"},
      {R"({"allOf": [{"pattern": "a"}, {"pattern": "b"}]})", "\"pattern\" of schemas that hold at once"},
      {R"({"allOf": [{"properties": {"a": true}, "additionalProperties": false}, {"properties": {"b": true}}]})",
       "additionalProperties"},
      {R"({"enum": [1], "minimum": 0})", "schema/minimum is not supported beside enum"},
      {R"({"enum": []})", "matches no text"},
      {"false", "matches no text"},
      {R"({"required": ["a"], "properties": {}, "additionalProperties": false})", "schema/required has \"a\""},
      {R"({"anyOf": []})", "schema/anyOf must be a list"},
      {R"({"$ref": "#"})", "left recursion"},
      {R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})", "rule \"schema\" calls itself"},
      {R"({"allOf": [{"$ref": "#"}]})", "left recursion"},
      {R"({"allOf": [{"$ref": "#"}, {"type": "null"}]})", "combines schemas more than"},
      {R"({"items": {"$ref": "#"}, "minItems": 1})", "matches no text"},
  };
  for (const auto& [schema, message] : cases)
    EXPECT_THAT(MessageOf(CompileSchema(schema)), HasSubstr(message)) << schema;
}

// Patterns against another implementation of the same language.
TEST(JsonSchemaTest, PatternsMatchWhatStdRegexFinds) {
  const char* patterns[] = {"^a*b?c+$", "a{2,3}",   "^(ab|a)(c|bcd)$", "^[^a-b]+$", "(a|b)*c$",       "^(?:a|b{2})+?$",
                            "^.{0,3}$", "^a|^b|c$", "^\\w\\d\\s$",     "^(a+)+$",   "^((a|b)(c|))*$", "",
                            "^$",       "[ac]{3}"};
  const std::string alphabet = "abcd1 ";
  for (const char* pattern : patterns) {
    const std::regex expected(pattern, std::regex::ECMAScript);
    Language language(CompileSchema(boost::json::serialize(boost::json::object{{"pattern", pattern}})));
    // All texts of up to five characters.
    std::vector<std::string> texts{""};
    for (size_t i = 0; i < texts.size() && texts[i].size() < 5; ++i)
      for (const char c : alphabet) texts.push_back(texts[i] + c);
    for (const std::string& text : texts)
      ASSERT_EQ(language.Has("\"" + text + "\""), std::regex_search(text, expected)) << pattern << " on " << text;
  }
}

}  // namespace
}  // namespace engram
