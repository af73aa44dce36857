// SPDX-License-Identifier: Apache-2.0
// Runs a parsed chat template once. One thread at a time; the tree and the variables must outlive it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "text/jinja_parser.h"
#include "text/jinja_value.h"

namespace engram {

struct JinjaScope {
  JinjaScope* parent = nullptr;
  std::map<std::string, JinjaValue, std::less<>> variables = {};
};

struct JinjaArguments {
  std::vector<JinjaValue> positional;
  std::vector<std::pair<std::string, JinjaValue>> keywords;
};

class JinjaInterpreter {
 public:
  // What one rendering may do at most. A step is a node run, an item made or 16 bytes of text handled.
  static constexpr int64_t kMaxSteps = 10'000'000;
  static constexpr size_t kMaxTextBytes = size_t{64} << 20;
  static constexpr int kMaxDepth = 400;  // of statements, expressions and macro calls within each other
  static constexpr int64_t kMaxRange = 100'000;

  explicit JinjaInterpreter(JinjaScope variables) : globals_(std::move(variables)) { scope_ = &globals_; }

  Result<std::string> Run(const JinjaBody& body);

  // --- for filters, tests and methods ---
  // Records the first error, at the position of the node that runs. Everything returns soon after.
  void Fail(ErrorCode code, const std::string& what);
  void Fail(const std::string& what) { Fail(ErrorCode::kInvalidArgument, what); }
  // True once something failed or the budget is spent.
  bool failed() const { return error_.has_value() || budget_.exhausted(); }
  JinjaBudget& budget() { return budget_; }
  // Values whose size counts.
  JinjaValue Text(std::string text);
  JinjaValue List(JinjaItems items);
  JinjaValue Tuple(JinjaItems items);
  JinjaValue Dict(JinjaDict dict);
  // Python's str().
  std::string StringOf(const JinjaValue& value);
  // The items that iteration over the value gives; never null, empty after an error.
  std::shared_ptr<const JinjaItems> ItemsOf(const JinjaValue& value);
  JinjaValue Attribute(const JinjaValue& value, const std::string& name);
  JinjaValue Item(const JinjaValue& value, const JinjaValue& key);
  JinjaValue CallFilter(const std::string& name, const JinjaValue& value, JinjaArguments arguments);
  bool CallTest(const std::string& name, const JinjaValue& value, JinjaArguments arguments);
  JinjaValue CallMethod(const JinjaCallable& method, JinjaArguments arguments);
  // -1, 0 or 1; fails for values that Python does not order.
  int Order(const JinjaValue& a, const JinjaValue& b);
  bool Contains(const JinjaValue& container, const JinjaValue& item);
  JinjaValue Arithmetic(const std::string& op, const JinjaValue& a, const JinjaValue& b);
  // Puts the arguments in the order of `names`; those not given are undefined. Fails for surplus or unknown ones.
  std::vector<JinjaValue> Bind(JinjaArguments arguments, std::initializer_list<std::string_view> names);
  // The integer of an argument; `fallback` where it is undefined or None. Fails for another kind.
  int64_t IntegerOr(const JinjaValue& value, int64_t fallback);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Level;

  Flow RunBody(const JinjaBody& body);
  Flow RunStatement(const JinjaStatement& statement);
  Flow RunIf(const JinjaStatement& statement);
  Flow RunFor(const JinjaStatement& statement);
  void RunSetBlock(const JinjaStatement& statement);
  Flow RunWith(const JinjaStatement& statement);
  void DefineMacro(const JinjaStatement& statement);
  // What `body` writes, in a scope of its own.
  std::string Capture(const JinjaBody& body);
  void Write(const std::string& text);
  void Assign(const JinjaExpression& target, JinjaValue value);
  void Store(const std::string& name, JinjaValue value);
  bool CheckStorable(const JinjaValue& value);

  JinjaValue Evaluate(const JinjaExpression& node);
  JinjaValue EvaluateName(const JinjaExpression& node);
  JinjaValue EvaluateSequence(const JinjaExpression& node);
  JinjaValue EvaluateSlice(const JinjaExpression& node);
  JinjaValue EvaluateCall(const JinjaExpression& node);
  JinjaValue EvaluateCompare(const JinjaExpression& node);
  JinjaValue EvaluateConcat(const JinjaExpression& node);
  JinjaValue EvaluateUnary(const JinjaExpression& node);
  // The rest of a chain of filters, whose innermost target is `input`.
  JinjaValue ApplyFilters(const JinjaExpression& node, const JinjaValue& input);
  JinjaArguments EvaluateArguments(const JinjaExpression& node);
  JinjaValue CallGlobal(const std::string& name, JinjaArguments arguments);
  JinjaValue CallMacro(const JinjaCallable& callable, JinjaArguments arguments);
  JinjaValue CallLoop(const JinjaCallable& method, JinjaArguments arguments);
  JinjaValue LoopAttribute(const JinjaValue& value, const JinjaLoop& loop, const std::string& name);

  JinjaScope globals_;
  JinjaScope* scope_;
  std::string* output_ = nullptr;
  JinjaBudget budget_{kMaxSteps};
  JinjaPosition position_;
  int depth_ = 0;
  std::optional<Error> error_;
};

// Whether values of this kind have the method (jinja_methods.cc).
bool HasJinjaMethod(const JinjaValue& value, std::string_view name);

// Python's upper(), lower(), title() and capitalize().
enum class JinjaCase { kUpper, kLower, kTitle, kCapitalize };
std::string JinjaChangeCase(std::string_view text, JinjaCase kind);
// Python's strip(): white space, or the characters of `characters` where that is not null.
std::string JinjaStrip(std::string_view text, const std::string* characters, bool left, bool right);
// Python's replace(); `limit` below 0: all. The result may be up to `max_bytes`; nothing where it would be longer.
std::optional<std::string> JinjaReplace(std::string_view text, std::string_view old, std::string_view with,
                                        int64_t limit, size_t max_bytes);

}  // namespace engram
