// SPDX-License-Identifier: Apache-2.0
// TerminalProcess: a program on a terminal of its own. Waiting functions give up after kPatience.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "process.h"

namespace engram {

class TerminalProcess {
 public:
  TerminalProcess(std::vector<std::string> arguments, unsigned short columns,
                  const Process::Environment& environment = {});
  // Kills what still runs.
  ~TerminalProcess();
  TerminalProcess(const TerminalProcess&) = delete;
  TerminalProcess& operator=(const TerminalProcess&) = delete;

  // As if typed: "\x03" is Ctrl-C.
  void Type(const std::string& keys);
  // Reads until what it has shown holds `text`; false when that does not happen.
  bool ReadUntil(const std::string& text);
  // Reads all and returns the exit status; 128 + signal when killed, -1 when out of patience.
  int Wait();
  const std::string& shown() const { return shown_; }

 private:
  bool ReadSome(std::chrono::steady_clock::time_point deadline);
  pid_t pid_ = -1;
  int fd_ = -1;
  bool ended_ = false;
  std::string shown_;
};

}  // namespace engram
