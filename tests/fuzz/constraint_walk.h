// SPDX-License-Identifier: Apache-2.0
// Follows a grammar over a small vocabulary and checks on the way what constrain promises: a token is allowed when, and
// only when, it is accepted; text that can be begun can be ended; text goes the same way byte by byte. One thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "constrain/grammar.h"
#include "core/result.h"

namespace engram {

// What the first line of an input chooses: a token for each of its bytes, by place among those that may follow; then on
// to an end if one is near. The whole text; nothing when it came to none, or when the grammar was refused, in a way
// that is checked too.
std::optional<std::string> WalkGrammar(const Grammar& grammar, std::string_view choices);

// An error over what a request brings.
void CheckRefusal(const Error& error);

}  // namespace engram
