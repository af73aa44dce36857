// SPDX-License-Identifier: Apache-2.0
// Session: one connection. Reads requests, has the router answer them in order, writes the answers, and notices when
// the peer goes away while an answer is being made.
//
// Threads: everything runs on the session's strand; Start(), Drain(), Close() and CheckKey() may be called from any
// thread.
// Requests with large bodies are handled on the work threads, so that parsing them does not hold up other connections.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "http/connection.h"
#include "http/http_metrics.h"
#include "http/router.h"
#include "http/server.h"

namespace engram {

// What all sessions of a server share; outlives them.
struct SessionEnvironment {
  const HttpOptions& options;
  const Router& router;
  const Published<Authenticator>& authenticator;
  AccessStore* access;  // the audit log; null: none
  HttpMetrics& metrics;
  boost::asio::io_context& work;      // large requests are handled here, and those that may wait for a disk
  std::atomic<uint32_t>& uploads;     // bodies above max_body_bytes held now
  const std::atomic<bool>& draining;  // answers carry "Connection: close"
};

class Session {
 public:
  virtual ~Session() = default;
  // Begins to serve; the session keeps itself alive until its connection is closed, then calls `on_closed` (once, on
  // its strand).
  virtual void Start(std::function<void()> on_closed) = 0;
  // Answers 503 and closes.
  virtual void Refuse(std::function<void()> on_closed) = 0;
  // Closes the connection if no request is under way.
  virtual void Drain() = 0;
  // Closes the connection now; what it had running is cancelled.
  virtual void Close() = 0;
  // Keys have changed or one has expired: ends generations and WebSockets whose key may not do that any more.
  virtual void CheckKey() = 0;
};

// `connection` must have a strand as its executor.
std::shared_ptr<Session> NewSession(Connection connection, const SessionEnvironment& environment);

}  // namespace engram
