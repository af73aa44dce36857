// SPDX-License-Identifier: Apache-2.0
#include "http/key_limiter.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace engram {
namespace {

constexpr double kBucketSeconds = 10;

std::string Whole(double value) {
  return std::to_string(static_cast<int64_t>(value));
}

}  // namespace

void KeyLimiter::Bucket::Fill(Clock::time_point now) {
  if (now <= filled_at) return;
  level = std::min(capacity, level + per_s * std::chrono::duration<double>(now - filled_at).count());
  filled_at = now;
}

KeyLimiter::Bucket KeyLimiter::Full(double per_s, double least, Clock::time_point now) {
  const double capacity = std::max(least, per_s * kBucketSeconds);
  return {per_s, capacity, capacity, now};
}

ApiError KeyLimiter::TooMuch(const char* what, const char* code, double wait_s) {
  ApiError error(429, std::string("the API key has used up its ") + what + "; try again later", {}, code);
  error.headers.emplace_back("Retry-After", Whole(std::max(1.0, std::ceil(wait_s))));
  return error;
}

KeyLimiter::KeyLimiter(KeyLimits limits, Clock::time_point now)
    : requests_(Full(limits.requests_per_s, 1, now)), tokens_(Full(limits.tokens_per_s, 1, now)) {}

std::optional<ApiError> KeyLimiter::TakeRequest(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  if (requests_.per_s == 0) return std::nullopt;
  requests_.Fill(now);
  if (requests_.level < 1) return TooMuch("requests", "requests_exceeded", requests_.Wait(1));
  requests_.level -= 1;
  return std::nullopt;
}

std::optional<ApiError> KeyLimiter::CheckTokens(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  if (tokens_.per_s == 0) return std::nullopt;
  tokens_.Fill(now);
  if (tokens_.level < 1) return TooMuch("tokens", "tokens_exceeded", tokens_.Wait(1));
  return std::nullopt;
}

void KeyLimiter::CountTokens(uint64_t num_tokens, Clock::time_point now) {
  std::lock_guard lock(mutex_);
  if (tokens_.per_s == 0) return;
  tokens_.Fill(now);
  tokens_.level -= static_cast<double>(num_tokens);
}

HeaderList KeyLimiter::Headers(Clock::time_point now) {
  HeaderList headers;
  std::lock_guard lock(mutex_);
  const auto add = [&](Bucket& bucket, const std::string& what) {
    if (bucket.per_s == 0) return;
    bucket.Fill(now);
    headers.emplace_back("x-ratelimit-limit-" + what, Whole(bucket.capacity));
    headers.emplace_back("x-ratelimit-remaining-" + what, Whole(std::max(0.0, bucket.level)));
    headers.emplace_back("x-ratelimit-reset-" + what, Whole(std::ceil(bucket.Wait(bucket.capacity))) + "s");
  };
  add(requests_, "requests");
  add(tokens_, "tokens");
  return headers;
}

}  // namespace engram
