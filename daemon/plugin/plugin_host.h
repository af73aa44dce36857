// SPDX-License-Identifier: Apache-2.0
// The host's side of the ABI: status codes, message buffers, options, and the callbacks a plugin gets.
#pragma once

#include <engram/host.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "plugin/plugin_library.h"

namespace engram {

class RowProvider;

// A code outside the ABI's list is kInternal. ENGRAM_OK has no ErrorCode: callers handle it first.
ErrorCode ErrorCodeFromStatus(engram_status status);
engram_status StatusFromErrorCode(ErrorCode code);

// Receives one plugin call's message. The plugin is told one byte less than there is, so that the text ends whatever it
// wrote into its part.
class PluginMessage {
 public:
  PluginMessage() : message_{text_.data(), text_.size() - 1} {}
  PluginMessage(const PluginMessage&) = delete;
  PluginMessage& operator=(const PluginMessage&) = delete;

  engram_message* out() { return &message_; }
  // The error of a call `function` of plugin `name` that returned `status`, which is not ENGRAM_OK.
  Error ToError(std::string_view name, std::string_view function, engram_status status) const;
  // OK, or as ToError().
  Status ToResult(std::string_view name, std::string_view function, engram_status status) const;

 private:
  std::array<char, 1024> text_{};  // zeroed: the plugin may write part of it and no NUL
  engram_message message_;
};

// Copies `text` into a message buffer that a plugin passed, cut to fit at a character border; nothing for NULL.
void WriteMessage(engram_message* message, std::string_view text);

// A plugin's string as text for people: at most `max_bytes`, valid UTF-8, no control characters.
std::string PluginText(const char* text, size_t max_bytes);

// `options` as the ABI wants them; valid as long as `options` is unchanged.
std::vector<engram_option> ToAbi(const PluginOptions& options);

// The engram_host of one opened instance. Lives at a fixed address and outlives the instance.
class PluginHost {
 public:
  // `rows` answers await_rows; nullptr for tiers, whose engram_host has no such function.
  PluginHost(std::string plugin_name, RowProvider* rows);
  PluginHost(const PluginHost&) = delete;
  PluginHost& operator=(const PluginHost&) = delete;
  const engram_host* abi() const { return &abi_; }

  // Around one step(), on its thread: until EndStep(), await_rows answers for `rows` (which may be NULL: for nothing)
  // and layers below `num_layers`. EndStep() returns the first error that await_rows gave, if any.
  void BeginStep(engram_batch_rows* rows, uint32_t num_layers);
  std::optional<Error> EndStep();

 private:
  static void Log(void* context, engram_log_level level, const char* message);
  static engram_status AwaitRows(void* context, engram_batch_rows* rows, uint32_t layer, engram_row_view* view,
                                 engram_message* message);
  Result<engram_row_view> Await(engram_batch_rows* rows, uint32_t layer);

  engram_host abi_;
  std::string plugin_name_;
  RowProvider* rows_;
  engram_batch_rows* step_rows_ = nullptr;  // these three: the engine thread's
  uint32_t step_layers_ = 0;
  std::optional<Error> step_error_;
};

}  // namespace engram
