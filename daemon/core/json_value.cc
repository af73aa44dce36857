// SPDX-License-Identifier: Apache-2.0
#include "core/json_value.h"

#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>

namespace engram {
namespace {

namespace json = boost::json;

void Append(std::string& out, const json::value& value) {
  if (const json::object* object = value.if_object()) {
    out += '{';
    for (const auto& [key, member] : *object) {
      if (out.back() != '{') out += ',';
      out += json::serialize(key);
      out += ':';
      Append(out, member);
    }
    out += '}';
  } else if (const json::array* array = value.if_array()) {
    out += '[';
    for (const json::value& element : *array) {
      if (&element != array->begin()) out += ',';
      Append(out, element);
    }
    out += ']';
  } else if (value.is_double() && std::isfinite(value.get_double())) {
    char digits[40];
    out.append(digits, std::to_chars(digits, digits + sizeof(digits), value.get_double()).ptr);
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string JsonText(const json::value& value) {
  std::string out;
  Append(out, value);
  return out;
}

}  // namespace engram
