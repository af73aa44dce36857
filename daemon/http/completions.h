// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions. Any thread.
#pragma once

#include "http/generation_reply.h"
#include "http/server.h"
#include "serve/engine_directory.h"

namespace engram {

Reply Completions(const HttpOptions& options, const EngineDirectory& engines, const Request& request);

}  // namespace engram
