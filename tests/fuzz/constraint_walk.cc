// SPDX-License-Identifier: Apache-2.0
#include "fuzz/constraint_walk.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "constrain/constraint_compiler.h"
#include "constrain/program.h"
#include "constrain/text_cursor.h"
#include "core/json_text.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"
#include "text/tokenizer.h"

namespace engram {
namespace {

constexpr size_t kMaxChoices = 48;
constexpr size_t kMaxSteps = kMaxChoices + 40;
// In each step one token of so many is tried alone; inputs meet the same state in many steps.
constexpr size_t kTriedEvery = 8;
// Those that end things first: what is left of a text takes the first that may follow.
constexpr std::string_view kWords[] = {
    "\"",    "}",      "]",     "\"}",   "\"]", "}}", ":",       "\":",  "true",   "null",    "false",    "\"a\"",
    "\":\"", "\": \"", "\",\"", "{\"",   "[",   "[[", "{\"a\":", "\n  ", "\n\t\t", "\xc3",    "\xa9\xc3", "\x80\x80",
    "\\u",   "\\ud8",  "00",    "12345", "-1",  ".5", "e+",      "aa",   "abc",    "aaaaaaaa"};
constexpr uint32_t kNumWords = static_cast<uint32_t>(std::size(kWords));
constexpr int32_t kEndToken = kNumWords + 256;
constexpr uint32_t kVocabSize = kEndToken + 4;  // with ids that have no token

// The characters that tokenizer.json has for bytes.
std::string ByteLevel(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    const auto is_plain = [](uint32_t b) { return (b >= 33 && b <= 126) || (b >= 161 && b != 173); };
    uint32_t code_point = byte;
    if (!is_plain(byte)) {
      code_point = 256;
      for (uint32_t b = 0; b < byte; ++b) code_point += is_plain(b) ? 0 : 1;
    }
    AppendUtf8(out, code_point);
  }
  return out;
}

// kWords, and every byte that is none of them.
std::shared_ptr<const Tokenizer> MakeTokenizer() {
  std::string vocab;
  int32_t id = 0;
  const auto add = [&](std::string_view bytes) {
    vocab += (vocab.empty() ? "" : ", ") + JsonQuote(ByteLevel(bytes)) + ": " + std::to_string(id++);
  };
  for (const std::string_view word : kWords) add(word);
  for (uint32_t b = 0; b < 256; ++b) {
    const auto byte = static_cast<char>(static_cast<uint8_t>(b));
    if (std::find(std::begin(kWords), std::end(kWords), std::string_view(&byte, 1)) == std::end(kWords))
      add({&byte, 1});
  }
  const ScratchFile file("tokenizer.json");
  file.Write(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{"id": )" +
             std::to_string(kEndToken) +
             R"(, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, )"
             R"("special": true}], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": )"
             R"(false, "trim_offsets": true, "use_regex": true}, "post_processor": null, "decoder": {"type": )"
             R"("ByteLevel"}, "model": {"type": "BPE", "dropout": null, "unk_token": null, )"
             R"("continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, )"
             R"("byte_fallback": false, "ignore_merges": false, "merges": [], "vocab": {)" +
             vocab + "}}}");
  auto tokenizer = Tokenizer::Load(file.path());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return *tokenizer;
}

const std::shared_ptr<const Tokenizer>& Vocabulary() {
  static const std::shared_ptr<const Tokenizer> tokenizer = MakeTokenizer();
  return tokenizer;
}

bool Allows(const TokenMask& mask, int32_t token) {
  const auto id = static_cast<uint32_t>(token);
  return (mask.allowed[id / 64] >> (id % 64) & 1) != 0;
}

// The tokens of the mask. Of all tokens, in it or not, those are tried whose id leaves `rest`.
std::vector<int32_t> CheckedTokens(const TokenMask& mask, const ConstraintMatcher& matcher, size_t rest) {
  FUZZ_CHECK(mask.allowed.size() == (kVocabSize + 63) / 64);
  // What is tried may not touch the mask's memory.
  const std::vector<uint64_t> bits(mask.allowed.begin(), mask.allowed.end());
  const TokenMask kept{bits, mask.none, mask.can_end};
  std::vector<int32_t> allowed;
  // Ends are never a part of a text, and nobody asks to go on over one.
  FUZZ_CHECK(!Allows(kept, kEndToken));
  for (int32_t token = 0; token < static_cast<int32_t>(kVocabSize); ++token) {
    if (Allows(kept, token)) allowed.push_back(token);
    if (token == kEndToken || static_cast<size_t>(token) % kTriedEvery != rest) continue;
    ConstraintMatcher tried = matcher;
    const Status accepted = tried.Accept(token);
    FUZZ_CHECK(accepted.has_value() == Allows(kept, token));
    if (!accepted) CheckRefusal(accepted.error());
  }
  FUZZ_CHECK(kept.none == allowed.empty());
  return allowed;
}

// Calls and repetitions: no more frames than that are begun before a byte is read.
size_t NumFrames(const Grammar& grammar) {
  return static_cast<size_t>(std::count_if(
      grammar.expressions().begin(), grammar.expressions().end(),
      [](const Expr& expr) { return expr.kind == Expr::Kind::kRule || expr.kind == Expr::Kind::kRepeat; }));
}

// The same text in another automaton, without masks and byte by byte.
void CheckText(const Grammar& grammar, std::string_view text, bool can_end) {
  auto program = Program::Compile(grammar);
  FUZZ_CHECK(program.has_value());
  Automaton automaton(std::move(program).value());
  Automaton::Position position;
  FUZZ_CHECK(automaton.Begin(position));
  for (const char byte : text) {
    FUZZ_CHECK(automaton.Begin(position));  // with new work for each
    position.state = automaton.Next(position.state, automaton.program().byte_class(static_cast<uint8_t>(byte)));
    FUZZ_CHECK(automaton.Finish());
    FUZZ_CHECK(!automaton.IsDead(position.state));
  }
  FUZZ_CHECK(position.state->can_end == can_end);
}

}  // namespace

void CheckRefusal(const Error& error) {
  FUZZ_CHECK(error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kUnsupported);
  FUZZ_CHECK(!error.message.empty() && error.message.size() < 4096);
}

std::optional<std::string> WalkGrammar(const Grammar& grammar, std::string_view choices) {
  static ConstraintCompiler compiler(Vocabulary(), kVocabSize, {kEndToken});
  static uint64_t num_grammars = 0;
  auto constraint = compiler.Get(std::to_string(num_grammars++), [&]() -> Result<Grammar> { return grammar; });
  if (!constraint) {
    CheckRefusal(constraint.error());
    return std::nullopt;
  }
  choices = choices.substr(0, kMaxChoices);
  const size_t num_frames = NumFrames(grammar);
  ConstraintMatcher matcher(*constraint);
  std::string text;
  for (size_t step = 0; step < kMaxSteps; ++step) {
    const auto mask = matcher.Mask();
    if (!mask) {
      CheckRefusal(mask.error());
      return std::nullopt;
    }
    const bool can_end = mask->can_end;
    const std::vector<int32_t> allowed = CheckedTokens(*mask, matcher, step % kTriedEvery);
    // But where calls come to their limit of depth.
    FUZZ_CHECK(!allowed.empty() || can_end || (text.size() + 1) * num_frames >= Automaton::kMaxDepth);
    if (allowed.empty() || (can_end && step >= choices.size())) {
      CheckText(grammar, text, can_end);
      if (!can_end) return std::nullopt;
      return text;
    }
    const size_t at = step < choices.size() ? static_cast<uint8_t>(choices[step] - '0') % allowed.size() : 0;
    FUZZ_CHECK(matcher.Accept(allowed[at]));
    text += Vocabulary()->TokenBytes(allowed[at]);
  }
  return std::nullopt;
}

}  // namespace engram
