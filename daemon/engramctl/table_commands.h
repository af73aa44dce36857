// SPDX-License-Identifier: Apache-2.0
// The parts of `engramctl table`. Each returns the exit status, as in commands.h. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "engramctl/commands.h"

namespace engram {

int TablePack(const Arguments& arguments);                              // table_pack.cc
int TableSynth(const Arguments& arguments);                             // table_pack.cc
int TableUnpack(const Arguments& arguments, const std::string& file);   // table_unpack.cc
int TableVerify(const Arguments& arguments, const std::string& file);   // table_check.cc
int TableInspect(const Arguments& arguments, const std::string& file);  // table_check.cc

// A progress bar on standard error, if that is a terminal; else nothing. The line is wiped at the end.
class Progress {
 public:
  // `total_bytes` of work, called `what`.
  Progress(std::string what, uint64_t total_bytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Cheap: draws ten times a second at most.
  void Show(uint64_t done_bytes);
  // Makes room for another line.
  void Wipe();

 private:
  using Clock = std::chrono::steady_clock;
  const std::string what_;
  const uint64_t total_bytes_;
  const bool terminal_;
  const Clock::time_point start_;
  Clock::time_point drawn_;
};

}  // namespace engram
