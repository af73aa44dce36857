// SPDX-License-Identifier: Apache-2.0
// HttpMetrics: what this room counts. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/metrics.h"

namespace engram {

class HttpMetrics {
 public:
  // `registry` must outlive this.
  HttpMetrics(MetricRegistry& registry, const std::string& version);
  // `route` is a Router::Label(); `method` as sent. Both become labels, so unknown methods are counted as "other".
  void CountRequest(std::string_view route, std::string_view method, int status, double seconds);
  Gauge& connections() { return connections_; }
  Gauge& websockets() { return websockets_; }
  Counter& refused_connections() { return refused_connections_; }

 private:
  MetricRegistry& registry_;
  Gauge& connections_;
  Gauge& websockets_;
  Counter& refused_connections_;
};

}  // namespace engram
