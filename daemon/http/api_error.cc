// SPDX-License-Identifier: Apache-2.0
#include "http/api_error.h"

#include "core/json_text.h"

namespace engram {
namespace {

int StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kFailedPrecondition:
      return 409;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kOutOfSpace:
      return 507;
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled:
      return 503;
    case ErrorCode::kDeadlineExceeded:
      return 504;
    case ErrorCode::kDataLoss:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

ApiError::ApiError(const Error& error) : status(StatusOf(error.code)), message(error.message), param(error.field) {
  if (status == 404 && param == "model") code = "model_not_found";
  if (status == 429 || status == 503) headers.emplace_back("Retry-After", "1");
}

std::string ErrorJson(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  out += JsonQuote(error.message);
  out += ",\"type\":\"";
  out += TypeOf(error.status);
  out += "\",\"param\":";
  out += error.param.empty() ? "null" : JsonQuote(error.param);
  out += ",\"code\":";
  out += error.code.empty() ? "null" : JsonQuote(error.code);
  out += "}}";
  return out;
}

Response ErrorResponse(const ApiError& error) {
  Response response;
  response.status = error.status;
  response.headers = error.headers;
  response.body = ErrorJson(error) + "\n";
  return response;
}

}  // namespace engram
