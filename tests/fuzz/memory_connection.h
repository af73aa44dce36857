// SPDX-License-Identifier: Apache-2.0
// MemoryConnection: a session of the server whose peer is this thread: all of it, its I/O and work threads' tasks
// included, runs in Send() and Finish(). One thread.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "core/file.h"
#include "fuzz/served_world.h"
#include "http/session.h"

namespace engram {

class MemoryConnection {
 public:
  explicit MemoryConnection(ServedWorld& world);
  // Aborts when the session does not end.
  ~MemoryConnection();

  // Sends, and lets the session work until it waits for more, or is closed.
  void Send(std::string_view bytes);
  // What the session has sent so far.
  const std::string& received() const { return received_; }
  bool closed() const { return closed_; }

 private:
  // Whether anything was done.
  bool Step();
  void RunUntilQuiet();

  // What all connections share. Engines may still wake a session that has just ended, so this one never does.
  struct Loop {
    std::atomic<uint32_t> uploads{0};
    boost::asio::io_context work;
    boost::asio::io_context io;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_work{work.get_executor()};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_io{io.get_executor()};
  };
  static Loop& TheLoop();

  Loop& loop_ = TheLoop();
  UniqueFd peer_;
  std::weak_ptr<Session> session_;
  std::string received_;
  bool closed_ = false;
};

}  // namespace engram
