// SPDX-License-Identifier: Apache-2.0
#include "http/query_fields.h"

#include <algorithm>
#include <charconv>

namespace engram {
namespace {

std::optional<std::string> Decode(std::string_view text) {
  std::string plain(text);
  std::replace(plain.begin(), plain.end(), '+', ' ');
  return PercentDecode(plain);
}

std::optional<uint64_t> WholeNumber(std::string_view text, uint64_t min, uint64_t max) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < min || number > max) return std::nullopt;
  return number;
}

std::string RangeText(uint64_t min, uint64_t max) {
  if (max == UINT64_MAX) return "must be a whole number" + (min == 0 ? "" : " from " + std::to_string(min) + " on");
  return "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

}  // namespace

QueryFields::QueryFields(const Request& request) {
  const size_t question = request.target.find('?');
  if (question == std::string::npos) return;
  std::string_view query = std::string_view(request.target).substr(question + 1);
  query = query.substr(0, query.find('#'));
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(part.size() + 1, query.size()));
    if (part.empty()) continue;
    const size_t equals = std::min(part.find('='), part.size());
    auto name = Decode(part.substr(0, equals));
    auto value = Decode(part.substr(std::min(equals + 1, part.size())));
    if (!name || !value) {
      Fail(part.substr(0, std::min<size_t>(equals, 100)), "has a malformed %-escape");
      return;
    }
    for (const auto& [known, other] : values_)
      if (known == *name) Fail(*name, "is given twice");
    values_.emplace_back(std::move(*name), std::move(*value));
  }
}

const std::string* QueryFields::Value(std::string_view name) {
  known_.push_back(name);
  for (const auto& [key, value] : values_)
    if (key == name) return &value;
  return nullptr;
}

std::string QueryFields::String(std::string_view name, std::string fallback) {
  const std::string* value = Value(name);
  return value == nullptr ? std::move(fallback) : *value;
}

bool QueryFields::Bool(std::string_view name, bool fallback) {
  const std::string* value = Value(name);
  if (value == nullptr) return fallback;
  if (*value != "true" && *value != "false") Fail(name, "must be true or false");
  return *value == "true";
}

std::optional<uint64_t> QueryFields::OptionalInt(std::string_view name, uint64_t min, uint64_t max) {
  const std::string* value = Value(name);
  if (value == nullptr) return std::nullopt;
  const auto number = WholeNumber(*value, min, max);
  if (!number) Fail(name, RangeText(min, max));
  return number;
}

uint64_t QueryFields::Int(std::string_view name, uint64_t fallback, uint64_t min, uint64_t max) {
  return OptionalInt(name, min, max).value_or(fallback);
}

uint64_t QueryFields::RequiredInt(std::string_view name, uint64_t min, uint64_t max) {
  const auto number = OptionalInt(name, min, max);
  if (!number) Fail(name, "is required");
  return number.value_or(min);
}

std::vector<uint64_t> QueryFields::Ints(std::string_view name, size_t max_items) {
  const std::string* value = Value(name);
  std::vector<uint64_t> numbers;
  if (value == nullptr || value->empty()) return numbers;
  std::string_view rest = *value;
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    more = comma != std::string_view::npos;
    const auto number = WholeNumber(rest.substr(0, comma), 0, UINT64_MAX);
    const std::string item = std::string(name) + "[" + std::to_string(numbers.size()) + "]";
    if (!number) {
      Fail(item, RangeText(0, UINT64_MAX));
      return {};
    }
    if (numbers.size() == max_items) {
      Fail(name, "must have at most " + std::to_string(max_items) + " numbers");
      return {};
    }
    numbers.push_back(*number);
    if (more) rest.remove_prefix(comma + 1);
  }
  return numbers;
}

void QueryFields::Fail(std::string_view name, const std::string& message) {
  if (!error_) error_ = InvalidArgument("query parameter " + std::string(name) + " " + message, std::string(name));
}

Status QueryFields::Finish() {
  if (error_) return *error_;
  for (const auto& [name, value] : values_) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    return InvalidArgument("unknown query parameter \"" + name.substr(0, 100) + "\"", name.substr(0, 100));
  }
  return {};
}

}  // namespace engram
