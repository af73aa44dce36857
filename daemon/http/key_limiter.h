// SPDX-License-Identifier: Apache-2.0
// KeyLimiter: how much one API key may ask for: requests and tokens per second, each a bucket that fills at that rate
// up to ten seconds' worth. Tokens are counted when they have been used, prompts when they are taken; a bucket may go
// below zero, and nothing new is taken until it is above again.
//
// Threads: any; nothing blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

#include "http/api_error.h"
#include "http/message.h"

namespace engram {

// 0: no limit.
struct KeyLimits {
  double requests_per_s = 0;
  double tokens_per_s = 0;
  bool operator==(const KeyLimits&) const = default;
};

class KeyLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  explicit KeyLimiter(KeyLimits limits, Clock::time_point now = Clock::now());

  // Counts a request, or says why it has to wait: 429 with Retry-After, code "requests_exceeded".
  std::optional<ApiError> TakeRequest(Clock::time_point now = Clock::now());
  // Whether more tokens may be asked for; else 429 with Retry-After, code "tokens_exceeded".
  std::optional<ApiError> CheckTokens(Clock::time_point now = Clock::now());
  void CountTokens(uint64_t num_tokens, Clock::time_point now = Clock::now());
  // x-ratelimit-limit-, -remaining- and -reset-, for what is limited; reset is the time to a full bucket in seconds.
  HeaderList Headers(Clock::time_point now = Clock::now());

 private:
  struct Bucket {
    double per_s = 0;
    double capacity = 0;
    double level = 0;
    Clock::time_point filled_at;
    void Fill(Clock::time_point now);
    // Seconds until the level is at least `wanted`.
    double Wait(double wanted) const { return level >= wanted ? 0 : (wanted - level) / per_s; }
  };
  static Bucket Full(double per_s, double least, Clock::time_point now);
  static ApiError TooMuch(const char* what, const char* code, double wait_s);

  std::mutex mutex_;
  Bucket requests_;  // guarded by mutex_
  Bucket tokens_;    // guarded by mutex_
};

}  // namespace engram
