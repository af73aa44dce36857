// SPDX-License-Identifier: Apache-2.0
// config: the settings in force, as a configuration file has them.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/json_text.h"
#include "core/json_value.h"
#include "engramctl/answers.h"
#include "engramctl/terminal.h"

namespace engram {
namespace {

namespace json = boost::json;

// Needs no quotes in YAML, and is read as the text that it is: words, paths, sizes, durations, addresses.
bool IsPlain(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view kInside = "0123456789_./+-%:";
  for (const std::string_view word : {"true", "false", "null", "yes", "no", "on", "off", ""})
    if (text == word) return false;
  for (const char c : text)
    if (kLetters.find(c) == std::string_view::npos && kInside.find(c) == std::string_view::npos) return false;
  // A text of digits alone would be a number.
  if (text.find_first_of(kLetters) == std::string_view::npos && text.find(':') == std::string_view::npos) return false;
  return std::string_view("-%:+").find(text.front()) == std::string_view::npos && text.back() != ':';
}

std::string Scalar(const json::value& value) {
  if (!value.is_string()) return JsonText(value);
  const std::string text(value.get_string());
  return IsPlain(text) ? text : JsonQuote(text);
}

bool IsShort(const json::value& value) {
  if (value.is_object()) return value.get_object().empty();
  if (!value.is_array()) return true;
  return std::none_of(value.get_array().begin(), value.get_array().end(),
                      [](const json::value& item) { return item.is_structured(); });
}

// On the line of its key.
std::string Short(const json::value& value) {
  if (value.is_object()) return "{}";
  if (!value.is_array()) return Scalar(value);
  std::string list;
  for (const json::value& item : value.get_array()) list += (list.empty() ? "" : ", ") + Scalar(item);
  return "[" + list + "]";
}

// Lines for what is below a key. `first`: what the first of them begins with.
void PrintBlock(const json::value& value, size_t indent, std::string first) {
  const auto start = [&] { return std::exchange(first, std::string(indent, ' ')); };
  if (const json::array* list = value.if_array()) {
    for (const json::value& item : *list) {
      if (IsShort(item)) {
        std::printf("%s- %s\n", start().c_str(), Short(item).c_str());
      } else {
        PrintBlock(item, indent + 2, start() + "- ");
      }
    }
    return;
  }
  for (const auto& [key, inner] : value.get_object()) {
    const std::string name = IsPlain(key) ? std::string(key) : JsonQuote(key);
    std::printf("%s%s:", start().c_str(), Styled(name, Style::kBold).c_str());
    if (IsShort(inner)) {
      std::printf(" %s\n", Short(inner).c_str());
    } else {
      std::printf("\n");
      PrintBlock(inner, indent + 2, std::string(indent + 2, ' '));
    }
  }
}

// What `path`, such as server.tls, leads to.
Result<const json::value*> Find(const json::value& config, const std::string& path) {
  const json::value* at = &config;
  for (size_t start = 0; start <= path.size();) {
    const size_t dot = std::min(path.find('.', start), path.size());
    const std::string key = path.substr(start, dot - start);
    const json::value* inner = at->is_object() ? at->get_object().if_contains(key) : nullptr;
    if (inner == nullptr) return NotFound("the settings have no " + path.substr(0, dot));
    at = inner;
    start = dot + 1;
  }
  return at;
}

int Config(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.size() > 1) return Report(InvalidArgument("config takes one part of the settings, such as server"), true);
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto answer = Ask(*client, {.target = "/admin/v1/config"});
  if (!answer) return Report(answer.error());
  const json::value config(*answer);
  const auto part = words.empty() ? Result<const json::value*>(&config) : Find(config, words[0]);
  if (!part) return Report(part.error());
  if (arguments.Has("json")) {
    std::printf("%s\n", JsonText(**part).c_str());
  } else if (IsShort(**part)) {
    std::printf("%s\n", Short(**part).c_str());
  } else {
    PrintBlock(**part, 0, "");
  }
  return kDone;
}

}  // namespace

Command ConfigCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl config [OPTION]... [PART]\n\n"
          "Prints the settings that the daemon runs with, as its configuration file would have\n"
          "them, every key with its value, or those of PART, such as server.tls. Digests of keys\n"
          "and secret plugin options are shown as ***.\n\n"
          "  --json         as JSON\n") +
      kOnlineHelp;
  return {"config", "the settings in force", kHelp.c_str(), Config, OnlineOptions({{"json"}})};
}

}  // namespace engram
