// SPDX-License-Identifier: Apache-2.0
#include "constrain/repetition.h"

#include "constrain/grammar.h"

namespace engram {

Result<std::optional<Repetition>> TakeRepetition(TextCursor& cursor, const std::function<void()>& skip) {
  constexpr uint32_t kUnbounded = Expr::kUnbounded;
  const TextCursor start = cursor;
  if (cursor.Take("*")) return std::optional(Repetition{0, kUnbounded});
  if (cursor.Take("+")) return std::optional(Repetition{1, kUnbounded});
  if (cursor.Take("?")) return std::optional(Repetition{0, 1});
  if (!cursor.Take("{")) return std::optional<Repetition>();
  skip();
  const std::optional<uint32_t> first = cursor.TakeNumber();
  if (!first) return cursor.Fail("expected a number of repetitions");
  Repetition repetition{*first, *first};
  skip();
  if (cursor.Take(",")) {
    skip();
    repetition.max = cursor.TakeNumber().value_or(kUnbounded);
    skip();
  }
  if (!cursor.Take("}")) return cursor.Fail("expected \"}\" for the \"{\" at " + start.place());
  if (repetition.max < repetition.min) return start.Fail("the repetition's upper bound is below its lower");
  return std::optional(repetition);
}

}  // namespace engram
