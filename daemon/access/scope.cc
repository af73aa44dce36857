// SPDX-License-Identifier: Apache-2.0
#include "access/scope.h"

#include <utility>

namespace engram {
namespace {

constexpr std::pair<std::string_view, Scope> kScopes[] = {
    {"generate", Scope::kGenerate}, {"read", Scope::kRead}, {"edit", Scope::kEdit}, {"operate", Scope::kOperate}};

}  // namespace

std::string_view ScopeName(Scope scope) {
  for (const auto& [name, candidate] : kScopes)
    if (candidate == scope) return name;
  return scope == Scope::kAny ? "any" : "none";
}

Result<ScopeSet> ParseScopes(const std::vector<std::string>& names) {
  if (names.empty()) return InvalidArgument("a key needs at least one of generate, read, edit, operate", "scopes");
  ScopeSet scopes = 0;
  for (const std::string& name : names) {
    const ScopeSet before = scopes;
    for (const auto& [text, scope] : kScopes)
      if (text == name) scopes |= ScopeBit(scope);
    if (scopes == before) {
      return InvalidArgument("\"" + name.substr(0, 40) + "\" is given twice or none of generate, read, edit, operate",
                             "scopes");
    }
  }
  return scopes;
}

ScopeSet AllScopes() {
  ScopeSet scopes = 0;
  for (const auto& [name, scope] : kScopes) scopes |= ScopeBit(scope);
  return scopes;
}

std::vector<std::string> ScopeNames(ScopeSet scopes) {
  std::vector<std::string> names;
  for (const auto& [name, scope] : kScopes)
    if ((scopes & ScopeBit(scope)) != 0) names.emplace_back(name);
  return names;
}

}  // namespace engram
