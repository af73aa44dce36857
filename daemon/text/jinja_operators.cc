// SPDX-License-Identifier: Apache-2.0
// The interpreter's operators, and access to parts of values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "text/jinja_interpreter.h"

namespace engram {
namespace {

std::string UndefinedMessage(const JinjaValue& value) {
  const std::string& name = value.If<JinjaValue::Undefined>()->name;
  return (name.empty() ? "a value" : name) + " is undefined";
}

// Python's rounding of quotients: towards minus infinity.
int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double FloorRemainder(double a, double b) {
  const double remainder = std::fmod(a, b);
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

bool Power(int64_t base, int64_t exponent, int64_t* out) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return false;
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return false;
  }
  *out = result;
  return true;
}

// The range of indexes that Python's slice(start, stop, step) gives for `size` items.
struct SliceRange {
  int64_t start;
  int64_t stop;
  int64_t step;
};
SliceRange RangeOf(int64_t size, const JinjaValue& start, const JinjaValue& stop, int64_t step) {
  const auto place = [&](const JinjaValue& value, int64_t fallback) {
    if (!value.IsIntegral()) return fallback;
    int64_t index = value.AsInteger();
    if (index < 0) index = index < -size ? -1 : index + size;
    return std::clamp<int64_t>(index, step < 0 ? -1 : 0, step < 0 ? size - 1 : size);
  };
  if (step < 0) return {place(start, size - 1), place(stop, -1), step};
  return {std::max<int64_t>(0, place(start, 0)), std::max<int64_t>(0, place(stop, size)), step};
}

template <typename Sequence>
Sequence Slice(const Sequence& items, const SliceRange& range) {
  Sequence out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, range.step, &i)) break;
  }
  return out;
}

}  // namespace

std::shared_ptr<const JinjaItems> JinjaInterpreter::ItemsOf(const JinjaValue& value) {
  if (const auto* list = value.If<JinjaValue::List>()) return list->items;
  if (const auto* tuple = value.If<JinjaValue::Tuple>()) return tuple->items;
  JinjaItems items;
  if (value.IsString()) {
    if (budget_.Spend(value.AsString().size())) {
      for (char32_t c : JinjaCodePoints(value.AsString())) {
        items.push_back(JinjaValue::Str(JinjaUtf8(std::u32string_view(&c, 1))));
      }
    }
  } else if (const auto* dict = value.If<JinjaValue::Dict>()) {
    if (budget_.Spend((*dict)->entries.size())) {
      for (const auto& entry : (*dict)->entries) items.push_back(entry.first);
    }
  } else if (!value.IsUndefined()) {
    Fail("a " + std::string(value.TypeName()) + " cannot be iterated over");
  }
  return std::make_shared<const JinjaItems>(std::move(items));
}

JinjaValue JinjaInterpreter::Attribute(const JinjaValue& value, const std::string& name) {
  if (failed()) return {};
  if (value.IsUndefined()) {
    Fail(UndefinedMessage(value));
    return {};
  }
  if (const auto* space = value.If<JinjaValue::Namespace>()) {
    const auto at = space->attributes->find(name);
    if (at != space->attributes->end()) return at->second;
  } else if (const auto* loop = value.If<JinjaValue::Loop>()) {
    return LoopAttribute(value, **loop, name);
  } else if (HasJinjaMethod(value, name)) {
    JinjaCallable method;
    method.name = name;
    method.self = value;
    method.is_method = true;
    return JinjaValue::MakeCallable(std::move(method));
  } else if (const auto* dict = value.If<JinjaValue::Dict>()) {
    const JinjaValue* found = (*dict)->Find(name);
    if (found != nullptr) return *found;
  }
  return JinjaValue::MakeUndefined("attribute '" + name + "' of a " + std::string(value.TypeName()));
}

JinjaValue JinjaInterpreter::Item(const JinjaValue& value, const JinjaValue& key) {
  if (failed()) return {};
  if (const auto* dict = value.If<JinjaValue::Dict>()) {
    const JinjaValue* found = (*dict)->Find(key);
    if (found != nullptr) return *found;
  }
  if (key.IsIntegral() && (value.IsSequence() || value.IsString())) {
    const auto size = static_cast<int64_t>(value.IsString() ? JinjaLength(value.AsString()) : value.AsItems().size());
    if (value.IsString() && !budget_.SpendBytes(value.AsString().size())) return {};
    const int64_t index = key.AsInteger() < 0 ? key.AsInteger() + size : key.AsInteger();
    if (index < 0 || index >= size) {
      return JinjaValue::MakeUndefined("item " + std::to_string(key.AsInteger()) + " of a " +
                                       std::string(value.TypeName()));
    }
    if (!value.IsString()) return value.AsItems()[static_cast<size_t>(index)];
    return Text(
        JinjaUtf8(std::u32string_view(JinjaCodePoints(value.AsString())).substr(static_cast<size_t>(index), 1)));
  }
  if (key.IsString() || value.IsUndefined()) return Attribute(value, key.IsString() ? key.AsString() : "");
  return JinjaValue::MakeUndefined("an item of a " + std::string(value.TypeName()));
}

JinjaValue JinjaInterpreter::EvaluateSlice(const JinjaExpression& node) {
  const JinjaValue value = Evaluate(*node.children[0]);
  JinjaValue parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!node.children[i + 1]) continue;
    parts[i] = Evaluate(*node.children[i + 1]);
    position_ = node.position;
    if (!parts[i].IsNone()) IntegerOr(parts[i], 0);
    if (parts[i].IsUndefined() && !failed()) Fail(UndefinedMessage(parts[i]));
  }
  position_ = node.position;
  const int64_t step = IntegerOr(parts[2], 1);
  if (step == 0) Fail("a slice needs a step other than 0");
  if (value.IsUndefined()) Fail(UndefinedMessage(value));
  if (failed()) return {};
  if (value.IsString()) {
    if (!budget_.SpendBytes(4 * value.AsString().size())) return {};
    const std::u32string text = JinjaCodePoints(value.AsString());
    return Text(JinjaUtf8(Slice(text, RangeOf(static_cast<int64_t>(text.size()), parts[0], parts[1], step))));
  }
  if (!value.IsSequence()) {
    Fail("a " + std::string(value.TypeName()) + " cannot be sliced");
    return {};
  }
  const JinjaItems& items = value.AsItems();
  JinjaItems slice = Slice(items, RangeOf(static_cast<int64_t>(items.size()), parts[0], parts[1], step));
  return value.If<JinjaValue::Tuple>() != nullptr ? Tuple(std::move(slice)) : List(std::move(slice));
}

JinjaValue JinjaInterpreter::EvaluateConcat(const JinjaExpression& node) {
  std::string text;
  for (const JinjaExpressionPtr& child : node.children) {
    text += StringOf(Evaluate(*child));
    if (failed()) return {};
  }
  position_ = node.position;
  return Text(std::move(text));
}

JinjaValue JinjaInterpreter::EvaluateUnary(const JinjaExpression& node) {
  const JinjaValue value = Evaluate(*node.children[0]);
  if (node.name == "not") return JinjaValue::Bool(!value.Truthy());
  position_ = node.position;
  if (const double* number = value.If<double>(); number != nullptr && node.name == "-")
    return JinjaValue::Float(-*number);
  return node.name == "-" ? Arithmetic("-", JinjaValue::Int(0), value) : Arithmetic("+", JinjaValue::Int(0), value);
}

int JinjaInterpreter::Order(const JinjaValue& a, const JinjaValue& b) {
  if (!budget_.Spend(1) || failed()) return 0;
  if (a.IsIntegral() && b.IsIntegral()) {
    return a.AsInteger() < b.AsInteger() ? -1 : a.AsInteger() > b.AsInteger() ? 1 : 0;
  }
  if (a.IsNumber() && b.IsNumber()) return a.AsDouble() < b.AsDouble() ? -1 : a.AsDouble() > b.AsDouble() ? 1 : 0;
  if (a.IsString() && b.IsString()) {
    if (!budget_.SpendBytes(std::min(a.AsString().size(), b.AsString().size()))) return 0;
    const int order = a.AsString().compare(b.AsString());  // UTF-8 orders as code points do
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.IsSequence() && a.TypeName() == b.TypeName()) {
    const JinjaItems& left = a.AsItems();
    const JinjaItems& right = b.AsItems();
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!JinjaEqual(left[i], right[i], budget_)) return Order(left[i], right[i]);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  Fail(a.IsUndefined()   ? UndefinedMessage(a)
       : b.IsUndefined() ? UndefinedMessage(b)
                         : "a " + std::string(a.TypeName()) + " and a " + std::string(b.TypeName()) + " have no order");
  return 0;
}

bool JinjaInterpreter::Contains(const JinjaValue& container, const JinjaValue& item) {
  if (container.IsString()) {
    if (!item.IsString()) {
      Fail("'in' of a str needs a str, not a " + std::string(item.TypeName()));
      return false;
    }
    const std::string& text = container.AsString();
    // memmem takes linear time whatever the texts; std::string::find does not.
    return budget_.SpendBytes(text.size()) &&
           memmem(text.data(), text.size(), item.AsString().data(), item.AsString().size()) != nullptr;
  }
  if (const auto* dict = container.If<JinjaValue::Dict>()) return (*dict)->Find(item) != nullptr;
  const std::shared_ptr<const JinjaItems> items = ItemsOf(container);
  return std::any_of(items->begin(), items->end(), [&](const JinjaValue& x) { return JinjaEqual(x, item, budget_); });
}

JinjaValue JinjaInterpreter::EvaluateCompare(const JinjaExpression& node) {
  JinjaValue left = Evaluate(*node.children[0]);
  for (size_t i = 0; i < node.operators.size() && !failed(); ++i) {
    JinjaValue right = Evaluate(*node.children[i + 1]);
    position_ = node.position;
    if (failed()) break;
    const std::string& op = node.operators[i];
    bool holds;
    if (op == "==" || op == "!=") {
      holds = JinjaEqual(left, right, budget_) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = Contains(right, left) == (op == "in");
    } else {
      const int order = Order(left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return JinjaValue::Bool(false);
    left = std::move(right);
  }
  return JinjaValue::Bool(true);
}

JinjaValue JinjaInterpreter::Arithmetic(const std::string& op, const JinjaValue& a, const JinjaValue& b) {
  if (failed()) return {};
  if (a.IsUndefined() || b.IsUndefined()) {
    Fail(UndefinedMessage(a.IsUndefined() ? a : b));
    return {};
  }
  if (op == "+" && a.IsString() && b.IsString()) return Text(a.AsString() + b.AsString());
  if (op == "+" && a.IsSequence() && a.TypeName() == b.TypeName()) {
    if (!budget_.Spend(a.AsItems().size() + b.AsItems().size())) return {};
    JinjaItems items = a.AsItems();
    items.insert(items.end(), b.AsItems().begin(), b.AsItems().end());
    return a.If<JinjaValue::Tuple>() != nullptr ? Tuple(std::move(items)) : List(std::move(items));
  }
  if (op == "*" && (a.IsString() || b.IsString() || a.IsSequence() || b.IsSequence()) &&
      (a.IsIntegral() || b.IsIntegral())) {
    const JinjaValue& value = a.IsIntegral() ? b : a;
    const size_t size = value.IsString() ? value.AsString().size() : value.AsItems().size();
    const auto count = static_cast<uint64_t>(std::max<int64_t>(0, (a.IsIntegral() ? a : b).AsInteger()));
    if (size != 0 && count > kMaxTextBytes / size) {
      Fail(ErrorCode::kResourceExhausted, "a repetition longer than " + std::to_string(kMaxTextBytes));
      return {};
    }
    if (!budget_.Spend(value.IsString() ? size * count / 16 : size * count)) return {};
    std::string text;
    JinjaItems items;
    for (uint64_t i = 0; size != 0 && i < count; ++i) {
      if (value.IsString()) text += value.AsString();
      if (!value.IsString()) items.insert(items.end(), value.AsItems().begin(), value.AsItems().end());
    }
    if (value.IsString()) return Text(std::move(text));
    return value.If<JinjaValue::Tuple>() != nullptr ? Tuple(std::move(items)) : List(std::move(items));
  }
  if (op == "%" && a.IsString()) {
    Fail(ErrorCode::kUnsupported, "formatting with % is not supported");
    return {};
  }
  if (!a.IsNumber() || !b.IsNumber()) {
    Fail("operator '" + op + "' does not take a " + std::string(a.TypeName()) + " and a " + std::string(b.TypeName()));
    return {};
  }
  const bool divides = op == "/" || op == "//" || op == "%";
  if (divides && b.AsDouble() == 0) {
    Fail("division by zero");
    return {};
  }
  const bool integral = a.IsIntegral() && b.IsIntegral() && op != "/" && !(op == "**" && b.AsInteger() < 0);
  if (!integral) {
    const double x = a.AsDouble();
    const double y = b.AsDouble();
    if (op == "+") return JinjaValue::Float(x + y);
    if (op == "-") return JinjaValue::Float(x - y);
    if (op == "*") return JinjaValue::Float(x * y);
    if (op == "/") return JinjaValue::Float(x / y);
    if (op == "//") return JinjaValue::Float((x - FloorRemainder(x, y)) / y);
    if (op == "%") return JinjaValue::Float(FloorRemainder(x, y));
    return JinjaValue::Float(std::pow(x, y));
  }
  const int64_t x = a.AsInteger();
  const int64_t y = b.AsInteger();
  int64_t result = 0;
  bool overflows = false;
  if (op == "+") {
    overflows = __builtin_add_overflow(x, y, &result);
  } else if (op == "-") {
    overflows = __builtin_sub_overflow(x, y, &result);
  } else if (op == "*") {
    overflows = __builtin_mul_overflow(x, y, &result);
  } else if (op == "**") {
    overflows = !Power(x, y, &result);
  } else {
    overflows = y == -1 && x == INT64_MIN;
    if (!overflows) result = op == "//" ? FloorDivide(x, y) : x - FloorDivide(x, y) * y;
  }
  if (overflows) Fail("an integer outside of 64 bits");
  return overflows ? JinjaValue() : JinjaValue::Int(result);
}

}  // namespace engram
