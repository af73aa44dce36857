// SPDX-License-Identifier: Apache-2.0
// The bytes of a connection as requests. Two choices: how large the pieces are that arrive, and what bodies may have.
// The requests must not depend on the pieces. When a faulty header is refused may: the parser says so of a line that is
// whole, and of one that is not it waits for the rest.
#include "http/request_reader.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"

namespace engram {
namespace {

using Requests = std::vector<std::string>;

std::string Summary(const Request& request) {
  std::string text = request.method + " " + request.target + " " + request.path + " " +
                     std::to_string(request.keep_alive) + std::to_string(request.http_1_0) +
                     std::to_string(request.has_body) + "\n";
  for (const auto& [name, value] : request.headers) text += name + ": " + value + "\n";
  return text + "\n" + request.body;
}

Requests ReadAll(std::string_view bytes, size_t piece, uint64_t max_body_bytes) {
  RequestReader reader(2048, max_body_bytes);
  Requests requests;
  for (;;) {
    const RequestReader::State before = reader.state();
    const RequestReader::State state = reader.Advance();
    if (state == RequestReader::State::kFailed) {
      FUZZ_CHECK(reader.error().status >= 400 && !reader.error().message.empty());
      return requests;
    }
    if (state == RequestReader::State::kComplete) {
      FUZZ_CHECK(reader.request().body.size() <= max_body_bytes);
      requests.push_back(Summary(reader.request()));
      reader.Next();
      continue;
    }
    if (state == RequestReader::State::kBody && before == RequestReader::State::kHeader) {
      FUZZ_CHECK(reader.request().has_body);
      continue;
    }
    if (bytes.empty()) return requests;
    const std::span<char> room = reader.Prepare(std::min(piece, bytes.size()));
    FUZZ_CHECK(!room.empty() && room.size() <= bytes.size());
    std::memcpy(room.data(), bytes.data(), room.size());
    reader.Commit(room.size());
    bytes.remove_prefix(room.size());
  }
}

}  // namespace

ENGRAM_FUZZ_TARGET(request_reader, bytes) {
  FuzzInput input(bytes);
  constexpr size_t kPieces[] = {1, 2, 3, 7, 64, 1000};
  const size_t piece = kPieces[input.Choice(6)];
  const uint64_t max_body_bytes = input.Choice(2) == 0 ? 1u << 20 : 16;
  FUZZ_CHECK(ReadAll(input.Rest(), 1u << 16, max_body_bytes) == ReadAll(input.Rest(), piece, max_body_bytes));
}

}  // namespace engram
