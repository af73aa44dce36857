// SPDX-License-Identifier: Apache-2.0
// Asking a daemon and taking its JSON answers apart. One thread.
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "engramctl/arguments.h"
#include "engramctl/commands.h"
#include "engramctl/http_client.h"
#include "engramctl/json_answer.h"

namespace engram {

// The answer's JSON object or error, as JsonAnswer(), and in `raw` its text as it came.
Result<boost::json::object> Ask(const HttpClient& client, const HttpCall& call, std::string* raw = nullptr);

// The member as people read it: a string as it is, anything else as JSON; "" for null or none.
std::string TextAt(const boost::json::object& object, std::string_view key);
// A time since 1970 as 2026-03-04 05:06:07Z; "" for none. In milliseconds; with a
// `per_second` of 1 in seconds.
std::string TimeAt(const boost::json::object& object, std::string_view key, int64_t per_second = 1000);
// A number with four digits.
std::string ShortNumber(const boost::json::object& object, std::string_view key);

// `text` for a query or a path segment.
std::string PercentEncode(std::string_view text);
// "?model=NAME" where the option was given, else "".
std::string ModelQuery(const Arguments& arguments);
// The same for a target that has a query already.
std::string ModelParameter(const Arguments& arguments);

// What a command that asks once does: connects, asks what `call` says, prints the answer as it came with --json, else
// as `show` does. Errors of `call` are wrong usage.
int AskAndShow(const Arguments& arguments, const std::function<Result<HttpCall>()>& call,
               const std::function<void(const boost::json::object&)>& show);

}  // namespace engram
