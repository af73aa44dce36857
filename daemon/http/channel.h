// SPDX-License-Identifier: Apache-2.0
// Channel: a conversation over a WebSocket as handlers see it: text messages in, text messages out. No sockets here.
//
// Threads: Receive() on any thread, one call at a time; everything else on the session's strand, also while Receive()
// runs. Destroyed on any thread, after which nothing is called.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace engram {

// Why a WebSocket is closed; codes as RFC 6455, 7.4.1 has them.
struct ChannelClose {
  uint16_t code = 1000;
  std::string reason;  // at most 123 bytes of UTF-8
};

class Channel {
 public:
  virtual ~Channel() = default;

  // Once, first. `wake` is called from any thread when Poll() may have something, never after the destructor has
  // returned.
  virtual void Start(std::function<void()> wake) = 0;

  // What is left to be done with a message, on the strand.
  using Action = std::function<void()>;
  // The costly part of a message: reading it. `message` is valid UTF-8.
  virtual Action Receive(std::string message) = 0;

  struct Step {
    std::vector<std::string> messages;
    std::optional<ChannelClose> close;  // after the messages; nothing comes after it
  };
  // What is ready to be sent; never blocks. It is asked again only when all of it has been written, so what waits is
  // bounded by the channel.
  virtual Step Poll() = 0;
  // Too many answers wait to be sent: nothing more is to be received.
  virtual bool congested() const = 0;

  // Takes no more work and closes when what runs has ended.
  virtual void Drain() = 0;
};

}  // namespace engram
