// SPDX-License-Identifier: Apache-2.0
// The process-wide logger: the one mutable global. spdlog underneath; callers use its macros-free functions:
//   log::Info("loaded {} in {} ms", name, ms);
// Thread-safe. Before Configure() lines go to stderr as text at level info.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "core/result.h"

namespace engram::log {

enum class Format { kText, kJson };

// Sends lines to stderr in `format` at `level` ("debug", "info", "warning", "error"). Called once at start.
Status Configure(const std::string& level, Format format);

template <typename... Args>
void Debug(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <typename... Args>
void Info(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void Warning(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void Error(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace engram::log
