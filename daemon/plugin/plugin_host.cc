// SPDX-License-Identifier: Apache-2.0
#include "plugin/plugin_host.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "core/json_text.h"
#include "core/log.h"
#include "plugin/backbone.h"

namespace engram {

ErrorCode ErrorCodeFromStatus(engram_status status) {
  switch (status) {
    case ENGRAM_INVALID_ARGUMENT:
      return ErrorCode::kInvalidArgument;
    case ENGRAM_NOT_FOUND:
      return ErrorCode::kNotFound;
    case ENGRAM_FAILED_PRECONDITION:
      return ErrorCode::kFailedPrecondition;
    case ENGRAM_RESOURCE_EXHAUSTED:
      return ErrorCode::kResourceExhausted;
    case ENGRAM_UNAVAILABLE:
      return ErrorCode::kUnavailable;
    case ENGRAM_DEADLINE_EXCEEDED:
      return ErrorCode::kDeadlineExceeded;
    case ENGRAM_CANCELLED:
      return ErrorCode::kCancelled;
    case ENGRAM_DATA_LOSS:
      return ErrorCode::kDataLoss;
    case ENGRAM_UNSUPPORTED:
      return ErrorCode::kUnsupported;
    case ENGRAM_IO:
      return ErrorCode::kIo;
    default:
      return ErrorCode::kInternal;
  }
}

engram_status StatusFromErrorCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return ENGRAM_INVALID_ARGUMENT;
    case ErrorCode::kNotFound:
      return ENGRAM_NOT_FOUND;
    case ErrorCode::kFailedPrecondition:
      return ENGRAM_FAILED_PRECONDITION;
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kOutOfSpace:
      return ENGRAM_RESOURCE_EXHAUSTED;
    case ErrorCode::kUnavailable:
      return ENGRAM_UNAVAILABLE;
    case ErrorCode::kDeadlineExceeded:
      return ENGRAM_DEADLINE_EXCEEDED;
    case ErrorCode::kCancelled:
      return ENGRAM_CANCELLED;
    case ErrorCode::kDataLoss:
      return ENGRAM_DATA_LOSS;
    case ErrorCode::kUnsupported:
      return ENGRAM_UNSUPPORTED;
    case ErrorCode::kIo:
      return ENGRAM_IO;
    case ErrorCode::kInternal:
      break;
  }
  return ENGRAM_INTERNAL;
}

Error PluginMessage::ToError(std::string_view name, std::string_view function, engram_status status) const {
  std::string text = PluginText(text_.data(), text_.size());
  if (text.empty()) text = "gave status " + std::to_string(status) + " and no message";
  return {ErrorCodeFromStatus(status), std::string(name) + ": " + std::string(function) + ": " + text, {}};
}

Status PluginMessage::ToResult(std::string_view name, std::string_view function, engram_status status) const {
  if (status == ENGRAM_OK) return {};
  return ToError(name, function, status);
}

void WriteMessage(engram_message* message, std::string_view text) {
  if (message == nullptr || message->text == nullptr || message->capacity == 0) return;
  text = text.substr(0, std::min(text.size(), message->capacity - 1));
  text = text.substr(0, ValidUtf8Prefix(text));
  std::memcpy(message->text, text.data(), text.size());
  message->text[text.size()] = '\0';
}

std::string PluginText(const char* text, size_t max_bytes) {
  if (text == nullptr) return {};
  std::string result = Utf8Lossy(std::string_view(text, strnlen(text, max_bytes)));
  std::replace_if(
      result.begin(), result.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return result;
}

std::vector<engram_option> ToAbi(const PluginOptions& options) {
  std::vector<engram_option> result;
  result.reserve(options.size());
  for (const auto& [key, value] : options) result.push_back({key.c_str(), value.c_str()});
  return result;
}

PluginHost::PluginHost(std::string plugin_name, RowProvider* rows)
    : abi_{sizeof(engram_host), 0, this, &PluginHost::Log, rows == nullptr ? nullptr : &PluginHost::AwaitRows},
      plugin_name_(std::move(plugin_name)),
      rows_(rows) {}

void PluginHost::BeginStep(engram_batch_rows* rows, uint32_t num_layers) {
  step_rows_ = rows;
  step_layers_ = num_layers;
  step_error_.reset();
}

std::optional<Error> PluginHost::EndStep() {
  step_rows_ = nullptr;
  return std::exchange(step_error_, std::nullopt);
}

void PluginHost::Log(void* context, engram_log_level level, const char* message) {
  constexpr size_t kMaxLogBytes = 4096;
  const auto* host = static_cast<const PluginHost*>(context);
  // The caller's frames are the plugin's: nothing may be thrown through them.
  try {
    const std::string text = PluginText(message, kMaxLogBytes);
    switch (level) {
      case ENGRAM_LOG_DEBUG:
        log::Debug("{}: {}", host->plugin_name_, text);
        break;
      case ENGRAM_LOG_INFO:
        log::Info("{}: {}", host->plugin_name_, text);
        break;
      case ENGRAM_LOG_ERROR:
        log::Error("{}: {}", host->plugin_name_, text);
        break;
      default:
        log::Warning("{}: {}", host->plugin_name_, text);
        break;
    }
  } catch (const std::exception&) {
    // A line that cannot be logged (out of memory) has nowhere to be reported either.
    return;
  }
}

Result<engram_row_view> PluginHost::Await(engram_batch_rows* rows, uint32_t layer) {
  if (step_rows_ == nullptr) return FailedPrecondition("await_rows called outside a step() whose batch has rows");
  if (rows != step_rows_) return InvalidArgument("await_rows called with rows of another batch");
  if (layer >= step_layers_)
    return InvalidArgument("await_rows called for Engram layer index " + std::to_string(layer) + " of " +
                           std::to_string(step_layers_));
  return rows_->AwaitRows(rows, layer);
}

engram_status PluginHost::AwaitRows(void* context, engram_batch_rows* rows, uint32_t layer, engram_row_view* view,
                                    engram_message* message) {
  auto* host = static_cast<PluginHost*>(context);
  try {
    if (view == nullptr) {
      WriteMessage(message, "await_rows called without a view");
      return ENGRAM_INVALID_ARGUMENT;
    }
    auto result = host->Await(rows, layer);
    if (!result) {
      WriteMessage(message, result.error().message);
      const engram_status status = StatusFromErrorCode(result.error().code);
      if (!host->step_error_) host->step_error_ = std::move(result).error();
      return status;
    }
    // The caller's struct may be of an older edition: its size is what it has room for.
    const uint32_t size = view->struct_size;
    std::memcpy(view, &*result, std::min<size_t>(size, sizeof(engram_row_view)));
    view->struct_size = size;
    return ENGRAM_OK;
  } catch (const std::exception& exception) {
    WriteMessage(message, exception.what());
    return ENGRAM_INTERNAL;
  }
}

}  // namespace engram
