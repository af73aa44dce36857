// SPDX-License-Identifier: Apache-2.0
// generate and chat: text from the model, shown as it comes.
#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <iostream>
#include <limits>

#include "core/file.h"
#include "engramctl/commands.h"
#include "engramctl/edit_options.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr uint64_t kMaxGrammarBytes = 1u << 20;  // the daemon takes less

std::vector<OptionSpec> SamplingOptions(std::vector<OptionSpec> own) {
  for (const char* name :
       {"max-tokens", "temperature", "top-p", "top-k", "seed", "stop", "overlay", "as-of", "schema", "grammar"})
    own.push_back({name, true});
  own.push_back({"json-object"});
  own.push_back({"no-engram"});
  own.push_back({"no-stream"});
  own.push_back({"json"});
  return OnlineOptions(std::move(own));
}

// What the text has to follow, at most one of the three.
Status AddFormat(const Arguments& arguments, json::object& request) {
  const auto schema = arguments.Value("schema");
  const auto grammar = arguments.Value("grammar");
  if (schema.has_value() + grammar.has_value() + arguments.Has("json-object") > 1)
    return InvalidArgument("give one of --schema, --grammar and --json-object");
  // Standard input is the prompt's.
  if (schema) {
    if (*schema == "-") return InvalidArgument("--schema needs a file");
    ENGRAM_TRY(json::value value, ReadJsonFile(*schema));
    request["response_format"] =
        json::object{{"type", "json_schema"}, {"json_schema", {{"name", "schema"}, {"schema", std::move(value)}}}};
  } else if (grammar) {
    ENGRAM_TRY(request["grammar"], ReadFile(*grammar, kMaxGrammarBytes));
  } else if (arguments.Has("json-object")) {
    request["response_format"] = json::object{{"type", "json_object"}};
  }
  return {};
}

// Puts what the options say into `request`; kInvalidArgument names the option.
Status AddSampling(const Arguments& arguments, json::object& request) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  ENGRAM_TRY(const auto max_tokens, arguments.Integer("max-tokens", 0, 1 << 30));
  ENGRAM_TRY(const auto temperature, arguments.Number("temperature", 0, 100));
  ENGRAM_TRY(const auto top_p, arguments.Number("top-p", 0, 1));
  ENGRAM_TRY(const auto top_k, arguments.Integer("top-k", -1, 1 << 30));
  ENGRAM_TRY(const auto seed, arguments.Integer("seed", 0, kMax));
  if (max_tokens) request["max_tokens"] = *max_tokens;
  if (temperature) request["temperature"] = *temperature;
  if (top_p) request["top_p"] = *top_p;
  if (top_k) request["top_k"] = *top_k;
  if (seed) request["seed"] = *seed;
  if (arguments.Has("stop")) {
    json::array stop;
    for (const std::string& text : arguments.All("stop")) stop.emplace_back(text);
    request["stop"] = std::move(stop);
  }
  ENGRAM_TRY(const auto as_of, arguments.Integer("as-of", 0, kMax));
  json::object engram;
  if (arguments.Has("no-engram")) engram["enabled"] = false;
  if (as_of) engram["as_of"] = *as_of;
  if (arguments.Has("overlay")) {
    json::array overlays;
    for (const std::string& name : arguments.All("overlay")) overlays.emplace_back(name);
    engram["overlays"] = std::move(overlays);
  }
  if (!engram.empty()) request["engram"] = std::move(engram);
  if (const auto model = arguments.Value("model")) request["model"] = *model;
  return AddFormat(arguments, request);
}

// The new text in a completion or chat completion, whole or streamed; nothing where there is none.
std::string TextIn(const json::value& answer) {
  const auto* object = answer.if_object();
  const json::value* choices = object ? object->if_contains("choices") : nullptr;
  if (!choices || !choices->is_array() || choices->as_array().empty()) return {};
  const auto* choice = choices->as_array()[0].if_object();
  if (!choice) return {};
  const json::value* text = choice->if_contains("text");
  for (const char* holder : {"delta", "message"})
    if (const auto* inner = choice->if_contains(holder); inner && inner->is_object())
      text = inner->as_object().if_contains("content");
  return text && text->is_string() ? std::string(text->as_string()) : std::string();
}

void Show(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// Sends `request` and shows the answer; the text shown is appended to `said`.
Status Run(const HttpClient& client, const Arguments& arguments, const char* target, json::object request,
           std::string& said) {
  const bool raw = arguments.Has("json");
  if (arguments.Has("no-stream")) {
    ENGRAM_TRY(const HttpAnswer answer, client.Call(target, json::serialize(request)));
    if (answer.status != 200) return Unavailable(HttpClient::ErrorText(answer));
    boost::system::error_code error;
    const json::value value = json::parse(answer.body, error);
    if (error) return DataLoss("the answer is not JSON: " + error.message());
    said = TextIn(value);
    Show(raw ? answer.body : said);
    Show("\n");
    return {};
  }
  request["stream"] = true;
  std::optional<Error> failed;
  const Status status = client.Stream(target, json::serialize(request), [&](std::string_view data) {
    boost::system::error_code error;
    const json::value value = json::parse(data, error);
    if (error) {
      failed = DataLoss("an event is not JSON: " + error.message());
      return false;
    }
    if (value.is_object() && value.as_object().contains("error")) {
      failed = Unavailable(HttpClient::ErrorText({200, std::string(data)}));
      return false;
    }
    const std::string text = TextIn(value);
    said += text;
    raw ? Show(std::string(data) + "\n") : Show(text);
    return true;
  });
  if (!raw && !said.empty()) Show("\n");
  if (!status) return status;
  if (failed) return *failed;
  return {};
}

int Generate(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  json::object request;
  if (const Status added = AddSampling(arguments, request); !added) return Report(added.error(), true);
  const auto prompt = TextOf(arguments);
  if (!prompt) return Report(prompt.error());
  request["prompt"] = *prompt;
  std::string said;
  const Status status = Run(*client, arguments, "/v1/completions", std::move(request), said);
  return status ? kDone : Report(status.error());
}

void OnInterrupt(int) {}

// In a conversation Ctrl-C ends the answer, not the program: the handler makes the blocked read return.
void CatchInterrupt() {
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
}

int Chat(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  json::object request;
  if (const Status added = AddSampling(arguments, request); !added) return Report(added.error(), true);
  json::array messages;
  if (const auto system = arguments.Value("system"))
    messages.push_back(json::object{{"role", "system"}, {"content", *system}});
  const auto ask = [&](const std::string& text) -> Status {
    messages.push_back(json::object{{"role", "user"}, {"content", text}});
    json::object turn = request;
    turn["messages"] = messages;
    std::string said;
    Status status = Run(*client, arguments, "/v1/chat/completions", std::move(turn), said);
    messages.push_back(json::object{{"role", "assistant"}, {"content", said}});
    return status;
  };
  if (!arguments.words().empty() || !isatty(STDIN_FILENO)) {
    const auto text = TextOf(arguments);
    if (!text) return Report(text.error());
    const Status status = ask(*text);
    return status ? kDone : Report(status.error());
  }
  std::fputs("One message a line; Ctrl-C ends an answer, Ctrl-D the conversation.\n", stderr);
  for (std::string line; Show("> "), std::getline(std::cin, line);) {
    if (line.empty()) continue;
    CatchInterrupt();
    const Status status = ask(line);
    signal(SIGINT, SIG_DFL);
    if (!status && status.error().code != ErrorCode::kCancelled) return Report(status.error());
  }
  Show("\n");
  return kDone;
}

constexpr const char* kSamplingHelp =
    "  --max-tokens N    most tokens to generate\n"
    "  --temperature X   0: the most likely token always\n"
    "  --top-p X, --top-k N, --seed N, --stop TEXT (may be repeated)\n"
    "  --no-engram       as if the model had no Engram memory\n"
    "  --overlay NAME    with this overlay; may be repeated, later ones win\n"
    "  --as-of VERSION   with the memory as it was at that version\n"
    "  --schema FILE     text that is JSON and follows this JSON Schema\n"
    "  --grammar FILE    text that follows this GBNF grammar (docs/constrained-output.md)\n"
    "  --json-object     text that is a JSON object\n"
    "  --no-stream       print when all is there\n"
    "  --json            print the daemon's JSON, when streaming one event a line\n";

const std::string& GenerateHelp() {
  static const std::string kText =
      std::string(
          "Usage: engramctl generate [OPTION]... PROMPT|-\n\nContinues PROMPT (- or none: standard input) and prints "
          "the text as it comes. Ctrl-C cancels.\n\n") +
      kSamplingHelp + kOnlineHelp;
  return kText;
}
const std::string& ChatHelp() {
  static const std::string kText =
      std::string(
          "Usage: engramctl chat [OPTION]... [MESSAGE|-]\n\nWith MESSAGE, or without a terminal: sends one message "
          "and prints the answer. On a terminal: a conversation, one\nmessage a line. Needs a model with a chat "
          "template.\n\n  --system TEXT     the system message\n") +
      kSamplingHelp + kOnlineHelp;
  return kText;
}

}  // namespace

Command GenerateCommand() {
  return {"generate", "continue a text", GenerateHelp().c_str(), Generate, SamplingOptions({})};
}
Command ChatCommand() {
  return {"chat", "talk to a chat model", ChatHelp().c_str(), Chat, SamplingOptions({{"system", true}})};
}

}  // namespace engram
