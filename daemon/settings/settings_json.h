// SPDX-License-Identifier: Apache-2.0
// Settings as JSON, in the shape of the YAML file, for whoever asks a running daemon. Pure function; any thread.
#pragma once

#include <string>

#include "settings/settings.h"

namespace engram {

// A JSON object with every key of config/engramd.yaml. "***" stands for the keys' digests and for plugin options whose
// names speak of a password, secret, token or credential.
std::string SettingsJson(const Settings& settings);

}  // namespace engram
