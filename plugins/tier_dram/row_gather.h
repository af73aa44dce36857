// SPDX-License-Identifier: Apache-2.0
// The copy loop of read(): rows picked out of a dense table far larger than every cache.
#pragma once

#include <cstdint>

namespace engram::tier_dram {

// Copies row ids[i] of table uint8 [num_rows][row_bytes] to dst + i * dst_stride, for all i < num_ids. Returns num_ids,
// or the index of the first id that is not below num_rows (rows before it have been copied). Any thread.
using GatherFunction = uint32_t (*)(const uint8_t* table, uint64_t num_rows, uint32_t row_bytes, const uint64_t* ids,
                                    uint32_t num_ids, uint8_t* dst, uint64_t dst_stride);

// The loop for rows of this size.
GatherFunction GatherFor(uint32_t row_bytes);

}  // namespace engram::tier_dram
