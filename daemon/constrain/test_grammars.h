// SPDX-License-Identifier: Apache-2.0
// For tests of constrain: grammars and schemas as programs, and whether texts match them.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "constrain/automaton.h"
#include "constrain/constraint_compiler.h"
#include "constrain/gbnf.h"
#include "constrain/json_schema.h"
#include "constrain/program.h"
#include "text/tokenizer.h"

namespace engram {

inline Result<Grammar> SchemaGrammar(const boost::json::value& schema) {
  Grammar grammar;
  JsonGrammar json(grammar);
  ENGRAM_TRY(const ExprId value, AddJsonSchema(schema, "schema", grammar, json));
  const RuleId root = grammar.AddRule("root");
  grammar.Define(root, value);
  grammar.set_root(root);
  return grammar;
}

inline Result<Program> CompileGbnf(std::string_view text) {
  ENGRAM_TRY(const Grammar grammar, ParseGbnf(text));
  return Program::Compile(grammar);
}

inline Result<Program> CompileSchema(std::string_view text) {
  ENGRAM_TRY(const Grammar grammar, SchemaGrammar(boost::json::parse(text)));
  return Program::Compile(grammar);
}

// What the message of an error is; "" when there is none.
template <typename T>
std::string MessageOf(const Result<T>& result) {
  return result ? "" : result.error().message;
}

// Matches whole texts, byte for byte.
class Language {
 public:
  explicit Language(Result<Program> program) {
    EXPECT_TRUE(program.has_value()) << MessageOf(program);
    if (program) automaton_.emplace(std::move(program).value());
  }
  enum class Match { kNo, kBegins, kWhole };
  Match Try(std::string_view text) {
    Automaton::Position position;
    EXPECT_TRUE(automaton_->Begin(position).has_value());
    Automaton::State* state = position.state;
    for (const char c : text)
      state = automaton_->Next(state, automaton_->program().byte_class(static_cast<uint8_t>(c)));
    EXPECT_TRUE(automaton_->Finish().has_value());
    return automaton_->IsDead(state) ? Match::kNo : state->can_end ? Match::kWhole : Match::kBegins;
  }
  bool Has(std::string_view text) { return Try(text) == Match::kWhole; }

 private:
  std::optional<Automaton> automaton_;
};

inline std::shared_ptr<const Tokenizer> TestTokenizer() {
  static const std::shared_ptr<const Tokenizer> tokenizer = [] {
    auto loaded = Tokenizer::Load(std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/tokenizer.json");
    EXPECT_TRUE(loaded.has_value()) << MessageOf(loaded);
    return std::move(loaded).value();
  }();
  return tokenizer;
}

inline constexpr uint32_t kTestVocabSize = 4096;
inline constexpr int32_t kTestEndToken = 4092;

inline std::unique_ptr<ConstraintCompiler> TestCompiler() {
  return std::make_unique<ConstraintCompiler>(TestTokenizer(), kTestVocabSize, std::vector<int32_t>{kTestEndToken});
}

inline bool Allows(const TokenMask& mask, int32_t token) {
  const auto id = static_cast<uint32_t>(token);
  return (mask.allowed[id / 64] >> (id % 64) & 1) != 0;
}

}  // namespace engram
