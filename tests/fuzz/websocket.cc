// SPDX-License-Identifier: Apache-2.0
// What a client sends over a WebSocket. Choices: which one (0 generations, 1 events); 0 without compression, 1 with;
// 0 frames as they are, 1 a text message a line, 2 the same in fragments.
#include "http/websocket.h"

#include <string>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_connection.h"

namespace engram {
namespace {

constexpr std::string_view kUpgrade =
    " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
constexpr std::string_view kDeflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

// With a mask of zeros, which leaves the bytes as they are.
std::string Frame(std::string_view text, unsigned char opcode, bool last) {
  std::string frame;
  frame += static_cast<char>(opcode | (last ? 0x80 : 0));
  if (text.size() < 126) {
    frame += static_cast<char>(0x80 | text.size());
  } else {
    frame += static_cast<char>(0x80 | 126);
    frame += static_cast<char>(text.size() >> 8);
    frame += static_cast<char>(text.size());
  }
  return frame.append(4, '\0').append(text);
}

std::string Frames(FuzzInput& input, uint32_t kind) {
  std::string frames;
  while (!input.Rest().empty()) {
    const std::string_view line = input.Line().substr(0, 60'000);
    if (kind == 1) {
      frames += Frame(line, 1, true);
    } else {
      const size_t half = line.size() / 2;
      frames += Frame(line.substr(0, half), 1, false) + Frame("p", 9, true) + Frame(line.substr(half), 0, true);
    }
  }
  return frames;
}

}  // namespace

ENGRAM_FUZZ_TARGET(websocket, bytes) {
  FuzzInput input(bytes);
  const bool events = input.Choice(2) == 1;
  const bool deflate = input.Choice(2) == 1;
  const uint32_t kind = input.Choice(3);
  MemoryConnection connection(ServedWorld::Fresh());
  connection.Send(std::string(events ? "GET /admin/v1/events" : "GET /v1/stream") + std::string(kUpgrade) +
                  std::string(deflate ? kDeflate : "") + "\r\n");
  FUZZ_CHECK(connection.received().starts_with("HTTP/1.1 101 "));
  connection.Send(kind == 0 ? std::string(input.Rest()) : Frames(input, kind));
}

}  // namespace engram
