// SPDX-License-Identifier: Apache-2.0
// EventHub: the daemon's state as a stream for dashboards: a snapshot first, then what has changed, once per Tick() for
// all subscribers. Made of the metrics, the operations and what happened to the memory; no rows are looked at.
// docs/websocket.md has the messages.
//
// Threads: any; Tick() by one at a time. A subscriber that falls behind gets a new snapshot instead of what it missed,
// so at most two messages wait for each.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "control/memory_events.h"
#include "control/operations.h"
#include "core/metrics.h"
#include "http/channel.h"

namespace engram {

// "name{labels}" as /metrics has it -> value. Histograms by their _sum and _count.
using MetricValues = std::map<std::string, double, std::less<>>;

// The values of an exposition text.
MetricValues ParseMetrics(std::string_view text);

// What happened between two readings, `seconds` apart, as a JSON object: rates and shares that a dashboard shows first.
std::string SummaryJson(const MetricValues& before, const MetricValues& now, double seconds);

class EventHub {
 public:
  // `operations` and `events` may be null. `state`: "ready", "loading" or "draining". All must outlive the hub, and it
  // its channels.
  EventHub(const MetricRegistry& metrics, const Operations* operations, const MemoryEvents* events,
           std::function<std::string_view()> state);

  std::unique_ptr<Channel> Subscribe();
  // Sends what has changed since the last time; nothing without subscribers.
  void Tick();

 private:
  class Subscriber;
  struct Reading {
    std::chrono::steady_clock::time_point time;
    MetricValues values;
    std::string state;
    std::vector<Operation> operations;        // newest first
    std::vector<NumberedMemoryEvent> events;  // oldest first
  };
  Reading Read() const;
  bool HasSubscribers() const;
  void Unsubscribe(const Subscriber* subscriber);
  std::string Snapshot() const;
  std::string Delta(const Reading& now) const;

  const MetricRegistry& metrics_;
  const Operations* const operations_;
  const MemoryEvents* const events_;
  const std::function<std::string_view()> state_;

  mutable std::mutex mutex_;
  std::vector<Subscriber*> subscribers_;  // guarded by mutex_, as all below
  Reading last_;
  std::string summary_ = "{}";
};

}  // namespace engram
