// SPDX-License-Identifier: Apache-2.0
// GateStatistics: what the memory gates of a model did: per layer and stream how many and how open, since the start and
// in a sliding window; which n-grams they opened for; which n-gram orders the memory vectors came from. All of it over
// all requests, and on demand also over those of one API key or with one overlay.
//
// Between two steps a backbone's weights push the sketches out of the caches, so Record() only puts tokens down, and
// every kCountEvery of them are counted at once; whoever asks has what waits counted first.
//
// Record() and RecordRows(): the engine thread. Everything else: any thread. A mutex is held for the duration of one
// counting or one report.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "serve/top_ngrams.h"

namespace engram {

struct GateStatisticsOptions {
  bool enabled = true;
  bool keep_text = true;      // false: of n-grams only hashes are held and shown
  uint32_t top_ngrams = 256;  // held per layer and order
  std::chrono::seconds window{300};
  bool operator==(const GateStatisticsOptions&) const = default;
};

// Requests that are also counted by themselves.
struct GateGroup {
  enum class Kind { kAll, kKey, kOverlay };
  Kind kind = Kind::kAll;
  std::string name;  // the API key's or overlay's; empty for kAll
  bool operator==(const GateGroup&) const = default;
};

// The gates of consecutive tokens of one sequence in a batch.
struct GateSlice {
  // The slice's tokens, and before them as many of the sequence's earlier tokens as there are, up to max_order - 1.
  std::span<const int32_t> context;
  uint32_t num_tokens = 0;   // of the slice
  uint32_t first_token = 0;  // index in the batch
  std::string_view key;      // the API key's name
  std::vector<std::string_view> overlays;
};

struct GateSummary {
  static constexpr uint32_t kBuckets = 50;  // equal parts of [0, 1]
  uint64_t count = 0;
  double mean = 0;
  double p05 = 0, p50 = 0, p95 = 0, p99 = 0;  // interpolated within a bucket
  std::array<uint64_t, kBuckets> histogram{};
};

struct GateReport {
  struct Ngram {
    uint32_t order = 0;
    TopNgrams::Entry entry;  // weight: sum of the mean gate over streams; for counts: times seen
  };
  struct OrderShare {
    uint32_t order = 0;
    double share = 0;  // mean part of the memory vector's squared norm that rows of this order hold
  };
  struct Layer {
    uint32_t layer = 0;                // model layer number
    std::vector<GateSummary> streams;  // [streams] since `since_unix_ms`
    std::vector<GateSummary> window;   // [streams] in the last `window_s`
    std::vector<Ngram> top_by_mass;    // heaviest first, orders mixed
    std::vector<OrderShare> orders;
    uint64_t order_samples = 0;  // memory vectors looked at for `orders`
  };
  GateGroup group;
  int64_t since_unix_ms = 0;
  uint64_t window_s = 0;
  uint64_t tokens = 0;
  std::vector<Layer> layers;
  std::vector<Ngram> top_by_count;
};

class GateStatistics {
 public:
  static constexpr size_t kMaxGroups = 32;    // beside all requests; a bit of 64 each
  static constexpr size_t kCountEvery = 512;  // tokens: a burst of 0.2 ms

  // `layers` ascending model layer numbers; n-grams of orders 2 to `max_order` (cut to kMaxTrackedOrder).
  GateStatistics(GateStatisticsOptions options, std::vector<uint32_t> layers, uint32_t num_streams, uint32_t max_order);
  ~GateStatistics();

  const GateStatisticsOptions& options() const { return options_; }
  uint32_t max_order() const { return max_order_; }

  // Whether tokens are to be counted: the off switch while serving. What was counted stays. Any thread.
  bool counting() const { return counting_.load(std::memory_order_relaxed); }
  void SetCounting(bool on) { counting_.store(on, std::memory_order_relaxed); }

  // `gates`: [layers][num_tokens][streams] of the whole batch.
  void Record(std::span<const GateSlice> slices, const float* gates, uint32_t num_tokens);
  // The squared norms of one token's rows at layers[layer]: [orders], orders ascending.
  void RecordRows(uint32_t layer, std::span<const double> squared_norms, const GateSlice& slice);

  // kNotFound for a group that is not counted; at most `top` n-grams per list.
  Result<GateReport> Report(const GateGroup& group, size_t top);
  // Counts of all requests since the start or the last Reset(), without the n-grams: the least costly look.
  struct Total {
    uint32_t layer = 0;  // model layer number
    uint32_t stream = 0;
    double sum = 0;
    std::array<uint64_t, GateSummary::kBuckets> histogram{};
  };
  std::vector<Total> Totals();
  std::vector<GateGroup> Groups() const;
  // Starts to count a group by itself. kResourceExhausted beyond kMaxGroups; already counted: nothing happens.
  Status Track(const GateGroup& group);
  Status Untrack(const GateGroup& group);  // kNotFound; kInvalidArgument for kAll
  // Goes on as those of another model did: pauses where it is paused, and counts the groups that it counts. The counts
  // themselves are that model's. Errors of Track().
  Status Follow(const GateStatistics& other);
  void Reset();  // of all groups

 private:
  struct Counts;
  using SteadyTime = std::chrono::steady_clock::time_point;
  // Slices that were recorded and are not counted yet.
  struct Waiting {
    struct Slice {
      uint32_t num_context = 0;  // tokens
      uint32_t num_tokens = 0;
      uint64_t groups = 0;  // bit i: counts in groups_[i]
    };
    std::vector<Slice> slices;
    std::vector<int32_t> contexts;  // of all slices, one behind the other
    std::vector<float> gates;       // [tokens][layers][streams]
    size_t num_tokens = 0;
  };
  std::unique_ptr<Counts> MakeCounts(GateGroup group) const;
  bool Holds(const Counts& counts, const GateSlice& slice) const;
  // With mutex_ held.
  void Put(const GateSlice& slice, const float* gates, uint32_t num_tokens);
  void CountWaiting();
  void Count(Counts& counts, std::span<const int32_t> context, uint32_t num_tokens, const float* gates);
  void MoveWindow(SteadyTime now);
  Counts* Find(const GateGroup& group) const;

  const GateStatisticsOptions options_;
  const std::vector<uint32_t> layers_;
  const uint32_t num_streams_;
  const uint32_t max_order_;
  std::atomic<bool> counting_{true};
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<Counts>> groups_;  // the first is all requests
  Waiting waiting_;
  SteadyTime part_began_;  // of the window's current part
  size_t part_ = 0;
};

}  // namespace engram
