// SPDX-License-Identifier: Apache-2.0
// TableMemory: the anonymous mapping one table lives in. Errors are PluginError.
#pragma once

#include <engram/tier.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engram::tier_dram {

struct MemoryOptions {
  bool huge_pages = true;
  bool interleave = false;  // over the machine's NUMA nodes, page by page
};

// The numbers of a list such as "0-2,5", as /sys/devices/system/node/online has it; empty for anything else.
std::vector<uint32_t> ParseNodeList(std::string_view text);

class TableMemory {
 public:
  // Maps num_bytes, zeroed, aligned to 2 MiB. Advice the kernel does not take is no error. ENGRAM_RESOURCE_EXHAUSTED,
  // with both sizes, when the machine has less memory available: an over-committed mapping would be granted and the
  // process killed while filling it.
  TableMemory(uint64_t num_bytes, const MemoryOptions& options);
  ~TableMemory();
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  uint8_t* data() const { return data_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  // For the log: "huge pages on", and over how many nodes where interleaving was asked for.
  std::string Description() const;

  // Fills rows uint8 [num_rows][row_bytes] from `source` on `num_threads` threads, the caller's among them. Returns
  // when all are done; on error the first error is thrown.
  void Fill(const engram_row_source& source, uint64_t num_rows, uint32_t row_bytes, uint32_t num_threads);

  // From here on a stray write into the table faults.
  void Seal();

 private:
  void* mapping_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  uint8_t* data_ = nullptr;
  bool huge_pages_ = false;  // asked for and granted
  bool interleave_ = false;  // asked for
  size_t num_nodes_ = 0;     // granted over so many; 0: not
};

}  // namespace engram::tier_dram
