// SPDX-License-Identifier: Apache-2.0
// Metrics: counters, gauges and histograms, and their text form for Prometheus (exposition format 0.0.4).
//
// A Registry hands out references that stay valid as long as it lives, or until Forget(); updating one is a relaxed
// atomic operation, from any thread. Values that live elsewhere are read by collectors when the text is made.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace engram {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double n) { value_.fetch_add(n, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  // `bounds`: upper limits of the buckets, ascending; a bucket for everything above is added.
  explicit Histogram(std::span<const double> bounds);
  void Observe(double value);
  struct Reading {
    std::vector<double> bounds;        // [n]
    std::vector<uint64_t> cumulative;  // [n + 1], the last is the count
    double sum = 0;
  };
  Reading Read() const;

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> buckets_;  // [n + 1], not cumulative
  std::atomic<double> sum_{0};
};

// Bounds for durations in seconds, 1 ms to 60 s.
std::span<const double> DurationBounds();

enum class MetricType { kCounter, kGauge };

// Receives the values of one collector.
class MetricSink {
 public:
  virtual ~MetricSink() = default;
  // All values of one metric name must have the same type and help. Values of the same name and labels are added up,
  // within and over collectors: while a model is swapped, two engines report under one name.
  virtual void Value(std::string_view name, MetricType type, std::string_view help, const MetricLabels& labels,
                     double value) = 0;
  // A histogram's counts so far: bounds [n] ascending, counts [n + 1] not cumulative, the last what is above them all.
  // All of one name must have the same bounds.
  virtual void Distribution(std::string_view name, std::string_view help, const MetricLabels& labels,
                            std::span<const double> bounds, std::span<const uint64_t> counts, double sum) = 0;
};

class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  // The same name and labels give the same object. Names carry the prefix, unit and `_total` themselves. `help` is
  // taken from the first call for a name.
  Counter& GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram& GetHistogram(const std::string& name, const std::string& help, std::span<const double> bounds,
                          const MetricLabels& labels = {});

  // Calls `collect` for every Text(), on its thread, until the returned handle is destroyed; the handle's destructor
  // waits for a running call. It then calls `collect` a last time and keeps the counters, so that none goes backwards
  // when the part that counted is replaced; gauges disappear.
  [[nodiscard]] std::shared_ptr<void> AddCollector(std::function<void(MetricSink&)> collect);

  // Drops everything with that label: metrics, to which nobody may hold a reference any more, and kept counters.
  void Forget(const std::string& label, const std::string& value);

  // The exposition text, families sorted by name.
  std::string Text() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace engram
