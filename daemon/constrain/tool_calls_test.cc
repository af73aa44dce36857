// SPDX-License-Identifier: Apache-2.0
#include "constrain/tool_calls.h"

#include <gtest/gtest.h>

#include "constrain/json_grammar.h"
#include "constrain/test_grammars.h"

namespace engram {
namespace {

const ToolCallSyntax kTags = ToolCallSyntax::OfTemplate("{{ '<tool_call>' }}");
const ToolCallSyntax kPlain = ToolCallSyntax::OfTemplate("{{ messages }}");

Language AnswerLanguage(const ToolCallSyntax& syntax, bool parallel, bool required) {
  Grammar grammar;
  JsonGrammar json(grammar);
  const RuleId root = grammar.AddRule("root");
  grammar.Define(
      root, ToolCallAnswer(syntax, {{"add", json.Object()}, {"add_all", json.Object()}}, parallel, required, grammar));
  grammar.set_root(root);
  return Language(Program::Compile(grammar));
}

struct Parsed {
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;
  bool operator==(const Parsed&) const = default;
};

Parsed Parse(const ToolCallSyntax& syntax, bool required, const std::string& text, size_t piece_bytes) {
  ToolCallParser parser(syntax, required);
  Parsed parsed;
  const auto take = [&](const ToolCallParser::Piece& piece) {
    parsed.content += piece.content;
    for (const ToolCallParser::Delta& delta : piece.calls) {
      if (!delta.name.empty()) {
        EXPECT_EQ(delta.index, parsed.calls.size());
        parsed.calls.emplace_back(delta.name, "");
      }
      EXPECT_LT(delta.index, parsed.calls.size());
      if (delta.index < parsed.calls.size()) parsed.calls[delta.index].second += delta.arguments;
    }
  };
  for (size_t i = 0; i < text.size(); i += piece_bytes)
    take(parser.Push(std::string_view(text).substr(i, piece_bytes)));
  take(parser.Finish());
  EXPECT_EQ(parser.num_calls(), parsed.calls.size());
  return parsed;
}

void ExpectParsed(const ToolCallSyntax& syntax, bool required, const std::string& text, const Parsed& expected) {
  for (const size_t piece : {1, 2, 3, 7, 1000})
    EXPECT_EQ(Parse(syntax, required, text, piece), expected) << text << " by " << piece;
}

TEST(ToolCallsTest, AnswersWithTags) {
  const std::string one =
      "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"}\\\"\", \"b\": [{}]}}\n</tool_call>";
  const std::string two = "<tool_call>\n{\"name\": \"add_all\", \"arguments\": {}}\n</tool_call>";
  const Parsed call{"", {{"add", "{\"a\": \"}\\\"\", \"b\": [{}]}"}}};
  Language automatic = AnswerLanguage(kTags, true, false);
  EXPECT_TRUE(automatic.Has(""));
  EXPECT_TRUE(automatic.Has("Plain text, a < b, <tool_cal and \xff bytes"));
  EXPECT_TRUE(automatic.Has(one));
  EXPECT_TRUE(automatic.Has("Let me see.\n" + one + "\n" + two));
  EXPECT_FALSE(automatic.Has(one + " and more"));
  EXPECT_EQ(automatic.Try("<tool_call>x"), Language::Match::kNo);
  EXPECT_EQ(automatic.Try("<tool_call>\n{\"name\": \"sub"), Language::Match::kNo);
  Language single = AnswerLanguage(kTags, false, true);
  EXPECT_TRUE(single.Has(one));
  EXPECT_EQ(single.Try(one + "\n"), Language::Match::kNo);
  EXPECT_EQ(single.Try("L"), Language::Match::kNo);

  ExpectParsed(kTags, false, one, call);
  ExpectParsed(kTags, true, one, call);
  ExpectParsed(kTags, false, "So <<tool_call>\n" + one.substr(12), {"So <", call.calls});
  ExpectParsed(kTags, false, one + "\n" + two, {"", {call.calls[0], {"add_all", "{}"}}});
  ExpectParsed(kTags, false, "just <tool_cal", {"just <tool_cal", {}});
  // Cut off in the middle.
  ExpectParsed(kTags, true, one.substr(0, 50), {"", {{"add", "{\"a\": \"}\\"}}});
}

TEST(ToolCallsTest, AnswersWithoutTags) {
  const std::string one = "{\"name\": \"add\", \"arguments\": {\"a\": 1}}";
  Language automatic = AnswerLanguage(kPlain, true, false);
  EXPECT_TRUE(automatic.Has(""));
  EXPECT_TRUE(automatic.Has("text {\"name\": \"x\""));
  EXPECT_TRUE(automatic.Has("{\"nam"));
  EXPECT_TRUE(automatic.Has("{\"other\": 1}"));
  EXPECT_TRUE(automatic.Has(one));
  EXPECT_TRUE(automatic.Has(one + "\n" + one));
  EXPECT_EQ(automatic.Try("{\"name\": \"x"), Language::Match::kNo);
  EXPECT_EQ(automatic.Try(one + "."), Language::Match::kNo);
  ExpectParsed(kPlain, false, one + "\n" + one, {"", {{"add", "{\"a\": 1}"}, {"add", "{\"a\": 1}"}}});
  ExpectParsed(kPlain, false, "see " + one, {"see " + one, {}});
  ExpectParsed(kPlain, false, "{\"nam", {"{\"nam", {}});
  ExpectParsed(kPlain, true, one, {"", {{"add", "{\"a\": 1}"}}});
}

TEST(ToolCallsTest, SyntaxComesFromTheTemplate) {
  EXPECT_EQ(kTags.BeforeName(), "<tool_call>\n{\"name\": \"");
  EXPECT_EQ(kPlain.BeforeName(), "{\"name\": \"");
  EXPECT_EQ(ToolCallSyntax::OfTemplate("{\"name\": function name, \"parameters\": dictionary of}").BeforeArguments(),
            "\", \"parameters\": ");
}

}  // namespace
}  // namespace engram
