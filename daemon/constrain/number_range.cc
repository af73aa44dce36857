// SPDX-License-Identifier: Apache-2.0
#include "constrain/number_range.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace engram {
namespace {

constexpr int64_t kMost = 9'999'999'999'999'999;      // 16 digits
constexpr double kMostBound = 999'999'999'999'999.0;  // 15 digits

ExprId Digits(Grammar& grammar, char first, char last) {
  return grammar.Characters({{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}});
}

ExprId AnyDigits(Grammar& grammar, size_t count) {
  const auto n = static_cast<uint32_t>(count);
  return grammar.Repeat(Digits(grammar, '0', '9'), n, n);
}

// Strings of digits from `low` to `high`, which have the same length.
ExprId SameLength(Grammar& grammar, const std::string& low, const std::string& high) {
  const size_t n = low.size();
  if (n == 0) return grammar.Literal("");
  if (low == std::string(n, '0') && high == std::string(n, '9')) return AnyDigits(grammar, n);
  const std::string low_rest = low.substr(1);
  const std::string high_rest = high.substr(1);
  if (low[0] == high[0])
    return grammar.Sequence({grammar.Literal(low.substr(0, 1)), SameLength(grammar, low_rest, high_rest)});
  // The first and last digit with what goes on from there, those between with anything; whole ranges stay together.
  char first = low[0];
  char last = high[0];
  std::vector<ExprId> ways;
  if (low_rest != std::string(n - 1, '0')) {
    ways.push_back(
        grammar.Sequence({grammar.Literal(low.substr(0, 1)), SameLength(grammar, low_rest, std::string(n - 1, '9'))}));
    ++first;
  }
  if (high_rest != std::string(n - 1, '9')) {
    ways.push_back(grammar.Sequence(
        {grammar.Literal(high.substr(0, 1)), SameLength(grammar, std::string(n - 1, '0'), high_rest)}));
    --last;
  }
  if (first <= last) ways.push_back(grammar.Sequence({Digits(grammar, first, last), AnyDigits(grammar, n - 1)}));
  return grammar.Choice(std::move(ways));
}

// 0 <= low <= high.
ExprId Natural(Grammar& grammar, int64_t low, int64_t high) {
  const std::string first = std::to_string(low);
  const std::string last = std::to_string(high);
  std::vector<ExprId> ways;
  for (size_t n = first.size(); n <= last.size(); ++n)
    ways.push_back(SameLength(grammar, n == first.size() ? first : "1" + std::string(n - 1, '0'),
                              n == last.size() ? last : std::string(n, '9')));
  return grammar.Choice(std::move(ways));
}

void AddIntegers(Grammar& grammar, int64_t low, int64_t high, std::vector<ExprId>& ways) {
  if (low <= -1)
    ways.push_back(grammar.Sequence({grammar.Literal("-"), Natural(grammar, std::max<int64_t>(1, -high), -low)}));
  if (high >= 0) ways.push_back(Natural(grammar, std::max<int64_t>(0, low), high));
}

struct WholeRange {
  int64_t low = -kMost;
  int64_t high = kMost;
};

Result<WholeRange> WholeNumbers(const NumberBounds& bounds, bool excluding) {
  WholeRange range;
  for (const auto& bound : {bounds.minimum, bounds.maximum})
    if (bound && !(std::abs(*bound) <= kMostBound))
      return InvalidArgument("has a bound of more than 15 digits, which is not supported");
  if (bounds.minimum) {
    const double low = std::ceil(*bounds.minimum);
    range.low = static_cast<int64_t>(low) + (excluding && bounds.minimum_excluded && low == *bounds.minimum ? 1 : 0);
  }
  if (bounds.maximum) {
    const double high = std::floor(*bounds.maximum);
    range.high = static_cast<int64_t>(high) - (excluding && bounds.maximum_excluded && high == *bounds.maximum ? 1 : 0);
  }
  return range;
}

}  // namespace

Result<ExprId> IntegersBetween(Grammar& grammar, const NumberBounds& bounds) {
  ENGRAM_TRY(const WholeRange range, WholeNumbers(bounds, true));
  if (range.low > range.high) return InvalidArgument("allows no integer");
  std::vector<ExprId> ways;
  AddIntegers(grammar, range.low, range.high, ways);
  return grammar.Choice(std::move(ways));
}

Result<ExprId> NumbersBetween(Grammar& grammar, const NumberBounds& bounds) {
  ENGRAM_TRY(const WholeRange whole, WholeNumbers(bounds, true));
  // Between n and n + 1 there is a fraction of n (from 0 up) or of n + 1 (below).
  ENGRAM_TRY(const WholeRange closed, WholeNumbers(bounds, false));
  std::vector<ExprId> ways;
  if (whole.low <= whole.high) AddIntegers(grammar, whole.low, whole.high, ways);
  // With more than 15 digits in all a fraction would round to the bound.
  double largest = 0;
  for (const auto& bound : {bounds.minimum, bounds.maximum}) largest = std::max(largest, std::abs(bound.value_or(0)));
  const size_t num_digits = 15 - std::to_string(static_cast<int64_t>(largest)).size();
  if (closed.low < closed.high && num_digits > 0) {
    const auto digits = [&](size_t most) {
      return grammar.Repeat(Digits(grammar, '0', '9'), 0, static_cast<uint32_t>(most));
    };
    // Not 0: that would be the whole number, which may be excluded.
    const ExprId fraction = grammar.Sequence(
        {grammar.Literal("."), digits((num_digits - 1) / 2), Digits(grammar, '1', '9'), digits(num_digits / 2)});
    std::vector<ExprId> stems;
    if (closed.high >= 1) stems.push_back(Natural(grammar, std::max<int64_t>(0, closed.low), closed.high - 1));
    if (closed.low <= -1)
      stems.push_back(grammar.Sequence(
          {grammar.Literal("-"), Natural(grammar, std::max<int64_t>(0, -closed.high), -closed.low - 1)}));
    if (!stems.empty()) ways.push_back(grammar.Sequence({grammar.Choice(std::move(stems)), fraction}));
  }
  if (ways.empty())
    return InvalidArgument("allows no whole number and no whole interval between two, and only those are supported");
  return grammar.Choice(std::move(ways));
}

}  // namespace engram
