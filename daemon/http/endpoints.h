// SPDX-License-Identifier: Apache-2.0
// Every route of the server. Handlers are free for any thread.
#pragma once

#include <atomic>

#include "core/metrics.h"
#include "core/published.h"
#include "http/admin.h"
#include "http/event_hub.h"
#include "http/router.h"
#include "http/server.h"
#include "http/static_files.h"
#include "serve/engine_directory.h"

namespace engram {

// What handlers share; copied into them, what it refers to outlives the router.
struct EndpointEnvironment {
  const HttpOptions& options;
  const EngineDirectory& engines;
  MetricRegistry& metrics;
  const std::atomic<bool>& draining;
  const Published<StaticFiles>& dashboard;
  const AdminServices& admin;
  EventHub& events;
};

void AddEndpoints(Router& router, const EndpointEnvironment& environment);

// By group, called by AddEndpoints().
void AddHealthEndpoints(Router& router, const EndpointEnvironment& environment);      // health.cc
void AddModelEndpoints(Router& router, const EndpointEnvironment& environment);       // models.cc
void AddTokenizeEndpoints(Router& router, const EndpointEnvironment& environment);    // tokenize.cc
void AddGenerationEndpoints(Router& router, const EndpointEnvironment& environment);  // generate.cc
void AddGateEndpoints(Router& router, const EndpointEnvironment& environment);        // admin_gates.cc
void AddInspectEndpoints(Router& router, const EndpointEnvironment& environment);     // admin_inspect.cc
void AddEventEndpoint(Router& router, EventHub& events);                              // events.cc
void AddOpenApiEndpoint(Router& router);                                              // openapi.cc
void AddDashboardEndpoints(Router& router, const EndpointEnvironment& environment);   // dashboard.cc
// Those of services that are there, by admin.h.
void AddCommitEndpoints(Router& router, const EndpointEnvironment& environment);          // admin_commits.cc
void AddRowEndpoints(Router& router, const EndpointEnvironment& environment);             // admin_rows.cc
void AddOverlayEndpoints(Router& router, const EndpointEnvironment& environment);         // admin_overlays.cc
void AddTableEndpoints(Router& router, const EndpointEnvironment& environment);           // admin_tables.cc
void AddJobEndpoints(Router& router, const EndpointEnvironment& environment);             // admin_jobs.cc
void AddAdminStatusEndpoints(Router& router, const EndpointEnvironment& environment);     // admin_status.cc
void AddAdminModelEndpoints(Router& router, const EndpointEnvironment& environment);      // admin_models.cc
void AddAdminOperationEndpoints(Router& router, const EndpointEnvironment& environment);  // admin_operations.cc
void AddKeyEndpoints(Router& router, const EndpointEnvironment& environment);             // admin_keys.cc
void AddTierEndpoints(Router& router, const EndpointEnvironment& environment);        // admin_tiers.cc

}  // namespace engram
