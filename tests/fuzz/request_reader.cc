// SPDX-License-Identifier: Apache-2.0
// The bytes of a connection as requests. Two choices: how large the pieces are that arrive, and what bodies may have.
// The requests must not depend on the pieces.
#include "http/request_reader.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"

namespace engram {
namespace {

struct Reading {
  std::vector<std::string> requests;
  bool failed = false;
};

std::string Summary(const Request& request) {
  std::string text = request.method + " " + request.target + " " + request.path + " " +
                     std::to_string(request.keep_alive) + std::to_string(request.http_1_0) +
                     std::to_string(request.has_body) + "\n";
  for (const auto& [name, value] : request.headers) text += name + ": " + value + "\n";
  return text + "\n" + request.body;
}

Reading ReadAll(std::string_view bytes, size_t piece, uint64_t max_body_bytes) {
  RequestReader reader(2048, max_body_bytes);
  Reading reading;
  for (;;) {
    const RequestReader::State before = reader.state();
    const RequestReader::State state = reader.Advance();
    if (state == RequestReader::State::kFailed) {
      FUZZ_CHECK(reader.error().status >= 400 && !reader.error().message.empty());
      reading.failed = true;
      return reading;
    }
    if (state == RequestReader::State::kComplete) {
      FUZZ_CHECK(reader.request().body.size() <= max_body_bytes);
      reading.requests.push_back(Summary(reader.request()));
      reader.Next();
      continue;
    }
    if (state == RequestReader::State::kBody && before == RequestReader::State::kHeader) {
      FUZZ_CHECK(reader.request().has_body);
      continue;
    }
    if (bytes.empty()) return reading;
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
  const Reading whole = ReadAll(input.Rest(), 1u << 16, max_body_bytes);
  const Reading pieces = ReadAll(input.Rest(), piece, max_body_bytes);
  FUZZ_CHECK(whole.requests == pieces.requests);
  FUZZ_CHECK(whole.failed == pieces.failed);
}

}  // namespace engram
