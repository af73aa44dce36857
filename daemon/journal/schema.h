// SPDX-License-Identifier: Apache-2.0
// The journal's tables and how older files become today's (docs/formats.md describes them).
#pragma once

#include <functional>
#include <string_view>

#include "core/result.h"
#include "journal/database.h"

namespace engram {

inline constexpr int kJournalApplicationId = 0x454e474a;  // "ENGJ"
inline constexpr int kJournalSchemaVersion = 3;

// Brings the database to kJournalSchemaVersion, each step in a transaction of its own. kFailedPrecondition for a file
// of a newer schema, kDataLoss for one that is no journal; both name the file. `up_to`: for tests, where to stop.
// `fault_point` may be empty.
Status MigrateJournal(Database& database, const std::function<void(std::string_view)>& fault_point,
                      int up_to = kJournalSchemaVersion);
// The checks alone, for a file that is only read: also an older schema is refused.
Status CheckJournalSchema(Database& database);

}  // namespace engram
