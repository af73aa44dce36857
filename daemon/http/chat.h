// SPDX-License-Identifier: Apache-2.0
// The request of POST /v1/chat/completions. Any thread.
#pragma once

#include <optional>

#include "http/api_error.h"
#include "http/generation_run.h"
#include "http/json_fields.h"
#include "serve/engine_directory.h"

namespace engram {

// Reads and checks `fields` and fills in `call`, all but request_id and client of its prompt. What is wrong, if
// anything.
std::optional<ApiError> ReadChat(JsonFields& fields, const EngineDirectory& engines, GenerationCall& call);

}  // namespace engram
