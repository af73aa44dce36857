// SPDX-License-Identifier: Apache-2.0
// JSON values as text for people and programs: like boost::json::serialize(), but with numbers as one writes them (1
// and 0.25, where that writes 1E0 and 2.5E-1). Pure function.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace engram {

std::string JsonText(const boost::json::value& value);

}  // namespace engram
