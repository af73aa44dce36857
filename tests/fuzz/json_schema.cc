// SPDX-License-Identifier: Apache-2.0
// A JSON schema as a grammar, and the texts that it allows: JSON that the schema accepts. The first line walks
// (constraint_walk.h), the rest is the schema.
#include "constrain/json_schema.h"

#include <boost/json/parse.hpp>

#include "constrain/test_schema_validator.h"
#include "core/json_text.h"
#include "fuzz/constraint_walk.h"
#include "fuzz/fuzz_target.h"

namespace engram {
namespace {

Result<Grammar> SchemaGrammar(const boost::json::value& schema) {
  Grammar grammar;
  JsonGrammar json(grammar);
  ENGRAM_TRY(const ExprId value, AddJsonSchema(schema, "schema", grammar, json));
  const RuleId root = grammar.AddRule("root");
  grammar.Define(root, value);
  grammar.set_root(root);
  return grammar;
}

}  // namespace

ENGRAM_FUZZ_TARGET(json_schema, bytes) {
  FuzzInput input(bytes);
  const std::string_view choices = input.Line();
  const std::string_view source = input.Rest();
  boost::json::error_code wrong;
  const boost::json::value schema = boost::json::parse({source.data(), source.size()}, wrong);
  if (wrong) return;
  const auto grammar = SchemaGrammar(schema);
  if (!grammar) {
    CheckRefusal(grammar.error());
    FUZZ_CHECK(grammar.error().field == "schema");
    FUZZ_CHECK(grammar.error().message.starts_with("schema"));
    return;
  }
  const std::optional<std::string> text = WalkGrammar(*grammar, choices);
  if (!text) return;
  FUZZ_CHECK(IsValidUtf8(*text));
  const boost::json::value value = boost::json::parse(*text, wrong);
  FUZZ_CHECK(!wrong || wrong == boost::json::error::too_deep);
  if (wrong) return;
  TestSchemaValidator::Options options;
  options.patterns = false;
  options.inexact = true;
  const bool valid = TestSchemaValidator(schema, options).Valid(value);
  if (!valid) std::fprintf(stderr, "%s\n", text->c_str());
  FUZZ_CHECK(valid);
}

}  // namespace engram
