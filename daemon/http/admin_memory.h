// SPDX-License-Identifier: Apache-2.0
// What the handlers of /admin/v1 about memory share: finding the model, answering later. Any thread.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "control/live_memory.h"
#include "control/live_memory_directory.h"
#include "http/admin_json.h"
#include "http/api_error.h"
#include "http/edit_fields.h"
#include "http/json_fields.h"
#include "http/message.h"
#include "http/query_fields.h"

namespace engram {

// The memory a request is about, and the model it is of now.
struct MemoryTarget {
  std::shared_ptr<LiveMemory> live;
  LiveModel model;  // model.memory is set

  TokenReader tokens() const;
  // The index of a model layer among the Engram layers, ascending. kInvalidArgument (field "layer") lists them.
  Result<uint32_t> LayerIndex(uint32_t layer) const;
};

// kNotFound or kUnavailable as LiveMemoryDirectory::Find(); kUnsupported for a model without Engram memory.
Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, std::string_view model_name);
// Takes "model" from the body, else from the query, whose only parameter it is.
Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, const Request& request, JsonFields& fields);
// Takes "model" from the query.
Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, QueryFields& query);

// The rest of the path after `prefix`, such as a name or a number.
std::string_view PathRest(const Request& request, std::string_view prefix);

// The Idempotency-Key header with the digest of what was asked; nothing without one. kInvalidArgument for one that is
// empty or too long.
Result<std::optional<IdempotencyKey>> ReadIdempotencyKey(const Request& request);

// A `done` callback that sends what `render` makes of the value, a Response, or the error. `explain` may rewrite
// errors.
template <typename T, typename Render>
std::function<void(Result<T>)> AnswerWith(std::function<void(Response)> send, Render render,
                                          std::function<Error(Error)> explain = {}) {
  return [send = std::move(send), render = std::move(render), explain = std::move(explain)](Result<T> result) {
    try {
      if (!result) {
        Error error = std::move(result).error();
        send(ErrorResponse(ApiError(explain ? explain(std::move(error)) : std::move(error))));
      } else {
        send(render(*result));
      }
    } catch (const std::exception& error) {
      send(ErrorResponse(ApiError(Internal(std::string("the answer could not be made: ") + error.what()))));
    }
  };
}

// The answer of an endpoint that returns Result<Response>.
template <typename Function>
Response Respond(Function function) {
  Result<Response> response = function();
  return response ? std::move(*response) : ErrorResponse(ApiError(response.error()));
}

}  // namespace engram
