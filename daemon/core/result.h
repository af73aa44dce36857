// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. The member names are std::expected's, which g++ 12 does not have.
//
// Expected failures travel as Results. Exceptions of libraries are caught at the edges (settings loader, coroutine
// root, thread root, plugin ABI). Plain values: no thread rules beyond those of T.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace engram {

// Why something failed, by what the caller can do about it. http/ maps these to status codes, plugin/ from
// engram_status.
enum class ErrorCode {
  kInvalidArgument,     // the input is wrong; retrying it is pointless
  kNotFound,            // the named thing does not exist
  kFailedPrecondition,  // right request, wrong state (also: stale version)
  kResourceExhausted,   // a bounded resource is full; try later
  kOutOfSpace,          // the disk is full; somebody must make room
  kUnavailable,         // not ready, draining, or a device out of reach; try later
  kDeadlineExceeded,
  kCancelled,
  kDataLoss,     // a file or row is corrupt
  kUnsupported,  // well-formed, but not something this build or model does
  kIo,           // the operating system reported an error
  kInternal,     // our defect
};

// The name used in logs and JSON, e.g. "invalid_argument".
const char* ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // one sentence that names the place: file, line, key, field, offset
  std::string field;    // the request field or configuration key at fault, where there is one

  // The same error with "`where`: " before its message.
  Error At(std::string_view where) && {
    message.insert(0, std::string(where) + ": ");
    return std::move(*this);
  }
};

inline Error InvalidArgument(std::string message, std::string field = {}) {
  return {ErrorCode::kInvalidArgument, std::move(message), std::move(field)};
}
inline Error NotFound(std::string message, std::string field = {}) {
  return {ErrorCode::kNotFound, std::move(message), std::move(field)};
}
inline Error FailedPrecondition(std::string message) {
  return {ErrorCode::kFailedPrecondition, std::move(message), {}};
}
inline Error ResourceExhausted(std::string message) {
  return {ErrorCode::kResourceExhausted, std::move(message), {}};
}
inline Error OutOfSpace(std::string message) {
  return {ErrorCode::kOutOfSpace, std::move(message), {}};
}
inline Error Unavailable(std::string message) {
  return {ErrorCode::kUnavailable, std::move(message), {}};
}
inline Error DataLoss(std::string message) {
  return {ErrorCode::kDataLoss, std::move(message), {}};
}
inline Error Unsupported(std::string message, std::string field = {}) {
  return {ErrorCode::kUnsupported, std::move(message), std::move(field)};
}
inline Error IoError(std::string message) {
  return {ErrorCode::kIo, std::move(message), {}};
}
inline Error Internal(std::string message) {
  return {ErrorCode::kInternal, std::move(message), {}};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  // value(), * and -> require has_value(); error() requires the contrary.
  T& value() & { return assert(has_value()), *std::get_if<0>(&state_); }
  const T& value() const& { return assert(has_value()), *std::get_if<0>(&state_); }
  T&& value() && { return assert(has_value()), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return assert(!has_value()), *std::get_if<1>(&state_); }
  const Error& error() const& { return assert(!has_value()), *std::get_if<1>(&state_); }
  Error&& error() && { return assert(!has_value()), std::move(*std::get_if<1>(&state_)); }
  T value_or(T fallback) && { return has_value() ? std::move(*this).value() : std::move(fallback); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit on purpose

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  Error& error() & { return assert(!has_value()), *error_; }
  const Error& error() const& { return assert(!has_value()), *error_; }
  Error&& error() && { return assert(!has_value()), std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

// ENGRAM_TRY(auto x, F()) declares x from F()'s value or returns its error; ENGRAM_CHECK_OK(F()) for Status.
#define ENGRAM_CONCAT_INNER(a, b) a##b
#define ENGRAM_CONCAT(a, b) ENGRAM_CONCAT_INNER(a, b)
#define ENGRAM_TRY_INNER(result, declaration, ...)           \
  auto result = (__VA_ARGS__);                               \
  if (!result.has_value()) return std::move(result).error(); \
  declaration = std::move(result).value()
#define ENGRAM_TRY(declaration, ...) ENGRAM_TRY_INNER(ENGRAM_CONCAT(try_result_, __LINE__), declaration, __VA_ARGS__)
#define ENGRAM_CHECK_OK(...)                                                                                  \
  do {                                                                                                        \
    if (auto check_result = (__VA_ARGS__); !check_result.has_value()) return std::move(check_result).error(); \
  } while (false)

}  // namespace engram
