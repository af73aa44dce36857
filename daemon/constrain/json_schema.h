// SPDX-License-Identifier: Apache-2.0
// JSON Schema (draft 2020-12, the part that docs/constrained-output.md lists) as a grammar. Every text of the grammar
// is a JSON value that the schema accepts; not every such value is a text of the grammar. A keyword that would have to
// be ignored is an error. Pure; any thread.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "constrain/grammar.h"
#include "constrain/json_grammar.h"
#include "core/result.h"

namespace engram {

inline constexpr size_t kMaxSchemaValues = 100'000;  // JSON values in a schema

// Adds the rules of `schema` to a grammar; the value it describes. `path` names the schema in errors
// ("response_format.json_schema.schema"): they are kInvalidArgument or kUnsupported, say where in the schema, and have
// `path` as their field.
Result<ExprId> AddJsonSchema(const boost::json::value& schema, const std::string& path, Grammar& grammar,
                             JsonGrammar& json);

}  // namespace engram
