// SPDX-License-Identifier: Apache-2.0
// A grammar in the notation of docs/constrained-output.md, and the texts that it allows. The first line walks
// (constraint_walk.h), the rest is the grammar.
#include "constrain/gbnf.h"

#include "core/json_text.h"
#include "fuzz/constraint_walk.h"
#include "fuzz/fuzz_target.h"

namespace engram {

ENGRAM_FUZZ_TARGET(gbnf, bytes) {
  FuzzInput input(bytes);
  const std::string_view choices = input.Line();
  const auto grammar = ParseGbnf(input.Rest());
  if (!grammar) {
    CheckRefusal(grammar.error());
    return;
  }
  const std::optional<std::string> text = WalkGrammar(*grammar, choices);
  if (text) FUZZ_CHECK(IsValidUtf8(*text));
}

}  // namespace engram
