// SPDX-License-Identifier: Apache-2.0
// Tests: what may follow `is`.
#include <algorithm>
#include <array>

#include "text/jinja_interpreter.h"

namespace engram {
namespace {

constexpr std::array<std::string_view, 33> kTests = {
    "defined",     "undefined", "none", "string", "mapping",  "iterable",   "sequence", "number", "integer",
    "float",       "boolean",   "true", "false",  "odd",      "even",       "callable", "eq",     "equalto",
    "==",          "ne",        "!=",   "lt",     "lessthan", "<",          "le",       "<=",     "gt",
    "greaterthan", ">",         "ge",   ">=",     "in",       "divisibleby"};
constexpr std::array<std::string_view, 3> kMoreTests = {"lower", "upper", "sameas"};

bool TestKind(const std::string& name, const JinjaValue& value, bool* holds) {
  const bool is_dict = value.If<JinjaValue::Dict>() != nullptr;
  const bool has_items = value.IsString() || value.IsSequence() || is_dict || value.IsUndefined();
  const bool* flag = value.If<bool>();
  if (name == "defined") return *holds = !value.IsUndefined(), true;
  if (name == "undefined") return *holds = value.IsUndefined(), true;
  if (name == "none") return *holds = value.IsNone(), true;
  if (name == "string") return *holds = value.IsString(), true;
  if (name == "mapping") return *holds = is_dict, true;
  if (name == "iterable") return *holds = has_items || value.If<JinjaValue::Loop>() != nullptr, true;
  if (name == "sequence") return *holds = has_items, true;
  if (name == "number") return *holds = value.IsNumber(), true;
  if (name == "integer") return *holds = value.IsIntegral() && flag == nullptr, true;
  if (name == "float") return *holds = value.IsNumber() && !value.IsIntegral(), true;
  if (name == "boolean") return *holds = flag != nullptr, true;
  if (name == "true") return *holds = flag != nullptr && *flag, true;
  if (name == "false") return *holds = flag != nullptr && !*flag, true;
  if (name == "callable") {
    // Jinja2's own undefined value and loop answer to calls, if only to fail.
    return *holds = value.If<JinjaValue::Callable>() != nullptr || value.IsUndefined() ||
                    value.If<JinjaValue::Loop>() != nullptr,
           true;
  }
  return false;
}

}  // namespace

bool IsJinjaTest(std::string_view name) {
  return std::find(kTests.begin(), kTests.end(), name) != kTests.end() ||
         std::find(kMoreTests.begin(), kMoreTests.end(), name) != kMoreTests.end();
}

bool JinjaInterpreter::CallTest(const std::string& name, const JinjaValue& value, JinjaArguments arguments) {
  if (failed() || !budget_.Spend(1)) return false;
  bool holds = false;
  if (TestKind(name, value, &holds)) {
    Bind(std::move(arguments), {});
    return holds;
  }
  if (name == "lower" || name == "upper") {
    const std::string text = StringOf(value);
    return CallMethod({"is" + name, JinjaValue::Str(text), nullptr, nullptr, true}, {}).Truthy();
  }
  if (name == "odd" || name == "even") {
    Bind(std::move(arguments), {});
    const JinjaValue remainder = Arithmetic("%", value, JinjaValue::Int(2));
    return !failed() && JinjaEqual(remainder, JinjaValue::Int(name == "odd" ? 1 : 0), budget_);
  }
  if (arguments.positional.size() != 1 || !arguments.keywords.empty()) {
    Fail("test '" + name + "' needs one argument");
    return false;
  }
  const JinjaValue other = arguments.positional[0];
  if (name == "divisibleby") {
    const JinjaValue remainder = Arithmetic("%", value, other);
    return !failed() && JinjaEqual(remainder, JinjaValue::Int(0), budget_);
  }
  if (name == "in") return Contains(other, value);
  // Values have no identity here; the constants that sameas is used with are told apart by type.
  if (name == "sameas") return value.TypeName() == other.TypeName() && JinjaEqual(value, other, budget_);
  if (name == "eq" || name == "equalto" || name == "==") return JinjaEqual(value, other, budget_);
  if (name == "ne" || name == "!=") return !JinjaEqual(value, other, budget_);
  const int order = Order(value, other);
  if (failed()) return false;
  if (name == "lt" || name == "lessthan" || name == "<") return order < 0;
  if (name == "le" || name == "<=") return order <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return order > 0;
  return order >= 0;
}

}  // namespace engram
