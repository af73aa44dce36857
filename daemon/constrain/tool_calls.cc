// SPDX-License-Identifier: Apache-2.0
#include "constrain/tool_calls.h"

#include <utility>

namespace engram {

ToolCallSyntax ToolCallSyntax::OfTemplate(std::string_view source) {
  if (source.find("<tool_call>") != std::string_view::npos) return {"<tool_call>\n", "\n</tool_call>"};
  if (source.find("\"parameters\": dictionary") != std::string_view::npos) return {"", "", "parameters"};
  return {};
}

namespace {

// With tags the tag alone, which models may also write in another way than we ask.
std::string Marker(const ToolCallSyntax& syntax) {
  if (syntax.open.empty()) return syntax.BeforeName();
  return syntax.open.substr(0, syntax.open.find('\n'));
}

}  // namespace

ExprId ToolCallAnswer(const ToolCallSyntax& syntax, const std::vector<CallableTool>& tools, bool parallel,
                      bool required, Grammar& grammar) {
  const std::string marker = Marker(syntax);
  std::vector<ExprId> ways;
  for (const CallableTool& tool : tools)
    ways.push_back(grammar.Sequence({grammar.Literal(tool.name + syntax.BeforeArguments()), tool.arguments,
                                     grammar.Literal(syntax.AfterArguments())}));
  const RuleId named = grammar.AddRule("named call");
  grammar.Define(named, grammar.Choice(std::move(ways)));
  const ExprId more = grammar.Sequence({grammar.Literal("\n" + syntax.BeforeName()), grammar.Call(named)});
  // What follows the marker of the first call.
  const ExprId rest = grammar.Sequence({grammar.Literal(syntax.BeforeName().substr(marker.size())), grammar.Call(named),
                                        grammar.Repeat(more, 0, parallel ? kMaxParallelCalls - 1 : 0)});
  const ExprId calls = grammar.Sequence({grammar.Literal(marker), rest});
  if (required) return calls;
  if (syntax.open.empty()) return grammar.Choice({grammar.NotPrefixed(marker), calls});
  return grammar.Sequence({grammar.Until(marker), rest});
}

ToolCallParser::ToolCallParser(ToolCallSyntax syntax, bool required)
    : syntax_(std::move(syntax)), marker_(Marker(syntax_)), state_(State::kContent) {
  if (required) Expect(syntax_.BeforeName(), State::kName);
}

void ToolCallParser::Expect(std::string text, State then) {
  expected_ = std::move(text);
  num_seen_ = 0;
  then_ = then;
  state_ = expected_.empty() ? then : State::kFixed;
}

ToolCallParser::Piece ToolCallParser::Push(std::string_view text) {
  Piece piece;
  for (const char c : text) Take(c, piece);
  return piece;
}

ToolCallParser::Piece ToolCallParser::Finish() {
  Piece piece;
  piece.content = std::exchange(held_, {});
  return piece;
}

void ToolCallParser::Take(char c, Piece& piece) {
  switch (state_) {
    case State::kContent:
      return TakeContent(c, piece);
    case State::kPlain:
      piece.content += c;
      return;
    case State::kFixed:
      // The grammar leaves no choice here; text from elsewhere would only be left out.
      if (++num_seen_ == expected_.size()) state_ = then_;
      return;
    case State::kName:
      if (c != '"') {
        name_ += c;
        return;
      }
      piece.calls.push_back({num_calls_++, std::exchange(name_, {}), {}});
      depth_ = 0;
      Expect(syntax_.BeforeArguments().substr(1), State::kArguments);
      return;
    case State::kArguments:
      return TakeArguments(c, piece);
  }
}

void ToolCallParser::TakeContent(char c, Piece& piece) {
  held_ += c;
  // The longest end of what is held that may begin the marker; without tags it only counts at the text's start.
  while (!marker_.starts_with(held_)) {
    if (syntax_.open.empty()) {
      piece.content += std::exchange(held_, {});
      state_ = State::kPlain;
      return;
    }
    piece.content += held_.front();
    held_.erase(0, 1);
  }
  if (held_.size() < marker_.size()) return;
  held_.clear();
  Expect(syntax_.BeforeName().substr(marker_.size()), State::kName);
}

void ToolCallParser::TakeArguments(char c, Piece& piece) {
  if (piece.calls.empty() || piece.calls.back().index != num_calls_ - 1)
    piece.calls.push_back({num_calls_ - 1, {}, {}});
  piece.calls.back().arguments += c;
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return;
  }
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if ((c == '}' || c == ']') && depth_ > 0 && --depth_ == 0)
    Expect(syntax_.AfterArguments() + "\n" + syntax_.BeforeName(), State::kName);
}

}  // namespace engram
