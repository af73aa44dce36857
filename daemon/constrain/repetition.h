// SPDX-License-Identifier: Apache-2.0
// How often a part comes, as patterns and grammars write it behind the part: * + ? {m} {m,} {m,n}. Pure function.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "constrain/text_cursor.h"
#include "core/result.h"

namespace engram {

struct Repetition {
  uint32_t min = 0;
  uint32_t max = 0;  // Expr::kUnbounded: without end
};

// Goes over one if it is next; nothing otherwise. `skip` goes over what may stand between the parts of {m,n}.
// kInvalidArgument with the place.
Result<std::optional<Repetition>> TakeRepetition(TextCursor& cursor, const std::function<void()>& skip);

}  // namespace engram
