// SPDX-License-Identifier: Apache-2.0
#include "http/chat_tools.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <set>

#include "constrain/json_schema.h"
#include "http/json_body.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr size_t kMaxNameBytes = 64;

bool IsToolName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

std::string_view NameOf(const json::value& tool) {
  const json::string& name = tool.as_object().at("function").as_object().at("name").as_string();
  return {name.data(), name.size()};
}

Status CheckTool(const json::value& tool, const std::string& where, std::set<std::string>& names) {
  if (!tool.is_object()) return InvalidArgument(where + " must be an object", where);
  JsonFields fields(tool.get_object(), where);
  if (fields.String("type", "") != "function") fields.Fail("type", "must be \"function\"");
  const json::object* object = fields.Object("function");
  if (object == nullptr) fields.Fail("function", "is required");
  ENGRAM_CHECK_OK(fields.Finish());
  JsonFields function(*object, where + ".function");
  const std::string name = function.String("name", "");
  if (!IsToolName(name)) function.Fail("name", "must have 1 to 64 letters, digits, \"_\" or \"-\"");
  if (!names.insert(name).second) function.Fail("name", "\"" + name + "\" is given twice");
  function.String("description", "");
  function.Bool("strict", true);
  const json::value* parameters = function.Value("parameters");
  if (parameters != nullptr) {
    const json::object* schema = parameters->if_object();
    const json::value* type = schema == nullptr ? nullptr : schema->if_contains("type");
    if (schema == nullptr ||
        (!schema->empty() && (type == nullptr || *type != "object" || schema->contains("nullable"))))
      function.Fail("parameters", "must be a JSON schema of type \"object\"");
  }
  return function.Finish();
}

void ReadToolChoice(JsonFields& fields, const std::set<std::string>& names, ToolParams& params) {
  const json::value* choice = fields.Value("tool_choice");
  if (choice == nullptr) return;
  if (const json::string* word = choice->if_string()) {
    if (*word == "none") {
      params.tools = nullptr;
    } else if (*word == "required") {
      params.required = true;
      if (params.tools == nullptr) fields.Fail("tool_choice", "is \"required\", but there are no tools");
    } else if (*word != "auto") {
      fields.Fail("tool_choice", "must be \"none\", \"auto\", \"required\" or an object that names a function");
    }
    return;
  }
  const json::object* object = fields.Object("tool_choice");
  if (object == nullptr) return;
  JsonFields named(*object, "tool_choice");
  if (named.String("type", "") != "function") named.Fail("type", "must be \"function\"");
  if (const json::object* function = named.Object("function")) {
    JsonFields inner(*function, "tool_choice.function");
    params.only = inner.String("name", "");
    if (!names.contains(params.only)) inner.Fail("name", "is none of the tools' names");
    if (Status status = inner.Finish(); !status) named.Fail(std::move(status).error());
  } else {
    named.Fail("function", "is required");
  }
  params.required = true;
  if (Status status = named.Finish(); !status) fields.Fail(std::move(status).error());
}

// Arguments as an object, from the text of one.
Status ReadCall(json::value& call, const std::string& where) {
  const auto wrong = [&](const std::string& what) { return InvalidArgument(where + what, where); };
  if (!call.is_object()) return wrong(" must be an object");
  const json::value* id = call.get_object().if_contains("id");
  if (id == nullptr || !id->is_string()) return wrong(".id must be a string");
  json::value* function = call.get_object().if_contains("function");
  if (function == nullptr || !function->is_object()) return wrong(".function must be an object");
  const json::value* name = function->get_object().if_contains("name");
  if (name == nullptr || !name->is_string()) return wrong(".function.name must be a string");
  json::value* arguments = function->get_object().if_contains("arguments");
  if (arguments == nullptr || !arguments->is_string()) return wrong(".function.arguments must be a string");
  const json::string& text = arguments->get_string();
  Result<json::object> object = ParseJsonObject({text.data(), text.size()});
  if (!object) return wrong(".function.arguments must be the text of a JSON object: " + object.error().message);
  *arguments = std::move(*object);
  return {};
}

// A call as an answer of the model has it.
std::string CallText(const json::object& function, const ToolCallSyntax& syntax) {
  const json::string& name = function.at("name").as_string();
  return syntax.BeforeName() + std::string(name.data(), name.size()) + syntax.BeforeArguments() +
         json::serialize(function.at("arguments")) + syntax.AfterArguments();
}

std::string Description(const ToolParams& params, const ToolCallSyntax& syntax) {
  std::string out = "You may call these functions. To call one, answer with nothing but " + syntax.BeforeName() +
                    "NAME" + syntax.BeforeArguments() + "{..}" + syntax.AfterArguments() + "\n";
  for (const json::value& tool : *params.tools) out += json::serialize(tool.as_object().at("function")) + "\n";
  return out;
}

}  // namespace

ToolParams ReadToolParams(JsonFields& fields) {
  ToolParams params;
  params.parallel = fields.Bool("parallel_tool_calls", true);
  std::set<std::string> names;
  if (const json::value* tools = fields.Value("tools")) {
    if (!tools->is_array()) {
      fields.Fail("tools", std::string("must be a list, not ") + JsonKindName(*tools));
    } else if (tools->get_array().size() > kMaxTools) {
      fields.Fail("tools", "must have at most " + std::to_string(kMaxTools) + " entries");
    } else if (!tools->get_array().empty()) {
      params.tools = &tools->get_array();
      for (size_t i = 0; i < params.tools->size() && !fields.failed(); ++i)
        if (Status status = CheckTool((*params.tools)[i], "tools[" + std::to_string(i) + "]", names); !status)
          fields.Fail(std::move(status).error());
    }
  }
  ReadToolChoice(fields, names, params);
  return params;
}

bool TakesTools(const ChatTemplate& chat_template) {
  return chat_template.source().find("tools") != std::string_view::npos;
}

Status ReadToolMessage(json::object& message, const std::string& where) {
  if (message.at("role") == "tool") {
    const json::value* id = message.if_contains("tool_call_id");
    if (id == nullptr || !id->is_string())
      return InvalidArgument(where + ".tool_call_id must be a string", where + ".tool_call_id");
  }
  json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr) return {};
  const std::string field = where + ".tool_calls";
  if (calls->is_null()) {
    message.erase("tool_calls");
    return {};
  }
  if (message.at("role") != "assistant") return InvalidArgument(field + " is only for the role assistant", field);
  if (!calls->is_array() || calls->get_array().empty())
    return InvalidArgument(field + " must be a list with at least one call", field);
  for (size_t i = 0; i < calls->get_array().size(); ++i)
    ENGRAM_CHECK_OK(ReadCall(calls->get_array()[i], field + "[" + std::to_string(i) + "]"));
  return {};
}

void WriteToolsAsText(const ToolParams& params, const ToolCallSyntax& syntax, json::array& messages) {
  for (json::value& value : messages) {
    json::object& message = value.as_object();
    if (const json::value* calls = message.if_contains("tool_calls")) {
      json::string content = message.at("content").is_string() ? message.at("content").get_string() : json::string();
      for (const json::value& call : calls->as_array()) {
        if (!content.empty()) content.append("\n");
        content.append(CallText(call.as_object().at("function").as_object(), syntax));
      }
      message["content"] = std::move(content);
      message.erase("tool_calls");
    } else if (message.at("role") == "tool") {
      message["role"] = "user";
      json::string content("Result of ");
      content.append(message.at("tool_call_id").as_string());
      content.append(": ");
      content.append(message.at("content").as_string());
      message["content"] = std::move(content);
    }
  }
  if (params.tools == nullptr) return;
  const std::string description = Description(params, syntax);
  json::object& first = messages.front().as_object();
  if (first.at("role") == "system" && first.at("content").is_string()) {
    first["content"] = std::string(first.at("content").as_string()) + "\n\n" + description;
  } else {
    messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", description}});
  }
}

std::optional<ApiError> ConstrainTools(const ToolParams& params, const OutputFormat& format, const Model& model,
                                       GenerationRequest& request, GenerationCall& call) {
  const ToolCallSyntax syntax = ToolCallSyntax::OfTemplate(model.chat_template()->source());
  const bool formatted = format.kind != OutputFormat::Kind::kText && !params.required;
  if (formatted && format.kind == OutputFormat::Kind::kGrammar)
    return ApiError(400, "grammar cannot be combined with tools that may be called; set tool_choice to \"none\"",
                    "grammar");
  if (formatted && syntax.open.empty())
    return ApiError(
        400,
        "response_format cannot be combined with tools that may be called: this model writes calls as JSON, "
        "too; set tool_choice",
        "response_format");
  const std::string key = "tools " + syntax.open + syntax.arguments_key + (params.required ? " required " : " auto ") +
                          params.only + (params.parallel ? " parallel " : " single ") + json::serialize(*params.tools) +
                          (formatted ? FormatKey(format) : "");
  auto constraint = model.constraints().Get(key, [&]() -> Result<Grammar> {
    Grammar grammar;
    JsonGrammar json(grammar);
    std::vector<CallableTool> callable;
    for (size_t i = 0; i < params.tools->size(); ++i) {
      const json::object& function = (*params.tools)[i].as_object().at("function").as_object();
      const std::string name(NameOf((*params.tools)[i]));
      if (!params.only.empty() && name != params.only) continue;
      const json::value* parameters = function.if_contains("parameters");
      const json::value* strict = function.if_contains("strict");
      if (parameters == nullptr || parameters->is_null() || parameters->get_object().empty() ||
          (strict != nullptr && *strict == json::value(false))) {
        callable.push_back({name, json.Object()});
        continue;
      }
      const std::string path = "tools[" + std::to_string(i) + "].function.parameters";
      ENGRAM_TRY(const ExprId arguments, AddJsonSchema(*parameters, path, grammar, json));
      callable.push_back({name, arguments});
    }
    const bool single = !params.parallel || !params.only.empty();
    ExprId answer = ToolCallAnswer(syntax, callable, !single, params.required || formatted, grammar);
    if (formatted) {
      ENGRAM_TRY(const ExprId body, AddFormat(format, grammar, json));
      answer = grammar.Choice({answer, body});
    }
    const RuleId root = grammar.AddRule("root");
    grammar.Define(root, answer);
    grammar.set_root(root);
    return grammar;
  });
  if (!constraint) {
    ApiError error(constraint.error());
    if (error.param.empty()) error.param = "tools";
    return error;
  }
  request.constraint = std::move(*constraint);
  call.tool_calls = GenerationCall::ToolCalls{syntax, params.required};
  return std::nullopt;
}

}  // namespace engram
