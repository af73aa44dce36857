// SPDX-License-Identifier: Apache-2.0
// Settings in the terms of the rooms that act on them. Pure functions, any thread.
#pragma once

#include "http/server.h"
#include "serve/engine.h"
#include "settings/settings.h"

namespace engram {

// All but server_version, which is not a setting.
HttpOptions MakeHttpOptions(const Settings& settings);
EngineOptions MakeEngineOptions(const Settings& settings);

}  // namespace engram
