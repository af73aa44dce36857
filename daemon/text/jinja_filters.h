// SPDX-License-Identifier: Apache-2.0
// What the files of filters share. JinjaInterpreter::CallFilter() finds and calls a filter.
#pragma once

#include <string_view>
#include <unordered_map>

#include "text/jinja_interpreter.h"

namespace engram {

using JinjaFilters = std::unordered_map<std::string_view, JinjaValue (*)(JinjaInterpreter& run, const JinjaValue& value,
                                                                         JinjaArguments arguments)>;

// The filters of sequences, by name (jinja_sequence_filters.cc).
JinjaFilters JinjaSequenceFilters();

// Whether an argument was given, and not as None.
inline bool JinjaGiven(const JinjaValue& value) {
  return !value.IsUndefined() && !value.IsNone();
}

}  // namespace engram
