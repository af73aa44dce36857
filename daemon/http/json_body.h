// SPDX-License-Identifier: Apache-2.0
// Reads a request body as JSON, strictly. Pure function; any thread.
#pragma once

#include <boost/json/value.hpp>
#include <string_view>

#include "core/result.h"

namespace engram {

// The body's JSON object. kInvalidArgument, with the byte offset, for: bad syntax, anything after the value, a byte
// order mark, invalid UTF-8, lone surrogates, nesting deeper than 64, a key given twice in one object (the key is the
// error's field), numbers beyond double's range, and a value that is not an object.
Result<boost::json::object> ParseJsonObject(std::string_view body);

}  // namespace engram
