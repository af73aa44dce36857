// SPDX-License-Identifier: Apache-2.0
// TableMemory: the anonymous mapping one table lives in. Errors are PluginError.
#pragma once

#include <engram/tier.h>

#include <cstddef>
#include <cstdint>

namespace engram::tier_dram {

class TableMemory {
 public:
  // Maps num_bytes, zeroed, aligned to 2 MiB. ENGRAM_RESOURCE_EXHAUSTED, with both sizes, when the machine has less
  // memory available: an over-committed mapping would be granted and the process killed while filling it.
  TableMemory(uint64_t num_bytes, bool huge_pages);
  ~TableMemory();
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  uint8_t* data() const { return data_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  bool huge_pages() const { return huge_pages_; }  // asked for and granted

  // Fills rows uint8 [num_rows][row_bytes] from `source` on `num_threads` threads, the caller's among them. Returns
  // when all are done; on error the first error is thrown.
  void Fill(const engram_row_source& source, uint64_t num_rows, uint32_t row_bytes, uint32_t num_threads);

  // From here on a stray write into the table faults.
  void Seal();

 private:
  void* mapping_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  uint8_t* data_ = nullptr;
  bool huge_pages_ = false;
};

}  // namespace engram::tier_dram
