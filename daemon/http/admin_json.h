// SPDX-License-Identifier: Apache-2.0
// What the admin routes read and write alike. Pure functions; any thread.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <string>

#include "control/memory_events.h"
#include "control/operations.h"
#include "http/api_error.h"
#include "http/json_fields.h"
#include "http/router.h"

namespace engram {

// A whole JSON answer that is not to be cached.
Response JsonResponse(const boost::json::value& value, int status = 200);

// The same of JSON text without a line break at its end.
Response JsonTextResponse(int status, std::string text);

// As /admin/v1/operations shows it.
boost::json::object OperationJson(const Operation& operation);

// As the messages of /admin/v1/events have it.
std::string MemoryEventJson(const NumberedMemoryEvent& event);

// 202 {"operation": ID} with the operation's place as Location, or the error.
Response Accepted(const Result<uint64_t>& operation);

// A handler that reads the body as a JSON object; `answer` takes all its fields and checks JsonFields::Finish().
Handler JsonHandler(std::function<Response(JsonFields&)> answer);

// The field `name` as a SHA-256: 64 hexadecimal digits, made lower case; empty when absent.
std::string ReadSha256(JsonFields& fields, std::string_view name);

}  // namespace engram
