// SPDX-License-Identifier: Apache-2.0
// FromSdk: calls SDK code, which throws, and returns what it did as a Result. Any thread.
#pragma once

#include <engram/plugin_error.h>

#include <exception>
#include <new>
#include <string>

#include "core/result.h"
#include "plugin/plugin_host.h"

namespace engram {

// Runs `body`, which returns a Result; `what` names the activity in errors that name no place themselves.
template <typename Body>
auto FromSdk(const char* what, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const sdk::PluginError& error) {
    return Error{ErrorCodeFromStatus(error.status()), error.what(), {}};
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(std::string("out of memory ") + what);
  } catch (const std::exception& error) {
    return Internal(std::string(what) + ": " + error.what());
  }
}

}  // namespace engram
