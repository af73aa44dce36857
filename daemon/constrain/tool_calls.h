// SPDX-License-Identifier: Apache-2.0
// Tool calls as models write them: the grammar of answers that may or must have some, and the calls taken out of the
// text again while it comes. Pure values; one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/grammar.h"

namespace engram {

// How a model writes a call: open {"name": "f", "arguments": {..}} close, with further ones on lines of their own.
struct ToolCallSyntax {
  std::string open;  // may be empty
  std::string close;
  std::string arguments_key = "arguments";

  // What a chat template tells the model to write: <tool_call> tags where it has them (Hermes, Qwen and others),
  // "parameters" for Llama's, else the object alone.
  static ToolCallSyntax OfTemplate(std::string_view source);

  std::string BeforeName() const { return open + "{\"name\": \""; }
  std::string BeforeArguments() const { return "\", \"" + arguments_key + "\": "; }
  std::string AfterArguments() const { return "}" + close; }
};

struct CallableTool {
  std::string name;      // needs no escapes in JSON
  ExprId arguments = 0;  // the object
};

inline constexpr uint32_t kMaxParallelCalls = 32;

// An answer of one call, or of several where `parallel`. Unless `required` it may also be any text: one that ends with
// calls where the syntax has tags, else one that does not begin as a call does.
ExprId ToolCallAnswer(const ToolCallSyntax& syntax, const std::vector<CallableTool>& tools, bool parallel,
                      bool required, Grammar& grammar);

// Takes such an answer apart.
class ToolCallParser {
 public:
  ToolCallParser(ToolCallSyntax syntax, bool required);

  // What a piece of text adds to a call: its name, once and first, then its arguments bit by bit.
  struct Delta {
    uint32_t index = 0;
    std::string name;  // not empty: the call begins
    std::string arguments;
  };
  struct Piece {
    std::string content;
    std::vector<Delta> calls;
  };
  Piece Push(std::string_view text);
  // At the end of the text: content that was held back because a call might have begun.
  Piece Finish();
  uint32_t num_calls() const { return num_calls_; }

 private:
  enum class State { kContent, kPlain, kFixed, kName, kArguments };

  void Take(char c, Piece& piece);
  void TakeContent(char c, Piece& piece);
  void TakeArguments(char c, Piece& piece);
  void Expect(std::string text, State then);

  const ToolCallSyntax syntax_;
  const std::string marker_;  // what ends content
  State state_;
  std::string held_;      // the start of marker_
  std::string expected_;  // fixed text that is next
  size_t num_seen_ = 0;   // of it
  State then_ = State::kName;
  std::string name_;
  uint32_t num_calls_ = 0;
  uint32_t depth_ = 0;  // of arguments
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace engram
