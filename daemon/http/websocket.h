// SPDX-License-Identifier: Apache-2.0
// WebSocket: a connection after its upgrade request. Speaks RFC 6455 with permessage-deflate, hands whole text messages
// to a Channel and writes what the channel has for the peer. A peer that does not answer pings, or lets a write stand
// for write_timeout, is cut off.
//
// Threads: everything runs on the connection's strand; large messages are read by the channel on a work thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>

#include "http/channel.h"
#include "http/connection.h"
#include "http/message.h"
#include "http/session.h"

namespace engram {

class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // Answers the upgrade request, calls `on_open`, and converses until the connection is closed. The channel is gone
  // when this ends. The close code, ours or the peer's; 1006 where there was none; 0 if it was never opened.
  virtual boost::asio::awaitable<uint16_t> Run(std::function<void()> on_open) = 0;
  virtual void Drain() = 0;
  // Cancels what the channel runs and closes the connection with this code, after the message that is being sent.
  virtual void End(ChannelClose close) = 0;
  // Closes the connection now, without a close code.
  virtual void Close() = 0;
};

// `request` has passed CheckUpgrade(). `connection` must have a strand as its executor.
std::shared_ptr<WebSocket> NewWebSocket(Connection connection, const Request& request, std::unique_ptr<Channel> channel,
                                        const SessionEnvironment& environment);

}  // namespace engram
