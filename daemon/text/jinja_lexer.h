// SPDX-License-Identifier: Apache-2.0
// Cuts a chat template into tokens, with Jinja2's white space rules under trim_blocks and lstrip_blocks. Pure function.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

struct JinjaPosition {
  uint32_t line = 1;
  uint32_t column = 1;  // in code points
};

enum class JinjaTokenKind {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct JinjaToken {
  JinjaTokenKind kind = JinjaTokenKind::kEnd;
  std::string text;  // data, name, operator, or a string literal's value
  int64_t integer = 0;
  double number = 0;
  JinjaPosition position;
};

// kInvalidArgument "chat template line L, column C: ...". The last token is kEnd.
Result<std::vector<JinjaToken>> JinjaTokenize(std::string_view source);

Error JinjaErrorAt(ErrorCode code, JinjaPosition position, const std::string& what);

}  // namespace engram
