// SPDX-License-Identifier: Apache-2.0
// QueryFields: takes typed parameters out of a request's query string and remembers the first thing that is wrong. The
// field of an error is the parameter's name. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "http/message.h"

namespace engram {

class QueryFields {
 public:
  // Percent-decodes; "+" is a space. A parameter given twice and a malformed escape are errors.
  explicit QueryFields(const Request& request);

  std::string String(std::string_view name, std::string fallback = {});
  // "true" or "false".
  bool Bool(std::string_view name, bool fallback);
  // A whole number in [min, max].
  uint64_t Int(std::string_view name, uint64_t fallback, uint64_t min, uint64_t max);
  std::optional<uint64_t> OptionalInt(std::string_view name, uint64_t min, uint64_t max);
  uint64_t RequiredInt(std::string_view name, uint64_t min, uint64_t max);
  // A list such as 7,8; empty when absent. The field of an error is name[i].
  std::vector<uint64_t> Ints(std::string_view name, size_t max_items);

  void Fail(std::string_view name, const std::string& message);
  // The first error; else one for the first parameter that nobody asked for.
  Status Finish();

 private:
  // Marks the parameter as known.
  const std::string* Value(std::string_view name);
  std::vector<std::pair<std::string, std::string>> values_;
  std::vector<std::string_view> known_;
  std::optional<Error> error_;
};

}  // namespace engram
