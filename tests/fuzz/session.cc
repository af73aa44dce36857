// SPDX-License-Identifier: Apache-2.0
// A connection: whatever bytes a client sends. Choice: 0 all at once; else in pieces of so many hundred bytes.
#include "http/session.h"

#include <algorithm>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_connection.h"

namespace engram {

ENGRAM_FUZZ_TARGET(session, bytes) {
  FuzzInput input(bytes);
  const uint32_t hundreds = input.Choice(4);
  MemoryConnection connection(ServedWorld::Fresh());
  std::string_view rest = input.Rest();
  while (!rest.empty() && !connection.closed()) {
    const size_t size = hundreds == 0 ? rest.size() : std::min<size_t>(hundreds * 100, rest.size());
    connection.Send(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  FUZZ_CHECK(connection.received().empty() || connection.received().starts_with("HTTP/1."));
  FUZZ_CHECK(connection.received().find("HTTP/1.1 500 Internal Server Error\r\n") == std::string::npos);
}

}  // namespace engram
