// SPDX-License-Identifier: Apache-2.0
// A key as /admin/v1/keys and engramctl show it. Pure functions.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>

#include "access/access_key.h"

namespace engram {

// Everything but digest and key.
boost::json::object KeyJson(const AccessKey& key);

// Milliseconds as Unix time in seconds, which fields that end in "_at" have; null for none and 0.
boost::json::value SecondsOrNull(const std::optional<int64_t>& unix_ms);

}  // namespace engram
