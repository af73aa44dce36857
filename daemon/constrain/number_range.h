// SPDX-License-Identifier: Apache-2.0
// Numbers between bounds, as text. Pure; one thread per grammar.
#pragma once

#include <cstdint>
#include <optional>

#include "constrain/grammar.h"
#include "core/result.h"

namespace engram {

// Bounds of whole numbers and, for numbers, whether they themselves are in.
struct NumberBounds {
  std::optional<double> minimum;
  std::optional<double> maximum;
  bool minimum_excluded = false;
  bool maximum_excluded = false;
};

// Whole numbers in the bounds, without leading zeros, a point or an exponent. Where a side is open they have at most 16
// digits. kInvalidArgument when there are none or a bound has more than 15 digits, which a double does not hold
// exactly.
Result<ExprId> IntegersBetween(Grammar& grammar, const NumberBounds& bounds);

// Of the numbers in the bounds: the whole ones, and those with a fraction that lie between two whole numbers that are
// both in the closed bounds. kInvalidArgument as above, also when only other numbers are in the bounds.
Result<ExprId> NumbersBetween(Grammar& grammar, const NumberBounds& bounds);

}  // namespace engram
