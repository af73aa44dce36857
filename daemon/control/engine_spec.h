// SPDX-License-Identifier: Apache-2.0
// EngineSpec: what one engine is made of, so that it can be made again with one part replaced. Plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace engram {

struct EngineSpec {
  std::string name;                                    // what clients call the model
  std::filesystem::path directory;                     // the model's
  std::string backbone_name;                           // as configured; what a swap of the backbone names
  std::filesystem::path backbone;                      // plugin file
  std::map<std::string, std::filesystem::path> tiers;  // plugin file by the tier's configured name
  std::map<uint32_t, std::filesystem::path> tables;    // packed table by model layer; the others: in `directory`
  bool operator==(const EngineSpec&) const = default;
};

// What an engine will take of the machine's memory, before it is made.
struct MemoryNeed {
  uint64_t weights_bytes = 0;
  uint64_t table_bytes = 0;  // what its tiers keep in memory
  uint64_t kv_bytes = 0;
  uint64_t total_bytes() const { return weights_bytes + table_bytes + kv_bytes; }
};

}  // namespace engram
