// SPDX-License-Identifier: Apache-2.0
#include "constrain/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "constrain/test_grammars.h"

namespace engram {
namespace {

using testing::HasSubstr;

TEST(GbnfTest, PartsOfTheNotation) {
  Language greeting(CompileGbnf("root ::= \"hi\" | \"bye\""));
  EXPECT_TRUE(greeting.Has("hi"));
  EXPECT_TRUE(greeting.Has("bye"));
  EXPECT_FALSE(greeting.Has("hibye"));
  EXPECT_EQ(greeting.Try("b"), Language::Match::kBegins);
  EXPECT_EQ(greeting.Try("bo"), Language::Match::kNo);

  Language counts(CompileGbnf("root ::= \"a\"{2} \"b\"{1,} \"c\"{0,2} \"d\"? [e-g]* [^a-z]+"));
  EXPECT_TRUE(counts.Has("aab1"));
  EXPECT_TRUE(counts.Has("aabbbccdegfZ\xc3\xa9"));
  EXPECT_FALSE(counts.Has("ab1"));
  EXPECT_FALSE(counts.Has("aab"));
  EXPECT_FALSE(counts.Has("aabccc1"));

  Language lines(CompileGbnf(
      "# a list\nroot ::= item+   # at least one\nitem ::=\n  \"- \" [^\\n]+ \"\\n\"\n  | \"* \" . \"\\n\"\n"));
  EXPECT_TRUE(lines.Has("- one\n* \xf0\x9f\x98\x80\n"));
  EXPECT_FALSE(lines.Has("* two\n"));

  Language escapes(CompileGbnf(R"(root ::= "\x41\u00e9\U0001F600\\\"" [\]\-\^\x30-9])"));
  EXPECT_TRUE(escapes.Has("A\xc3\xa9\xf0\x9f\x98\x80\\\"]"));
  EXPECT_TRUE(escapes.Has("A\xc3\xa9\xf0\x9f\x98\x80\\\"-"));
  EXPECT_TRUE(escapes.Has("A\xc3\xa9\xf0\x9f\x98\x80\\\"7"));
  EXPECT_FALSE(escapes.Has("A\xc3\xa9\xf0\x9f\x98\x80\\\"a"));
}

TEST(GbnfTest, RecursionThatIsNotRegular) {
  Language nested(CompileGbnf("root ::= \"(\" root* \")\""));
  EXPECT_TRUE(nested.Has("(()(()))"));
  EXPECT_FALSE(nested.Has("(()"));
  EXPECT_FALSE(nested.Has("())"));
  Language palindrome(CompileGbnf("root ::= \"a\" root \"a\" | \"b\" root \"b\" | [ab]?"));
  EXPECT_TRUE(palindrome.Has("abbabba"));
  EXPECT_FALSE(palindrome.Has("abbabb"));
  // A rule that ends in itself needs no stack: any length.
  Language right(CompileGbnf("root ::= [a-z] root | \".\""));
  EXPECT_TRUE(right.Has(std::string(100'000, 'x') + "."));
}

TEST(GbnfTest, RepetitionsOfWhatMayBeEmpty) {
  Language stars(CompileGbnf("root ::= ((\"a\"*)* \"b\"?)+"));
  EXPECT_TRUE(stars.Has(""));
  EXPECT_TRUE(stars.Has("aabab"));
  Language few(CompileGbnf("root ::= (\"a\"? \"b\"?){2,3} \".\""));
  EXPECT_TRUE(few.Has("."));
  EXPECT_TRUE(few.Has("bbb."));
  EXPECT_TRUE(few.Has("ababab."));
  EXPECT_FALSE(few.Has("bbbb."));
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= (\"a\"?){0,100}")), HasSubstr("may be empty"));
}

TEST(GbnfTest, WaysThatNeverEndAreNotBegun) {
  Language cut(CompileGbnf("root ::= \"a\" endless | \"b\"\nendless ::= \"x\" endless"));
  EXPECT_EQ(cut.Try("a"), Language::Match::kNo);
  EXPECT_TRUE(cut.Has("b"));
  Language repeated(CompileGbnf("root ::= endless* \"b\"\nendless ::= \"x\" endless"));
  EXPECT_EQ(repeated.Try("x"), Language::Match::kNo);
  EXPECT_TRUE(repeated.Has("b"));
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= \"x\" root")), HasSubstr("matches no text"));
}

TEST(GbnfTest, ErrorsNameTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no rule \"root\""},
      {"start ::= \"a\"", "no rule \"root\""},
      {"root ::= \"a", "line 1, column 10: the literal does not end"},
      {"root ::= \"a\"\nb ::= [a", "line 2, column 7: the class does not end"},
      {"root ::= [z-a]", "line 1, column 11: the range ends before"},
      {"root ::= []", "line 1, column 10: the class has no characters"},
      {"root ::= (\"a\" | \"b\"", "line 1, column 20: expected \")\" for the \"(\" at line 1, column 10"},
      {"root ::= \"a\")", "line 1, column 13: expected a rule"},
      {"root ::= other", "line 1, column 10: rule \"other\" is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule \"root\" is defined twice"},
      {"root = \"a\"", "line 1, column 6: expected \"::=\""},
      {"root ::= \"\\q\"", "line 1, column 11: unknown escape"},
      {"root ::= \"\\ud800\"", "line 1, column 11: the escape is no Unicode character"},
      {"root ::= \"a\"{3,2}", "line 1, column 13: the repetition's upper bound"},
      {"root ::= \"a\"{x}", "line 1, column 14: expected a number"},
      {"root ::= \"\xc3\xa9\" ;", "line 1, column 14: expected"},
      {"root ::= \"\xff\"", "not UTF-8 at byte 10"},
  };
  for (const auto& [text, message] : cases) EXPECT_THAT(MessageOf(ParseGbnf(text)), HasSubstr(message)) << text;
}

TEST(GbnfTest, LeftRecursionIsRefusedByName) {
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= sum\nsum ::= sum \"+\" [0-9] | [0-9]")), HasSubstr("left recursion"));
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= \"x\" sum\nsum ::= sum \"+\" [0-9] | [0-9]")), HasSubstr("\"sum\""));
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= \"a\"? \"b\"* root \"c\" | \"d\"")), HasSubstr("\"root\""));
  EXPECT_THAT(MessageOf(CompileGbnf("root ::= a\na ::= b \"x\" | \"y\"\nb ::= (a)+")), HasSubstr("left recursion"));
  // After something that is never empty it is fine.
  EXPECT_EQ(MessageOf(CompileGbnf("root ::= (\"a\" | \"b\") root \"c\" | \"d\"")), "");
}

}  // namespace
}  // namespace engram
