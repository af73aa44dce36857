// SPDX-License-Identifier: Apache-2.0
// What a daemon answered, as JSON. Pure functions.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"
#include "engramctl/http_client.h"

namespace engram {

// The answer's JSON object, or why there is none: its error, if the status is not 2xx.
Result<boost::json::object> JsonAnswer(Result<HttpAnswer> answer);
// The member `key` of an answer.
Result<boost::json::value> MemberOf(const Result<boost::json::object>& object, const char* key);

// Members for people to read, however wrong the answer is: text as it is, numbers and lists as JSON; "-" for what is
// missing or null.
std::string ShowMember(const boost::json::object& object, std::string_view key);
// A count of bytes with a unit, such as "1.4 MB"; "-" as above.
std::string ShowBytes(const boost::json::object& object, std::string_view key);
// The number `key`; 0 when there is none.
double NumberOf(const boost::json::object& object, std::string_view key);
// The number `key` as printf's `format` for a double has it; "-" as above.
std::string ShowNumber(const boost::json::object& object, std::string_view key, const char* format);
// A part of 1 as "12.3 %".
std::string Percent(double share, int digits = 1);
// The list `key`; empty when there is none.
const boost::json::array& ListOf(const boost::json::object& object, std::string_view key);
// The object `key`; empty when there is none.
const boost::json::object& ObjectOf(const boost::json::object& object, std::string_view key);

}  // namespace engram
