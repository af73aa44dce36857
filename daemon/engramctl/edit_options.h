// SPDX-License-Identifier: Apache-2.0
// Row edits from the command line or a file. One thread.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>

#include "core/result.h"
#include "engramctl/arguments.h"

namespace engram {

// The edit that --layer, --row or --ngram, --order, --heads, --mode, --values describe; nothing without --layer.
Result<std::optional<boost::json::object>> EditOf(const Arguments& arguments);
// The JSON of a file ("-": standard input).
Result<boost::json::value> ReadJsonFile(const std::string& path);
// Numbers such as 1,2.5,-3e-2 for `option`.
Result<boost::json::array> NumberList(const std::string& option, const std::string& text);

}  // namespace engram
