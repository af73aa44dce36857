// SPDX-License-Identifier: Apache-2.0
//
// Errors inside a C++ plugin, and the fence that turns them into the ABI's status and message at its edge.
#ifndef ENGRAM_CPP_PLUGIN_ERROR_H_
#define ENGRAM_CPP_PLUGIN_ERROR_H_

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "engram/status.h"

namespace engram::sdk {

// A failure with the status it crosses the ABI as. what() is one sentence that names the place.
class PluginError : public std::runtime_error {
 public:
  PluginError(engram_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  engram_status status() const { return status_; }

 private:
  engram_status status_;
};

// Copies `text` into the caller's buffer, cut to fit and NUL-terminated. `message` may be null.
inline void WriteMessage(engram_message* message, std::string_view text) noexcept {
  if (message == nullptr || message->text == nullptr || message->capacity == 0) return;
  const size_t num_bytes = std::min(text.size(), message->capacity - 1);
  std::memcpy(message->text, text.data(), num_bytes);
  message->text[num_bytes] = '\0';
}

// Runs `body` (returns void) and maps every exception to a status and a message; nothing escapes.
template <typename Body>
engram_status Fence(engram_message* message, Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return ENGRAM_OK;
  } catch (const PluginError& error) {
    WriteMessage(message, error.what());
    return error.status();
  } catch (const std::bad_alloc&) {
    WriteMessage(message, "out of memory");
    return ENGRAM_RESOURCE_EXHAUSTED;
  } catch (const std::exception& error) {
    WriteMessage(message, error.what());
    return ENGRAM_INTERNAL;
  } catch (...) {
    WriteMessage(message, "unknown exception");
    return ENGRAM_INTERNAL;
  }
}

}  // namespace engram::sdk

#endif  // ENGRAM_CPP_PLUGIN_ERROR_H_
