// SPDX-License-Identifier: Apache-2.0
// A chat template: the language, and what a template does with messages. Choice: which variables; then the template.
#include "text/chat_template.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "fuzz/fuzz_target.h"

namespace engram {
namespace {

namespace json = boost::json;

const json::object& Variables(uint32_t choice) {
  static const json::value sets = json::parse(R"([
    {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true},
    {"messages": [{"role": "system", "content": " be brief "}, {"role": "user", "content": "a\nb"},
                  {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f",
                   "arguments": {"x": [1, 2.5, "y", true]}}}]}, {"role": "tool", "content": "{\"k\": 1}"}],
     "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
     "add_generation_prompt": false, "enable_thinking": false, "bos_token": "<s>", "n": -7, "x": 1e308}])");
  return sets.get_array()[choice].get_object();
}

}  // namespace

ENGRAM_FUZZ_TARGET(chat_template, bytes) {
  FuzzInput input(bytes);
  const json::object& variables = Variables(input.Choice(2));
  const auto compiled = ChatTemplate::Parse(input.Rest());
  if (!compiled) {
    FUZZ_CHECK(!compiled.error().message.empty());
    return;
  }
  const auto text = compiled->Render(variables);
  if (!text) FUZZ_CHECK(!text.error().message.empty());
}

}  // namespace engram
