// SPDX-License-Identifier: Apache-2.0
#include "http/generation_params.h"

#include <gtest/gtest.h>

#include "http/json_body.h"

namespace engram {
namespace {

const ModelLimits kLimits{100, 50};

// The field at fault, with its error code; empty if all is well.
std::string Fault(const std::string& body) {
  const auto object = ParseJsonObject(body);
  if (!object) return "no JSON";
  JsonFields fields(*object);
  ReadGenerationParams(fields, kLimits);
  const Status status = fields.Finish();
  if (status) return "";
  return std::string(ErrorCodeName(status.error().code)) + " " + status.error().field;
}

TEST(GenerationParams, NamesTheFieldAtFault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"temperature":2.5})", "temperature"},
      {R"({"temperature":"hot"})", "temperature"},
      {R"({"top_p":0})", "top_p"},
      {R"({"top_k":-2})", "top_k"},
      {R"({"min_p":1.5})", "min_p"},
      {R"({"repetition_penalty":0})", "repetition_penalty"},
      {R"({"presence_penalty":2.01})", "presence_penalty"},
      {R"({"frequency_penalty":[]})", "frequency_penalty"},
      {R"({"n":0})", "n"},
      {R"({"n":1e0})", "n"},
      {R"({"max_tokens":-1})", "max_tokens"},
      {R"({"max_tokens":9223372036854775808})", "max_tokens"},
      {R"({"seed":9223372036854775808})", "seed"},
      {R"({"stop":[""]})", "stop[0]"},
      {R"({"stop":{}})", "stop"},
      {R"({"stop_token_ids":[1,100]})", "stop_token_ids[1]"},
      {R"({"logit_bias":{"100":1}})", "logit_bias"},
      {R"({"logit_bias":{"-1":1}})", "logit_bias"},
      {R"({"logit_bias":{"1x":1}})", "logit_bias"},
      {R"({"logit_bias":{"1":-101}})", "logit_bias.1"},
      {R"({"stream_options":{"include_usage":true}})", "stream_options"},
      {R"({"stream":true,"stream_options":{"include_usage":1}})", "stream_options.include_usage"},
      {R"({"response_format":{"type":"xml"}})", "response_format.type"},
      {R"({"response_format":{"type":"json_schema"}})", "response_format.json_schema"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"name":"a/b","schema":{}}}})",
       "response_format.json_schema.name"},
      {R"({"response_format":{"type":"json_object"},"grammar":"root ::= \"a\""})", "grammar"},
      {R"({"grammar":""})", "grammar"},
      {R"({"best_of":2})", "best_of"},
      {R"({"suffix":"x"})", "suffix"},
      {R"({"engram":[]})", "engram"},
      {R"({"engram":{"rows":1}})", "engram.rows"},
      {R"({"engram":{"row":true}})", "engram.row"},
      {R"({"engram":{"overlays":{}}})", "engram.overlays"},
      {R"({"engram":{"overlays":["a",1]}})", "engram.overlays[1]"},
      {R"({"engram":{"as_of":"1"}})", "engram.as_of"},
      {R"({"engram":{"as_of":-1}})", "engram.as_of"},
      {R"({"temprature":1})", "temprature"},
  };
  for (const auto& [body, field] : cases) EXPECT_EQ(Fault(body), std::string("invalid_argument ") + field) << body;
}

TEST(GenerationParams, ReadsWhatIsThere) {
  EXPECT_EQ(Fault("{}"), "");
  EXPECT_EQ(Fault(R"({"temperature":null,"stop":null,"engram":null,"user":"u","store":true,"suffix":""})"), "");
  const auto object = ParseJsonObject(
      R"({"temperature":0,"top_p":1e-300,"seed":-1,"n":3,"stop":"x","logit_bias":{"7":-100},"max_tokens":9,
          "engram":{"enabled":false,"gates":true,"overlays":["b","a"],"as_of":12}})");
  ASSERT_TRUE(object);
  JsonFields fields(*object);
  const GenerationParams params = ReadGenerationParams(fields, kLimits);
  ASSERT_TRUE(fields.Finish());
  EXPECT_EQ(params.request.sampling.temperature, 0);
  EXPECT_GT(params.request.sampling.top_p, 0);
  EXPECT_EQ(params.request.sampling.seed, UINT64_MAX);
  EXPECT_EQ(params.request.num_choices, 3u);
  EXPECT_EQ(params.request.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(params.request.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{7, -100.0f}}));
  EXPECT_EQ(params.max_tokens, 9u);
  EXPECT_FALSE(params.request.memory.enabled);
  EXPECT_TRUE(params.request.memory.gates);
  EXPECT_EQ(params.request.memory.overlays, (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(params.request.memory.as_of, 12u);
}

TEST(GenerationParams, ChecksLengths) {
  auto check = [](size_t prompt, std::optional<uint32_t> max_tokens, bool echo) {
    GenerationParams params;
    params.max_tokens = max_tokens;
    params.echo = echo;
    GenerationRequest request;
    request.prompt.resize(prompt);
    const auto error = SetLength(params, kLimits, 16, request);
    return error ? error->param + " " + error->code : std::to_string(request.max_tokens);
  };
  EXPECT_EQ(check(10, std::nullopt, false), "16");
  EXPECT_EQ(check(40, std::nullopt, false), "10");
  EXPECT_EQ(check(50, std::nullopt, false), "prompt context_length_exceeded");
  EXPECT_EQ(check(51, std::nullopt, false), "prompt context_length_exceeded");
  EXPECT_EQ(check(40, 10, false), "10");
  EXPECT_EQ(check(40, 11, false), "max_tokens context_length_exceeded");
  EXPECT_EQ(check(40, 0, false), "max_tokens ");
  EXPECT_EQ(check(50, 0, true), "0");
}

TEST(Messages, AreChecked) {
  auto fault = [](const char* json) -> std::string {
    const auto object = ParseJsonObject(json);
    if (!object) return "no JSON";
    const auto messages = ReadMessages(object->if_contains("m"));
    return messages ? "" : messages.error().field;
  };
  EXPECT_EQ(fault("{}"), "messages");
  EXPECT_EQ(fault(R"({"m":[]})"), "messages");
  EXPECT_EQ(fault(R"({"m":[{"role":"user","content":"a"},{"role":""}]})"), "messages[1].role");
  EXPECT_EQ(fault(R"({"m":[{"role":"pope","content":"a"}]})"), "messages[0].role");
  EXPECT_EQ(fault(R"({"m":[{"role":"user"}]})"), "messages[0].content");
  EXPECT_EQ(fault(R"({"m":[{"role":"user","content":[{"type":"image_url"}]}]})"), "messages[0].content[0].type");
  EXPECT_EQ(fault(R"({"m":[{"role":"assistant","tool_calls":[{}]}]})"), "messages[0].tool_calls[0]");
  EXPECT_EQ(fault(R"({"m":[{"role":"tool","content":"x"}]})"), "messages[0].tool_call_id");
  EXPECT_EQ(fault(R"({"m":[{"role":"assistant","tool_calls":[{"id":"a","type":"function",
                      "function":{"name":"f","arguments":"{\"a\": 1"}}]}]})"),
            "messages[0].tool_calls[0]");
  EXPECT_EQ(fault(R"({"m":[{"role":"assistant","tool_calls":[{"id":"a","type":"function",
                      "function":{"name":"f","arguments":"{\"a\": 1}"}}]},
                      {"role":"tool","tool_call_id":"a","content":"x"}]})"),
            "");
  const auto object =
      ParseJsonObject(R"({"m":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})");
  const auto messages = ReadMessages(object->if_contains("m"));
  ASSERT_TRUE(messages);
  EXPECT_EQ(messages->at(0).at("content").as_string(), "ab");
}

}  // namespace
}  // namespace engram
