// SPDX-License-Identifier: Apache-2.0
// Grammars and schemas made to cost much: each ends, in bounded memory, with a constraint or an error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "constrain/test_grammars.h"
#include "constrain/text_cursor.h"

namespace engram {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

std::string Repeated(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

Result<std::shared_ptr<Constraint>> FromGbnf(const std::string& text) {
  return TestCompiler()->Get(text, [&] { return ParseGbnf(text); });
}
Result<std::shared_ptr<Constraint>> FromSchema(const boost::json::value& schema) {
  return TestCompiler()->Get("schema", [&] { return SchemaGrammar(schema); });
}

// Runs a text of one byte as long as it is allowed; what stopped it.
std::string RunWith(const Result<std::shared_ptr<Constraint>>& constraint, char byte, int steps) {
  if (!constraint) return constraint.error().message;
  ConstraintMatcher matcher(*constraint);
  const int32_t token = TestTokenizer()->Encode(std::string(1, byte), false)->front();
  for (int i = 0; i < steps; ++i) {
    const auto mask = matcher.Mask();
    if (!mask) return mask.error().message;
    if (!Allows(*mask, token)) return "not allowed";
    if (const auto accepted = matcher.Accept(token); !accepted) return accepted.error().message;
  }
  return "";
}

TEST(HostileTest, DeepNestingInTheText) {
  EXPECT_THAT(MessageOf(ParseGbnf("root ::= " + Repeated("(", 100'000))), HasSubstr("nested parentheses"));
  EXPECT_THAT(MessageOf(ParseGbnf("root ::= \"a\"" + Repeated("*", 100'000))), HasSubstr("repetitions of one part"));
  EXPECT_THAT(MessageOf(CompileSchema(R"({"pattern": ")" + Repeated("(", 2'000) + "\"}")), HasSubstr("nested groups"));
  EXPECT_THAT(MessageOf(ParseGbnf("root ::= " + Repeated("\"a\" ", 200'000))), HasSubstr("at most 262144 are taken"));
  EXPECT_THAT(MessageOf(ParseGbnf("root ::= " + Repeated("a ", 100'000) + "\na ::= \"a\"")), HasSubstr("65536 parts"));
}

TEST(HostileTest, DeepNestingInTheAnswer) {
  // The stack ends somewhere; until then brackets may close again.
  const auto constraint = FromGbnf("root ::= \"[\" root? \"]\" \" \"?");
  EXPECT_EQ(RunWith(constraint, '[', 10'000), "not allowed");
}

TEST(HostileTest, LongChainsOfRules) {
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 5'000; ++i) chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"x\"?\n";
  chain += "r5000 ::= \"y\"\n";
  EXPECT_THAT(RunWith(FromGbnf(chain), 'y', 1), AnyOf("not allowed", HasSubstr("no token"), HasSubstr("ambiguous")));
  boost::json::object defs;
  for (int i = 0; i < 5'000; ++i) defs["d" + std::to_string(i)] = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}};
  defs["d5000"] = {{"const", 1}};
  EXPECT_EQ(RunWith(FromSchema({{"$ref", "#/$defs/d0"}, {"$defs", defs}}), '1', 1), "");
  defs["d5000"] = {{"$ref", "#/$defs/d0"}};
  EXPECT_THAT(MessageOf(FromSchema({{"$ref", "#/$defs/d0"}, {"$defs", defs}})), HasSubstr("left recursion"));
}

TEST(HostileTest, AmbiguityThatGrowsIsGivenUp) {
  // Every split of the text into three parts, three times over, is another way to have come here.
  const auto splits = FromGbnf("root ::= ((\"a\"{1,500}){1,500}){1,500}");
  EXPECT_THAT(RunWith(splits, 'a', 3'000), HasSubstr("too ambiguous"));
  // What was learnt is gone with it; the next text begins anew.
  EXPECT_EQ(RunWith(splits, 'a', 3), "");
  EXPECT_THAT(RunWith(splits, 'a', 3'000), HasSubstr("too ambiguous"));
  EXPECT_THAT(RunWith(FromGbnf("root ::= s\ns ::= \"a\" s s | \"a\""), 'a', 3'000),
              AnyOf("", "not allowed", HasSubstr("too ambiguous")));
  std::string wide = "root ::= ";
  for (int i = 0; i < 6'000; ++i) wide += (i > 0 ? " | [a-z]" : "[a-z]") + std::string("{3} \"b\"");
  EXPECT_THAT(MessageOf(FromGbnf(wide)), HasSubstr("ambiguous"));
}

TEST(HostileTest, PatternsThatBacktrackElsewhere) {
  for (const char* pattern : {"^(a+)+$", "^(a|a)*$", "^(a*)*b$", "^(.*a){20}$", "^(a?){50}a{50}$"}) {
    const auto constraint = FromSchema({{"pattern", pattern}});
    ASSERT_TRUE(constraint.has_value()) << pattern << MessageOf(constraint);
    ConstraintMatcher matcher(*constraint);
    ASSERT_TRUE(matcher.Accept(TestTokenizer()->Encode("\"", false)->front()).has_value());
    const int32_t a = TestTokenizer()->Encode("a", false)->front();
    for (int i = 0; i < 90; ++i) {
      ASSERT_TRUE(matcher.Mask().has_value()) << pattern;
      ASSERT_TRUE(matcher.Accept(a).has_value()) << pattern << " after " << i;
    }
  }
  EXPECT_THAT(MessageOf(CompileSchema(R"({"pattern": "((a{9999}){9999}){9999}"})")), "") << "counted, not copied";
}

TEST(HostileTest, LargeSchemas) {
  boost::json::array values;
  for (int i = 0; i < 20'000; ++i) values.push_back(boost::json::value("value number " + std::to_string(i)));
  // One way to go on at a time, however many values.
  EXPECT_EQ(RunWith(FromSchema({{"enum", values}}), '"', 1), "");
  for (int i = 0; i < 100'000; ++i) values.push_back(i);
  EXPECT_THAT(MessageOf(FromSchema({{"enum", values}})), HasSubstr("more than 100000 values"));
  boost::json::object properties;
  for (int i = 0; i < 3'000; ++i) properties["property " + std::to_string(i)] = true;
  EXPECT_THAT(RunWith(FromSchema({{"properties", properties}}), '{', 1),
              AnyOf("", HasSubstr("ambiguous"), HasSubstr("too large")));
  boost::json::array required;
  for (const auto& entry : properties) required.push_back(boost::json::value(entry.key()));
  EXPECT_EQ(RunWith(FromSchema({{"properties", properties}, {"required", required}}), '{', 1), "");
  for (int i = 0; i < 30'000; ++i)
    properties["more " + std::to_string(i)] = {{"type", "integer"}, {"minimum", -i}, {"maximum", i}};
  EXPECT_THAT(MessageOf(FromSchema({{"properties", properties}})), HasSubstr("schema"));
}

TEST(HostileTest, SchemasThatMultiply) {
  // Each level names the one below twice: 2^40 if it were written out.
  boost::json::object defs;
  for (int i = 0; i < 40; ++i) {
    const boost::json::value next = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}};
    defs["d" + std::to_string(i)] = {{"allOf", boost::json::array{next, next}}};
  }
  defs["d40"] = {{"type", "integer"}};
  EXPECT_THAT(MessageOf(FromSchema({{"$ref", "#/$defs/d0"}, {"$defs", defs}})),
              AnyOf(HasSubstr("combines too many"), HasSubstr("combines schemas more than 64")));
  for (int i = 0; i < 40; ++i) {
    const boost::json::value next = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}};
    defs["d" + std::to_string(i)] = {{"type", "array"}, {"prefixItems", boost::json::array{next, next}}};
  }
  EXPECT_EQ(RunWith(FromSchema({{"$ref", "#/$defs/d0"}, {"$defs", defs}}), '[', 40), "");
  // Merging that makes new schemas to merge without end.
  const boost::json::value endless = {
      {"$defs",
       {{"a", {{"properties", {{"p", {{"$ref", "#/$defs/a"}, {"minProperties", 0}}}}}}},
        {"b", {{"allOf", {{{"$ref", "#/$defs/a"}}, {{"properties", {{"p", {{"$ref", "#/$defs/b"}}}}}}}}}}}},
      {"$ref", "#/$defs/b"}};
  const auto made = FromSchema(endless);
  if (!made) {
    EXPECT_THAT(MessageOf(made), AnyOf(HasSubstr("combines"), HasSubstr("too large")));
  }
}

TEST(HostileTest, ManySchemasThatHoldAtOnce) {
  // Each adds something to the same part; what they make together stays flat.
  boost::json::array items;
  boost::json::array properties;
  for (int i = 0; i < 20'000; ++i) {
    const boost::json::value says = {{"title", std::to_string(i)}};
    items.push_back(boost::json::object{{"items", says}});
    properties.push_back(boost::json::object{{"properties", {{"a", says}}}});
  }
  EXPECT_EQ(RunWith(FromSchema({{"type", "array"}, {"allOf", items}}), '[', 1), "");
  EXPECT_EQ(RunWith(FromSchema({{"type", "object"}, {"allOf", properties}}), '{', 1), "");
  boost::json::array required;
  for (int i = 0; i < 40'000; ++i) required.push_back(boost::json::value("n" + std::to_string(i)));
  boost::json::array parts{{{"required", required}}};
  for (int i = 0; i < 10'000; ++i) parts.push_back(boost::json::object{{"required", {"x" + std::to_string(i)}}});
  EXPECT_THAT(MessageOf(FromSchema({{"allOf", parts}})), HasSubstr("combines too long lists"));
  const boost::json::array nulls(1'000, "null");
  EXPECT_EQ(RunWith(FromSchema({{"allOf", {{{"type", nulls}}, {{"type", nulls}}}}}), 'n', 1), "");
}

TEST(HostileTest, LongTextsAreNotCopiedOverAndOver) {
  const std::string text(100'000, 'x');
  boost::json::object properties;
  for (int i = 0; i < 2'000; ++i) properties["p" + std::to_string(i)] = {{"$ref", "#/$defs/a"}, {"type", "string"}};
  EXPECT_THAT(MessageOf(FromSchema({{"$defs", {{"a", {{"const", text}}}}}, {"properties", properties}})),
              HasSubstr("combines too many schemas"));
  // Nor is a name on the way to a schema.
  for (auto& entry : properties) entry.value() = {{"type", "null"}};
  boost::json::object defs;
  defs[text] = {{"properties", properties}, {"required", {"p1", 2}}};
  const std::string message = MessageOf(FromSchema({{"$ref", "#/$defs/" + text}, {"$defs", defs}}));
  EXPECT_THAT(message, HasSubstr("schema/$defs/xxx"));
  EXPECT_THAT(message, HasSubstr("xxx/required must be a list of names"));
  EXPECT_LT(message.size(), 500u);
}

TEST(HostileTest, LongNames) {
  const std::string name(4'000'000, 'n');
  EXPECT_THAT(MessageOf(FromSchema({{"properties", {{name, true}}}, {"additionalProperties", true}})),
              HasSubstr("too large"));
  EXPECT_THAT(MessageOf(ParseGbnf("root ::= " + name.substr(0, 101))),
              HasSubstr("line 1, column 10: the rule's name has more than 100 characters"));
  EXPECT_THAT(MessageOf(ParseGbnf(name.substr(0, 101) + " ::= \"\"")), HasSubstr("line 1, column 1: the rule's name"));
}

TEST(HostileTest, ClassesOfManyCharacters) {
  // Every second one, the last first.
  std::string text = "root ::= [";
  for (uint32_t c = 0x1ffff; c > 0x1e200; c -= 2) AppendUtf8(text, c);
  EXPECT_EQ(RunWith(FromGbnf(text + "a]"), 'a', 1), "");
  EXPECT_EQ(RunWith(FromGbnf(text + "a]"), 'b', 1), "not allowed");
}

}  // namespace
}  // namespace engram
