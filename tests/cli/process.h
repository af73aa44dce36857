// SPDX-License-Identifier: Apache-2.0
// Process: a program under test with its output collected, and Exchange(): one HTTP request as bytes. Waiting functions
// give up after kPatience, which only a defect reaches.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace engram {

inline constexpr std::chrono::seconds kPatience{120};

class Process {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;
  // `input` becomes its standard input. The first argument is the program's path.
  explicit Process(std::vector<std::string> arguments, const Environment& environment = {}, std::string input = {});
  // Kills what still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number);
  // Reads its output until standard error holds `text`; false when it ends or patience does before.
  bool WaitForError(const std::string& text);
  // Reads all output and returns the exit status; 128 + signal when killed, -1 when out of patience.
  int Wait();
  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  bool ReadSome(std::chrono::steady_clock::time_point deadline);
  pid_t pid_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::string out_;
  std::string err_;
  int status_ = -1;
};

// Runs a program to its end.
struct Outcome {
  int status = -1;
  std::string out;
  std::string err;
};
Outcome RunProgram(std::vector<std::string> arguments, const Process::Environment& environment = {},
                   std::string input = {});

// A connection to 127.0.0.1:`port`.
class Connection {
 public:
  explicit Connection(int port);
  ~Connection();
  void Send(const std::string& bytes);
  // Reads until the received bytes hold `text` (empty: until the peer closes). False when that does not happen.
  bool ReadUntil(const std::string& text);
  const std::string& received() const { return received_; }

 private:
  int fd_ = -1;
  std::string received_;
};

// The bytes of a request that asks to close afterwards; POST with a body, else GET.
std::string RequestBytes(const std::string& target, const std::string& body = {});
// Status line, header and body as they came; empty when nobody listens.
std::string Exchange(int port, const std::string& target, const std::string& body = {});

}  // namespace engram
