// SPDX-License-Identifier: Apache-2.0
// Tools of a chat request: `tools`, `tool_choice`, `parallel_tool_calls`, and calls and their results among the
// messages. Any thread.
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "constrain/tool_calls.h"
#include "core/result.h"
#include "http/api_error.h"
#include "http/generation_run.h"
#include "http/json_fields.h"
#include "http/output_format.h"
#include "serve/model.h"

namespace engram {

inline constexpr size_t kMaxTools = 128;

struct ToolParams {
  // As the request has them; nullptr: none, or none that may be called.
  const boost::json::array* tools = nullptr;
  bool required = false;
  std::string only;  // the one that must be called; empty: any
  bool parallel = true;
};

// Takes the three fields out of `fields`; what is wrong is recorded there.
ToolParams ReadToolParams(JsonFields& fields);

// Whether a chat template shows tools by itself.
bool TakesTools(const ChatTemplate& chat_template);

// Checks a message's tool_calls and tool_call_id, and gives the arguments of calls as objects, which templates expect.
// `where` names the message in errors.
Status ReadToolMessage(boost::json::object& message, const std::string& where);

// For a template that knows no tools: describes them in a first system message, and writes calls and results among the
// messages as text.
void WriteToolsAsText(const ToolParams& params, const ToolCallSyntax& syntax, boost::json::array& messages);

// Lets the request's answers call the tools and be of `format` otherwise: sets the constraint of `request` and the tool
// calls of `call`. What is wrong, if anything.
std::optional<ApiError> ConstrainTools(const ToolParams& params, const OutputFormat& format, const Model& model,
                                       GenerationRequest& request, GenerationCall& call);

}  // namespace engram
