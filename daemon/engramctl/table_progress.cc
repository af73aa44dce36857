// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "engramctl/table_commands.h"

namespace engram {

Progress::Progress(std::string what, uint64_t total_bytes)
    : what_(std::move(what)),
      total_bytes_(std::max<uint64_t>(total_bytes, 1)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() {
  Wipe();
}

void Progress::Wipe() {
  if (terminal_) std::fputs("\r\033[K", stderr);
}

void Progress::Show(uint64_t done_bytes) {
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  constexpr int kWidth = 30;
  const double part = std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes_));
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const int filled = static_cast<int>(part * kWidth);
  std::fprintf(stderr, "\r\033[K%s [%s%s] %3.0f%%  %.1f of %.1f GB  %.2f GB/s", what_.c_str(),
               std::string(static_cast<size_t>(filled), '#').c_str(),
               std::string(static_cast<size_t>(kWidth - filled), ' ').c_str(), part * 100,
               static_cast<double>(done_bytes) / 1e9, static_cast<double>(total_bytes_) / 1e9,
               static_cast<double>(done_bytes) / 1e9 / seconds);
}

}  // namespace engram
