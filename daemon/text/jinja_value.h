// SPDX-License-Identifier: Apache-2.0
// JinjaValue: the values of a chat template: Python's, as far as templates see them. Lists, tuples, dicts and strings
// are shared and never change after they are made, so copies are cheap and no value can contain itself. One thread at a
// time.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/result.h"

namespace engram {

class JinjaValue;
struct JinjaDict;
struct JinjaLoop;
struct JinjaCallable;
using JinjaItems = std::vector<JinjaValue>;

class JinjaValue {
 public:
  struct Undefined {
    std::string name;  // what was looked up, for messages
  };
  struct None {};
  struct List {
    std::shared_ptr<const JinjaItems> items;
    int depth = 1;
  };
  struct Tuple {
    std::shared_ptr<const JinjaItems> items;
    int depth = 1;
  };
  // namespace(): the one value that changes. Kept out of containers, so that no cycle can arise.
  struct Namespace {
    std::shared_ptr<std::map<std::string, JinjaValue>> attributes;
  };
  using String = std::shared_ptr<const std::string>;
  using Dict = std::shared_ptr<const JinjaDict>;
  using Loop = std::shared_ptr<JinjaLoop>;
  using Callable = std::shared_ptr<const JinjaCallable>;

  JinjaValue() : data_(Undefined{}) {}
  static JinjaValue MakeUndefined(std::string name) { return JinjaValue(Undefined{std::move(name)}); }
  static JinjaValue MakeNone() { return JinjaValue(None{}); }
  static JinjaValue Bool(bool value) { return JinjaValue(value); }
  static JinjaValue Int(int64_t value) { return JinjaValue(value); }
  static JinjaValue Float(double value) { return JinjaValue(value); }
  static JinjaValue Str(std::string value) {
    return JinjaValue(String(std::make_shared<const std::string>(std::move(value))));
  }
  static JinjaValue MakeList(JinjaItems items);
  static JinjaValue MakeTuple(JinjaItems items);
  static JinjaValue MakeDict(JinjaDict dict);
  static JinjaValue MakeNamespace() {
    return JinjaValue(Namespace{std::make_shared<std::map<std::string, JinjaValue>>()});
  }
  static JinjaValue MakeLoop(Loop loop) { return JinjaValue(std::move(loop)); }
  static JinjaValue MakeCallable(JinjaCallable callable);
  // kInvalidArgument for an integer above 2^63 - 1 and for more than kMaxDepth levels.
  static Result<JinjaValue> FromJson(const boost::json::value& json, int depth = 0);
  // Containers nested deeper than this are refused, which bounds every walk over a value.
  static constexpr int kMaxDepth = 100;

  bool IsUndefined() const { return std::holds_alternative<Undefined>(data_); }
  bool IsNone() const { return std::holds_alternative<None>(data_); }
  bool IsString() const { return std::holds_alternative<String>(data_); }
  bool IsSequence() const { return std::holds_alternative<List>(data_) || std::holds_alternative<Tuple>(data_); }
  // int, float or bool, as in Python's arithmetic.
  bool IsNumber() const { return IsIntegral() || std::holds_alternative<double>(data_); }
  bool IsIntegral() const { return std::holds_alternative<int64_t>(data_) || std::holds_alternative<bool>(data_); }
  template <typename T>
  const T* If() const {
    return std::get_if<T>(&data_);
  }
  // These require the kind that IsString(), IsSequence(), IsIntegral() or IsNumber() tells.
  const std::string& AsString() const { return **If<String>(); }
  const JinjaItems& AsItems() const;
  int64_t AsInteger() const;
  double AsDouble() const;

  bool Truthy() const;
  // Python's type name, for messages.
  std::string_view TypeName() const;
  // Levels of containers in it: 0 for a string.
  int Depth() const;

 private:
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, String, List, Tuple, Dict, Namespace, Loop, Callable>;
  template <typename T>
  explicit JinjaValue(T data) : data_(std::move(data)) {}
  Data data_;
};

// Insertion-ordered. Keys are strings, numbers, booleans or None.
struct JinjaDict {
  std::vector<std::pair<JinjaValue, JinjaValue>> entries;
  std::unordered_map<std::string, size_t> index;  // KeyOf(key) -> entry
  int depth = 1;

  // False for a value that cannot be a key.
  bool Set(JinjaValue key, JinjaValue value);
  const JinjaValue* Find(const JinjaValue& key) const;
  const JinjaValue* Find(std::string_view key) const;
};

struct JinjaLoop {
  std::shared_ptr<const JinjaItems> items;
  size_t index0 = 0;
};

struct JinjaStatement;
struct JinjaScope;

// A global function, a macro, or a method bound to a value.
struct JinjaCallable {
  std::string name;
  JinjaValue self;                        // the value of a method; undefined otherwise
  const JinjaStatement* macro = nullptr;  // of a macro, with the scope that defined it, which outlives every use
  JinjaScope* scope = nullptr;
  bool is_method = false;
};

// Counts work against a limit. Everything that walks or makes data charges for it first.
class JinjaBudget {
 public:
  explicit JinjaBudget(int64_t steps) : steps_left_(steps) {}
  // False once the limit is passed, and ever after.
  bool Spend(size_t steps) {
    steps_left_ =
        steps > static_cast<size_t>(steps_left_ < 0 ? 0 : steps_left_) ? -1 : steps_left_ - static_cast<int64_t>(steps);
    return steps_left_ >= 0;
  }
  bool SpendBytes(size_t bytes) { return Spend(bytes / 16 + 1); }
  bool exhausted() const { return steps_left_ < 0; }

 private:
  int64_t steps_left_;
};

// Python's ==. Stops early, with any answer, when the budget is spent.
bool JinjaEqual(const JinjaValue& a, const JinjaValue& b, JinjaBudget& budget);
// Python's str() and repr(). Appends nothing more when the budget is spent.
void JinjaAppendStr(std::string& out, const JinjaValue& value, JinjaBudget& budget);
void JinjaAppendRepr(std::string& out, const JinjaValue& value, JinjaBudget& budget);
std::string JinjaFloatRepr(double value);

struct JinjaJsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  // one level's
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Python's json.dumps(). kInvalidArgument for a value that JSON has no form for.
Status JinjaAppendJson(std::string& out, const JinjaValue& value, const JinjaJsonStyle& style, JinjaBudget& budget,
                       int level = 0);

// UTF-8 and code points; invalid bytes become U+FFFD.
std::u32string JinjaCodePoints(std::string_view text);
std::string JinjaUtf8(std::u32string_view text);
size_t JinjaLength(std::string_view text);  // in code points

}  // namespace engram
