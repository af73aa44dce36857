// SPDX-License-Identifier: Apache-2.0
// AccessKey: what is known of an API key; never the key itself. Immutable but for when it was last used; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "access/scope.h"
#include "core/sha256.h"

namespace engram {

struct AccessKey {
  enum class Source { kConfig, kJournal };  // the settings, which alone can change it, or the store

  std::string id;    // [a-z0-9_]; of the settings' keys made of the name
  std::string name;  // shown in logs; the unit of fair admission. Unique among keys that are not revoked.
  Sha256Digest sha256{};
  ScopeSet scopes = 0;
  Source source = Source::kConfig;
  std::string prefix;      // how the key begins; empty for those of the settings
  int64_t created_ms = 0;  // times in Unix milliseconds; 0 for keys of the settings
  std::string created_by;  // a key's name or an address
  std::optional<int64_t> expires_ms;
  std::optional<int64_t> revoked_ms;
  double requests_per_s = 0;  // 0: no limit
  double tokens_per_s = 0;
  std::vector<std::string> overlays;  // attached to requests that name none
  // Shared by all copies; 0: never. Those of the settings begin at 0 with each start.
  std::shared_ptr<std::atomic<int64_t>> last_used_ms = std::make_shared<std::atomic<int64_t>>(0);

  bool valid_at(int64_t unix_ms) const { return !revoked_ms && (!expires_ms || *expires_ms > unix_ms); }
};

// All keys at one time: those of the settings first, then by age, revoked and expired ones too.
struct AccessKeys {
  // Requests need a key: there is one, or was one in the store. Without, everybody may do everything.
  bool required = false;
  std::vector<std::shared_ptr<const AccessKey>> keys;
};

}  // namespace engram
