// SPDX-License-Identifier: Apache-2.0
// tokenize, detokenize, models and status: one request, one answer.
#include <boost/json.hpp>
#include <cstdio>

#include "engramctl/commands.h"

namespace engram {
namespace {

namespace json = boost::json;

// The answer's JSON object, or why there is none.
Result<json::object> ObjectOf(Result<HttpAnswer> answer) {
  if (!answer) return std::move(answer).error();
  if (answer->status != 200) return Unavailable(HttpClient::ErrorText(*answer));
  boost::system::error_code error;
  json::value value = json::parse(answer->body, error);
  if (error || !value.is_object()) return DataLoss("the answer is not a JSON object");
  return std::move(value.as_object());
}

// The member `key` of an answer.
Result<json::value> MemberOf(const Result<json::object>& object, const char* key) {
  if (!object) return object.error();
  const json::value* value = object->if_contains(key);
  if (!value) return DataLoss(std::string("the answer has no \"") + key + "\"");
  return *value;
}

int Tokenize(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto text = TextOf(arguments);
  if (!text) return Report(text.error());
  json::object request{{"prompt", *text}};
  if (const auto model = arguments.Value("model")) request["model"] = *model;
  const auto tokens = MemberOf(ObjectOf(client->Call("/tokenize", json::serialize(request))), "tokens");
  if (!tokens) return Report(tokens.error());
  std::printf("%s\n", json::serialize(*tokens).c_str());
  return kDone;
}

int Detokenize(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto text = TextOf(arguments);
  if (!text) return Report(text.error());
  // "[1,2]", "1,2" and "1 2" all are lists.
  json::array tokens;
  std::string word;
  for (const char c : *text + " ") {
    if (std::string_view(", []\n\r\t").find(c) == std::string_view::npos) {
      word += c;
    } else if (!word.empty()) {
      const auto id = ParseSigned(word);
      if (!id) return Report(InvalidArgument("\"" + word + "\" is not a token id"), true);
      tokens.push_back(*id);
      word.clear();
    }
  }
  json::object request{{"tokens", std::move(tokens)}};
  if (const auto model = arguments.Value("model")) request["model"] = *model;
  const auto prompt = MemberOf(ObjectOf(client->Call("/detokenize", json::serialize(request))), "prompt");
  if (!prompt) return Report(prompt.error());
  if (!prompt->is_string()) return Report(DataLoss("the answer's prompt is no string"));
  std::printf("%s\n", prompt->as_string().c_str());
  return kDone;
}

int Models(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto list = MemberOf(ObjectOf(client->Call("/v1/models")), "data");
  if (!list) return Report(list.error());
  if (!list->is_array()) return Report(DataLoss("the answer's data is no list"));
  for (const json::value& model : list->as_array())
    if (const auto* object = model.if_object())
      if (const auto* id = object->if_contains("id"); id && id->is_string())
        std::printf("%s\n", id->as_string().c_str());
  return kDone;
}

int StatusOf(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto ready = client->Call("/health/ready");
  if (!ready) return Report(ready.error());
  std::printf("%s\n", ready->status == 200 ? "ready" : ("not ready: " + HttpClient::ErrorText(*ready)).c_str());
  if (arguments.Has("metrics")) {
    const auto metrics = client->Call("/metrics");
    if (!metrics) return Report(metrics.error());
    if (metrics->status != 200) return Report(Unavailable(HttpClient::ErrorText(*metrics)));
    std::fputs(metrics->body.c_str(), stdout);
  }
  return ready->status == 200 ? kDone : kFailed;
}

std::string Help(const char* text) {
  return std::string(text) + kOnlineHelp;
}

}  // namespace

Command TokenizeCommand() {
  static const std::string kHelp =
      Help("Usage: engramctl tokenize [OPTION]... TEXT|-\n\nPrints the token ids of TEXT as a JSON list.\n\n");
  return {"tokenize", "text to token ids", kHelp.c_str(), Tokenize, OnlineOptions({})};
}
Command DetokenizeCommand() {
  static const std::string kHelp =
      Help("Usage: engramctl detokenize [OPTION]... ID,ID,...|-\n\nPrints the text of token ids.\n\n");
  return {"detokenize", "token ids to text", kHelp.c_str(), Detokenize, OnlineOptions({})};
}
Command ModelsCommand() {
  static const std::string kHelp =
      Help("Usage: engramctl models [OPTION]...\n\nPrints the models' names, the default first.\n\n");
  return {"models", "names of the models served", kHelp.c_str(), Models, OnlineOptions({})};
}
Command StatusCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl status [OPTION]...\n\nSays whether the daemon is ready; exits with 1 when it is not.\n\n"
      "  --metrics      also print the metrics\n");
  return {"status", "whether the daemon is ready", kHelp.c_str(), StatusOf, OnlineOptions({{"metrics"}})};
}

}  // namespace engram
