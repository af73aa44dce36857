// SPDX-License-Identifier: Apache-2.0
// What the audit log holds. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace engram {

struct AuditEntry {
  int64_t id = 0;  // ascending; given by the log
  int64_t unix_ms = 0;
  std::string key_id;    // empty: no key
  std::string key_name;  // likewise
  std::string address;   // of the client; empty for offline tools
  std::string action;    // method and route, such as "DELETE /admin/v1/keys/*"
  std::string target;    // what it was done to; may be empty
  int status = 0;        // of the answer; 499: the client left before it; 0: no answer over HTTP
  std::string detail;    // short; may be empty
};

// Newest first.
struct AuditQuery {
  uint64_t limit = 100;
  std::optional<int64_t> before;  // ids below this
  std::string key;                // id or name; empty: any
  std::string action;             // a part of the action, of whatever case; empty: any
};

struct AuditPage {
  std::vector<AuditEntry> entries;
  std::optional<int64_t> next_before;  // for the next page; none: this was the last
};

// What is kept. Failed authentications take at most a tenth of the entries.
struct AuditRetention {
  uint64_t max_entries = 100'000;
  int64_t max_age_ms = 0;  // 0: whatever their age
  bool operator==(const AuditRetention&) const = default;
};

}  // namespace engram
