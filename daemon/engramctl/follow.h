// SPDX-License-Identifier: Apache-2.0
// Operations of the daemon. One thread.
#pragma once

#include <boost/json.hpp>
#include <cstdint>

#include "engramctl/commands.h"
#include "engramctl/http_client.h"

namespace engram {

// Prints each new stage to standard error and, at the end, the outcome: a line, or with --json the operation. The exit
// status tells whether it succeeded.
int FollowOperation(const HttpClient& client, uint64_t id, const Arguments& arguments);

// POSTs `request` to `target`, which starts an operation, and, unless --no-wait says otherwise, waits for its end.
int Operate(const Arguments& arguments, const char* target, const boost::json::object& request);

}  // namespace engram
