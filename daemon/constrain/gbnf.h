// SPDX-License-Identifier: Apache-2.0
// Reads a grammar in the notation of docs/constrained-output.md, which is close to llama.cpp's GBNF. Pure; any thread.
#pragma once

#include <string_view>

#include "constrain/grammar.h"
#include "core/result.h"

namespace engram {

inline constexpr size_t kMaxGrammarBytes = size_t{256} << 10;

// kInvalidArgument with line and column (both from 1, columns in characters).
Result<Grammar> ParseGbnf(std::string_view text);

}  // namespace engram
