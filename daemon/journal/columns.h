// SPDX-License-Identifier: Apache-2.0
// Columns of the journal's tables in their types.
#pragma once

#include <algorithm>
#include <string>

#include "core/sha256.h"
#include "journal/database.h"

namespace engram {

// kDataLoss for anything but 32 bytes.
inline Result<Sha256Digest> DigestColumn(const Database& database, const Statement& row, int column) {
  const std::span<const uint8_t> bytes = row.Blob(column);
  Sha256Digest digest{};
  if (bytes.size() != digest.size())
    return DataLoss(database.place() + ": a digest of " + std::to_string(bytes.size()) + " bytes");
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

inline uint64_t NumberColumn(const Statement& row, int column) {
  return static_cast<uint64_t>(row.Int(column));
}

}  // namespace engram
