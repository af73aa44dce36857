// SPDX-License-Identifier: Apache-2.0
// tokenize and detokenize: one request, one answer.
#include <boost/json.hpp>
#include <cstdio>

#include "engramctl/commands.h"
#include "engramctl/json_answer.h"

namespace engram {
namespace {

namespace json = boost::json;

int Tokenize(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto text = TextOf(arguments);
  if (!text) return Report(text.error());
  json::object request{{"prompt", *text}};
  if (const auto model = arguments.Value("model")) request["model"] = *model;
  const auto tokens = MemberOf(JsonAnswer(client->Call("/tokenize", json::serialize(request))), "tokens");
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
  const auto prompt = MemberOf(JsonAnswer(client->Call("/detokenize", json::serialize(request))), "prompt");
  if (!prompt) return Report(prompt.error());
  if (!prompt->is_string()) return Report(DataLoss("the answer's prompt is no string"));
  std::printf("%s\n", prompt->as_string().c_str());
  return kDone;
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

}  // namespace engram
