// SPDX-License-Identifier: Apache-2.0
// Errors as clients see them: a status and OpenAI's {"error": {"message", "type", "param", "code"}}. Pure functions.
#pragma once

#include <string>

#include "core/result.h"
#include "http/message.h"

namespace engram {

struct ApiError {
  int status = 500;
  std::string message;
  std::string param;   // the field at fault; empty: null
  std::string code;    // e.g. "model_not_found"; empty: null
  HeaderList headers;  // e.g. Retry-After, Allow, WWW-Authenticate

  ApiError() = default;
  ApiError(int status, std::string message, std::string param = {}, std::string code = {})
      : status(status), message(std::move(message)), param(std::move(param)), code(std::move(code)) {}
  // By ErrorCode: invalid argument and unsupported 400, not found 404, failed precondition 409, resource exhausted 429,
  // unavailable and cancelled 503 (both with Retry-After), deadline 504, the rest 500.
  ApiError(const Error& error);  // NOLINT: implicit on purpose
};

// {"error": {...}} without a newline.
std::string ErrorJson(const ApiError& error);
Response ErrorResponse(const ApiError& error);

}  // namespace engram
