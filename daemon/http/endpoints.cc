// SPDX-License-Identifier: Apache-2.0
#include "http/endpoints.h"

namespace engram {

void AddEndpoints(Router& router, const EndpointEnvironment& environment) {
  AddHealthEndpoints(router, environment);
  AddModelEndpoints(router, environment);
  AddTokenizeEndpoints(router, environment);
  AddGenerationEndpoints(router, environment);
  AddGateEndpoints(router, environment);
  AddInspectEndpoints(router, environment);
  AddCommitEndpoints(router, environment);
  AddRowEndpoints(router, environment);
  AddOverlayEndpoints(router, environment);
  AddTableEndpoints(router, environment);
  AddJobEndpoints(router, environment);
  AddEventEndpoint(router, environment.events);
  AddOpenApiEndpoint(router);
  AddDashboardEndpoints(router, environment);
  AddAdminStatusEndpoints(router, environment);
  AddAdminModelEndpoints(router, environment);
  AddAdminOperationEndpoints(router, environment);
  AddTierEndpoints(router, environment);
  AddKeyEndpoints(router, environment);
}

}  // namespace engram
