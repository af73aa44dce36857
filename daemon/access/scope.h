// SPDX-License-Identifier: Apache-2.0
// Scope: what a key may do. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

// What a route needs. kNone: not even a key; kAny: a key, whatever it may do. Keys have the others.
enum class Scope { kNone, kAny, kGenerate, kRead, kEdit, kOperate };

// "generate", .. as the settings have them; "none" and "any".
std::string_view ScopeName(Scope scope);

// A bit per Scope.
using ScopeSet = uint32_t;
inline ScopeSet ScopeBit(Scope scope) {
  return ScopeSet{1} << static_cast<ScopeSet>(scope);
}
// kInvalidArgument (field "scopes") for none, an unknown one, or one given twice.
Result<ScopeSet> ParseScopes(const std::vector<std::string>& names);
// All that a key can have.
ScopeSet AllScopes();
// In the order of Scope.
std::vector<std::string> ScopeNames(ScopeSet scopes);

}  // namespace engram
