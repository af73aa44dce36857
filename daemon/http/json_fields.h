// SPDX-License-Identifier: Apache-2.0
// JsonFields: takes typed fields out of a JSON object and remembers the first thing that is wrong. A field that is
// absent or null gets its fallback. One thread; the object must outlive it.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

class JsonFields {
 public:
  // `path` names the object in errors: "engram" makes "engram.gates"; empty for the request itself.
  explicit JsonFields(const boost::json::object& object, std::string path = {})
      : object_(object), path_(std::move(path)) {}

  bool Bool(std::string_view name, bool fallback);
  // An integer written without fraction or exponent, in [min, max].
  int64_t Int(std::string_view name, int64_t fallback, int64_t min, int64_t max);
  std::optional<int64_t> OptionalInt(std::string_view name, int64_t min, int64_t max);
  // A number in [min, max]; with `min_excluded`, in (min, max].
  double Number(std::string_view name, double fallback, double min, double max, bool min_excluded = false);
  std::string String(std::string_view name, std::string fallback);
  const boost::json::object* Object(std::string_view name);
  // The value, or nullptr when it is absent or null.
  const boost::json::value* Value(std::string_view name);
  // A list of integers in [min, max]; empty when absent.
  std::vector<int32_t> Ints(std::string_view name, int32_t min, int32_t max);

  // Fields that are accepted and have no effect.
  void Accept(std::initializer_list<std::string_view> names);
  // Records an error unless there is one already. `field` is relative to the object.
  void Fail(std::string_view field, const std::string& message);
  void Fail(Error error);
  bool failed() const { return error_.has_value(); }
  // The first error; else one for the first field that nobody asked for.
  Status Finish();

  std::string PathOf(std::string_view name) const;

 private:
  const boost::json::object& object_;
  std::string path_;
  std::vector<std::string_view> known_;
  std::optional<Error> error_;
};

// `value` as an integer in [min, max]; kInvalidArgument with `path` as its field.
Result<int64_t> JsonInt(const boost::json::value& value, int64_t min, int64_t max, const std::string& path);
// `value` as a list of integers in [min, max]; the field of an error is path[i].
Result<std::vector<int32_t>> JsonInts(const boost::json::value& value, int32_t min, int32_t max,
                                      const std::string& path);
// "a string", "an object" and so on, for messages.
const char* JsonKindName(const boost::json::value& value);

}  // namespace engram
