// SPDX-License-Identifier: Apache-2.0
#include "http/http_metrics.h"

#include <engram/abi.h>
#include <spdlog/fmt/fmt.h>

namespace engram {

HttpMetrics::HttpMetrics(MetricRegistry& registry, const std::string& version)
    : registry_(registry),
      connections_(registry.GetGauge("engramd_http_connections", "Open connections.")),
      websockets_(registry.GetGauge("engramd_websocket_connections", "Open connections that are WebSockets.")),
      refused_connections_(registry.GetCounter("engramd_http_refused_connections_total",
                                               "Connections closed because max_connections were open.")) {
  registry
      .GetGauge("engramd_build_info", "The running build; always 1.",
                {{"version", version}, {"plugin_abi", fmt::format("{}.{}", ENGRAM_ABI_MAJOR, ENGRAM_ABI_MINOR)}})
      .Set(1);
}

void HttpMetrics::CountRequest(std::string_view route, std::string_view method, int status, double seconds) {
  std::string_view label = "other";
  for (std::string_view known : {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
    if (method == known) label = known;
  registry_
      .GetCounter("engramd_http_requests_total", "Requests answered, by route, method and status code.",
                  {{"route", std::string(route)}, {"method", std::string(label)}, {"code", std::to_string(status)}})
      .Add();
  registry_
      .GetHistogram("engramd_http_request_duration_seconds", "From a request's header to the end of its answer.",
                    DurationBounds(), {{"route", std::string(route)}})
      .Observe(seconds);
}

}  // namespace engram
