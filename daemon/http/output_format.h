// SPDX-License-Identifier: Apache-2.0
// What the text of an answer must follow: `response_format` and `grammar` of a request. Any thread.
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "constrain/json_grammar.h"
#include "core/result.h"
#include "http/api_error.h"
#include "http/json_fields.h"
#include "serve/generation.h"
#include "serve/model.h"

namespace engram {

struct OutputFormat {
  enum class Kind { kText, kJsonObject, kJsonSchema, kGrammar };
  Kind kind = Kind::kText;
  const boost::json::value* schema = nullptr;  // kJsonSchema: in the request's body
  std::string grammar;                         // kGrammar
};

// Takes both fields out of `fields`; what is wrong is recorded there.
OutputFormat ReadOutputFormat(JsonFields& fields);

// kJsonObject or kJsonSchema as an expression. Errors name the field.
Result<ExprId> AddFormat(const OutputFormat& format, Grammar& grammar, JsonGrammar& json);
// Equal for equal formats.
std::string FormatKey(const OutputFormat& format);

// Sets the request's constraint. What is wrong with the schema or the grammar, if anything.
std::optional<ApiError> ConstrainFormat(const OutputFormat& format, const Model& model, GenerationRequest& request);

}  // namespace engram
