// SPDX-License-Identifier: Apache-2.0
// The compiler's 128-bit integers under names that -Wpedantic accepts.
#pragma once

namespace engram {

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

}  // namespace engram
