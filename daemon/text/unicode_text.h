// SPDX-License-Identifier: Apache-2.0
// Code points of valid UTF-8. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace engram {

// The code point at text[at], which must exist; moves `at` past it.
char32_t NextCodePoint(std::string_view text, size_t& at);
// The code point that ends at text[at - 1], which must exist; moves `at` to its start.
char32_t PreviousCodePoint(std::string_view text, size_t& at);
void AppendCodePoint(char32_t code_point, std::string& text);
// A character of words as Unicode's UTS 18 has it: letters, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);

}  // namespace engram
