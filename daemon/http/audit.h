// SPDX-License-Identifier: Apache-2.0
// What the audit log says of a request and its answer. Pure functions; any thread.
#pragma once

#include <string_view>

#include "access/audit_entry.h"
#include "http/message.h"

namespace engram {

// It is recorded whatever becomes of it: routes of the scopes edit and operate that change something.
bool IsAudited(const Request& request);

// A key was missing, wrong or without the scope.
bool IsDenied(const Request& request, int status);

// `route`: the pattern that the router found. `body`: of the answer. The target is what the route's "*" stands for,
// else the name, model, path or other thing that the request's body names first; the detail is the error's message,
// else some of the answer's numbers and names.
AuditEntry MakeAuditEntry(const Request& request, std::string_view route, int status, std::string_view body);

}  // namespace engram
