// SPDX-License-Identifier: Apache-2.0
// Every route of the server. Handlers are free for any thread.
#pragma once

#include <atomic>

#include "core/metrics.h"
#include "http/router.h"
#include "http/server.h"
#include "serve/engine_directory.h"

namespace engram {

// What handlers share; copied into them, what it refers to outlives the router.
struct EndpointEnvironment {
  const HttpOptions& options;
  const EngineDirectory& engines;
  MetricRegistry& metrics;
  const std::atomic<bool>& draining;
};

void AddEndpoints(Router& router, const EndpointEnvironment& environment);

// By group, called by AddEndpoints().
void AddHealthEndpoints(Router& router, const EndpointEnvironment& environment);      // health.cc
void AddModelEndpoints(Router& router, const EndpointEnvironment& environment);       // models.cc
void AddTokenizeEndpoints(Router& router, const EndpointEnvironment& environment);    // tokenize.cc
void AddGenerationEndpoints(Router& router, const EndpointEnvironment& environment);  // generate.cc

}  // namespace engram
