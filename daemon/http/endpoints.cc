// SPDX-License-Identifier: Apache-2.0
#include "http/endpoints.h"

namespace engram {

void AddEndpoints(Router& router, const EndpointEnvironment& environment) {
  AddHealthEndpoints(router, environment);
  AddModelEndpoints(router, environment);
  AddTokenizeEndpoints(router, environment);
  AddGenerationEndpoints(router, environment);
}

}  // namespace engram
