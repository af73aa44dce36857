// SPDX-License-Identifier: Apache-2.0
#include "http/output_format.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "constrain/gbnf.h"
#include "constrain/json_schema.h"
#include "core/json_text.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr const char* kSchemaPath = "response_format.json_schema.schema";

void ReadJsonSchema(JsonFields& format, OutputFormat& out) {
  const json::object* wrapper = format.Object("json_schema");
  if (wrapper == nullptr) return format.Fail("json_schema", "is required with type \"json_schema\"");
  JsonFields fields(*wrapper, "response_format.json_schema");
  const std::string name = fields.String("name", "");
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), fits))
    fields.Fail("name", "must have 1 to 64 letters, digits, \"_\" or \"-\"");
  // Both are for the people who read the request: the schema holds in any case.
  fields.String("description", "");
  fields.Bool("strict", true);
  out.schema = fields.Value("schema");
  if (out.schema == nullptr) fields.Fail("schema", "is required");
  if (Status status = fields.Finish(); !status) format.Fail(std::move(status).error());
}

}  // namespace

OutputFormat ReadOutputFormat(JsonFields& fields) {
  OutputFormat out;
  if (const json::object* object = fields.Object("response_format")) {
    JsonFields format(*object, "response_format");
    const std::string type = format.String("type", "");
    if (type == "json_schema") {
      out.kind = OutputFormat::Kind::kJsonSchema;
      ReadJsonSchema(format, out);
    } else if (type == "json_object") {
      out.kind = OutputFormat::Kind::kJsonObject;
    } else if (type != "text") {
      format.Fail("type", "must be \"text\", \"json_object\" or \"json_schema\"");
    }
    if (Status status = format.Finish(); !status) fields.Fail(std::move(status).error());
  }
  if (const json::value* grammar = fields.Value("grammar")) {
    if (out.kind != OutputFormat::Kind::kText) fields.Fail("grammar", "is only allowed without a response_format");
    out.kind = OutputFormat::Kind::kGrammar;
    out.grammar = fields.String("grammar", "");
    if (grammar->is_string() && out.grammar.empty()) fields.Fail("grammar", "must not be empty");
  }
  return out;
}

Result<ExprId> AddFormat(const OutputFormat& format, Grammar& grammar, JsonGrammar& json) {
  if (format.kind == OutputFormat::Kind::kJsonObject) return json.Object();
  return AddJsonSchema(*format.schema, kSchemaPath, grammar, json);
}

std::string FormatKey(const OutputFormat& format) {
  switch (format.kind) {
    case OutputFormat::Kind::kText:
      break;
    case OutputFormat::Kind::kJsonObject:
      return "object";
    case OutputFormat::Kind::kJsonSchema:
      return "schema " + json::serialize(*format.schema);
    case OutputFormat::Kind::kGrammar:
      return "grammar " + format.grammar;
  }
  return "text";
}

std::optional<ApiError> ConstrainFormat(const OutputFormat& format, const Model& model, GenerationRequest& request) {
  if (format.kind == OutputFormat::Kind::kText) return std::nullopt;
  const bool by_grammar = format.kind == OutputFormat::Kind::kGrammar;
  auto constraint = model.constraints().Get(FormatKey(format), [&]() -> Result<Grammar> {
    if (by_grammar) return ParseGbnf(format.grammar);
    Grammar grammar;
    JsonGrammar json(grammar);
    ENGRAM_TRY(const ExprId body, AddFormat(format, grammar, json));
    grammar.Define(grammar.AddRule("root"), body);
    grammar.set_root(static_cast<RuleId>(grammar.rules().size() - 1));
    return grammar;
  });
  if (!constraint) {
    Error error = std::move(constraint).error();
    error.field = by_grammar                                       ? "grammar"
                  : format.kind == OutputFormat::Kind::kJsonObject ? "response_format"
                                                                   : kSchemaPath;
    return ApiError(error);
  }
  request.constraint = std::move(*constraint);
  return std::nullopt;
}

}  // namespace engram
