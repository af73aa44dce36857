// SPDX-License-Identifier: Apache-2.0
#include "http/json_out.h"

#include <charconv>
#include <cmath>

namespace engram {
namespace {

template <typename T>
void AppendNumber(std::string& out, T value) {
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  out.append(digits, end);
}

}  // namespace

void AppendInt(std::string& out, int64_t value) {
  AppendNumber(out, value);
}
void AppendFloat(std::string& out, float value) {
  AppendNumber(out, std::isfinite(value) ? value : -9999.0f);
}
void AppendDouble(std::string& out, double value) {
  AppendNumber(out, std::isfinite(value) ? value : -9999.0);
}
void AppendInts(std::string& out, std::span<const int32_t> values) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    AppendNumber(out, values[i]);
  }
  out += ']';
}

}  // namespace engram
