// SPDX-License-Identifier: Apache-2.0
// Masks over a real vocabulary.
#include "constrain/constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "constrain/test_grammars.h"

namespace engram {
namespace {

constexpr const char* kGrammars[] = {
    "root ::= [^\\n]* \"\\n\"",
    "root ::= \"\xc3\xa9\" [\\u3040-\\u30ff\\U0001F600-\\U0001F64F]+ \"!\"",
    "root ::= \"(\" (root | [a-z ]{1,12}){0,3} \")\"",
    "root ::= \"yes\" | \"no\" | \"yesterday\" [0-9]{2,4}",
    "root ::= item (\", \" item){2,5} \".\"\nitem ::= [A-Z] [a-z]+ (\" \" [a-z]+)*",
};

std::shared_ptr<Constraint> Make(ConstraintCompiler& compiler, const std::string& text) {
  auto made = compiler.Get(text, [&] { return ParseGbnf(text); });
  EXPECT_TRUE(made.has_value()) << MessageOf(made);
  return made ? *made : nullptr;
}

// A token the mask allows; -1 when there is none.
int32_t RandomAllowed(const TokenMask& mask, std::mt19937& random) {
  std::vector<int32_t> allowed;
  for (int32_t id = 0; id < static_cast<int32_t>(kTestVocabSize); ++id)
    if (Allows(mask, id)) allowed.push_back(id);
  return allowed.empty() ? -1 : allowed[random() % allowed.size()];
}

TEST(ConstraintTest, MasksEqualTryingEachTokenAlone) {
  const auto compiler = TestCompiler();
  std::mt19937 random(7);
  for (const char* text : kGrammars) {
    SCOPED_TRACE(text);
    const auto constraint = Make(*compiler, text);
    Language language(CompileGbnf(text));
    ConstraintMatcher matcher(constraint);
    std::string so_far;
    for (int step = 0; step < 12; ++step) {
      const auto mask = matcher.Mask();
      ASSERT_TRUE(mask.has_value()) << MessageOf(mask);
      EXPECT_EQ(mask->can_end, language.Has(so_far)) << so_far;
      bool any = false;
      for (int32_t id = 0; id < static_cast<int32_t>(kTestVocabSize); ++id) {
        const std::string_view bytes = TestTokenizer()->TokenBytes(id);
        const bool ordinary = !bytes.empty() && !TestTokenizer()->IsSpecial(id) && id != kTestEndToken;
        const bool fits = ordinary && language.Try(so_far + std::string(bytes)) != Language::Match::kNo;
        ASSERT_EQ(Allows(*mask, id), fits) << so_far << " + token " << id;
        any |= fits;
      }
      EXPECT_EQ(mask->none, !any);
      if (!any) break;
      const int32_t token = RandomAllowed(*mask, random);
      ASSERT_TRUE(matcher.Accept(token).has_value());
      so_far += TestTokenizer()->TokenBytes(token);
    }
  }
}

TEST(ConstraintTest, TokensThatSplitACharacterWork) {
  // The bytes of a character that the vocabulary has no token for.
  const std::string text = "\xf0\x93\x82\x80";
  const auto ids = TestTokenizer()->Encode(text, false);
  ASSERT_TRUE(ids.has_value());
  ASSERT_GT(ids->size(), 1u);
  const auto compiler = TestCompiler();
  const auto constraint = Make(*compiler, "root ::= [\\U00013080]");
  ConstraintMatcher matcher(constraint);
  for (const int32_t id : *ids) {
    const auto mask = matcher.Mask();
    ASSERT_TRUE(mask.has_value());
    EXPECT_TRUE(Allows(*mask, id));
    EXPECT_FALSE(mask->can_end);
    ASSERT_TRUE(matcher.Accept(id).has_value());
  }
  const auto end = matcher.Mask();
  EXPECT_TRUE(end->can_end);
  EXPECT_TRUE(end->none);
}

TEST(ConstraintTest, ATokenThatDoesNotFitIsRefusedAndChangesNothing) {
  const auto compiler = TestCompiler();
  ConstraintMatcher matcher(Make(*compiler, "root ::= \"ab\""));
  const auto a = TestTokenizer()->Encode("a", false);
  const auto b = TestTokenizer()->Encode("b", false);
  EXPECT_FALSE(matcher.Accept((*b)[0]).has_value());
  EXPECT_FALSE(matcher.Accept(kTestEndToken).has_value());
  EXPECT_TRUE(matcher.Accept((*a)[0]).has_value());
  EXPECT_TRUE(matcher.Accept((*b)[0]).has_value());
}

TEST(ConstraintTest, EqualGrammarsShareTheirMasks) {
  const auto compiler = TestCompiler();
  const std::string text = "root ::= [a-z]+ \".\"";
  const auto first = Make(*compiler, text);
  const auto second = Make(*compiler, text);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, Make(*compiler, "root ::= [a-z]+ \"!\""));
  const auto a = TestTokenizer()->Encode("a", false);
  for (int text_number = 0; text_number < 3; ++text_number) {
    ConstraintMatcher matcher(first);
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(matcher.Mask().has_value());
      ASSERT_TRUE(matcher.Accept((*a)[0]).has_value());
    }
  }
  // The start, and one state for all that follows.
  EXPECT_EQ(first->masks_made(), 2u);
}

TEST(ConstraintTest, ANewEraGoesOnWhereTheTextWas) {
  const auto compiler = TestCompiler();
  // Every number of brackets is a state of its own, and so is every number of letters.
  const auto constraint = Make(*compiler, "root ::= \"[\" root \"]\" | [a-z]{100000}");
  ConstraintMatcher waiting(constraint);
  const auto bracket = TestTokenizer()->Encode("[", false);
  const auto letter = TestTokenizer()->Encode("q", false);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(waiting.Accept((*bracket)[0]).has_value());
  ConstraintMatcher busy(constraint);
  uint64_t masks = 0;
  // More masks than an era holds, each with its states.
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(busy.Mask().has_value());
    ASSERT_TRUE(busy.Accept((*letter)[0]).has_value());
    masks = constraint->masks_made();
  }
  EXPECT_GE(masks, 20'000u);
  const auto mask = waiting.Mask();
  ASSERT_TRUE(mask.has_value());
  EXPECT_TRUE(Allows(*mask, (*bracket)[0]));
  EXPECT_TRUE(Allows(*mask, (*letter)[0]));
  EXPECT_FALSE(mask->can_end);
}

TEST(ConstraintTest, OnlySoManyGrammarsAtOnce) {
  const auto compiler = TestCompiler();
  std::vector<std::shared_ptr<Constraint>> held;
  for (size_t i = 0; i < ConstraintCompiler::kMaxLive; ++i)
    held.push_back(Make(*compiler, "root ::= \"" + std::to_string(i) + "\""));
  const auto refused = compiler->Get("more", [] { return ParseGbnf("root ::= \"more\""); });
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  // What is in use is still shared, and what is not makes room.
  EXPECT_EQ(Make(*compiler, "root ::= \"63\""), held[63]);
  held.pop_back();
  EXPECT_NE(Make(*compiler, "root ::= \"more\""), nullptr);
}

TEST(ConstraintTest, TheEmptyTextMayBeAll) {
  const auto compiler = TestCompiler();
  ConstraintMatcher matcher(Make(*compiler, "root ::= \"\""));
  const auto mask = matcher.Mask();
  ASSERT_TRUE(mask.has_value());
  EXPECT_TRUE(mask->none);
  EXPECT_TRUE(mask->can_end);
}

}  // namespace
}  // namespace engram
