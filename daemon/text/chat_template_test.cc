// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <random>

#include "core/file.h"
#include "core/json_text.h"

namespace engram {
namespace {

namespace json = boost::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json::value ReadCases() {
  const auto path = std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests" / "vectors-extra" / "jinja_cases.json";
  return json::parse(ReadFile(path, uint64_t{16} << 20).value());
}

Result<std::string> Render(std::string_view source, const json::object& variables = {}) {
  Result<ChatTemplate> compiled = ChatTemplate::Parse(source);
  if (!compiled) return std::move(compiled).error();
  return compiled->Render(variables);
}

std::string Repeat(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplate, RendersWhatJinja2Renders) {
  const json::value table = ReadCases();
  const json::object& variables = table.at("variables").as_object();
  size_t num_checked = 0;
  for (const json::value& test : table.at("cases").as_array()) {
    const std::string source(test.at("template").as_string());
    SCOPED_TRACE(source);
    const Result<std::string> rendered = Render(source, variables);
    if (test.as_object().contains("error")) {
      EXPECT_FALSE(rendered) << *rendered;
    } else if (!rendered) {
      ADD_FAILURE() << rendered.error().message;
    } else {
      EXPECT_EQ(*rendered, std::string(test.at("expected").as_string()));
    }
    ++num_checked;
  }
  EXPECT_GT(num_checked, 150u);
}

TEST(ChatTemplate, RefusesByNameAndPosition) {
  struct Refusal {
    const char* source;
    ErrorCode code;
    std::vector<const char*> parts;
  };
  const Refusal refusals[] = {
      {"a\n {% include 'x' %}", ErrorCode::kUnsupported, {"line 2, column 5", "'include'"}},
      {"{% extends 'x' %}", ErrorCode::kUnsupported, {"line 1, column 4", "'extends'"}},
      {"{% import 'x' as y %}", ErrorCode::kUnsupported, {"'import'"}},
      {"{% call m() %}{% endcall %}", ErrorCode::kUnsupported, {"'call'"}},
      {"{% do x %}", ErrorCode::kUnsupported, {"'do'"}},
      {"{% for x in y recursive %}{% endfor %}", ErrorCode::kUnsupported, {"line 1, column 15", "recursive"}},
      {"\xC3\xA9{{ x | pprint }}", ErrorCode::kUnsupported, {"line 1, column 9", "filter 'pprint'"}},
      {"{{ x is escaped }}", ErrorCode::kUnsupported, {"line 1, column 9", "test 'escaped'"}},
      {"{{ joiner(',') }}", ErrorCode::kUnsupported, {"function 'joiner'"}},
      {"{{ f(*x) }}", ErrorCode::kUnsupported, {"unpacking"}},
      {"{{ 'a'.format(1) }}", ErrorCode::kUnsupported, {"method 'format'"}},
      {"{{ [1].append(2) }}", ErrorCode::kUnsupported, {"method 'append'"}},
      {"{{ '%s' % 1 }}", ErrorCode::kUnsupported, {"%"}},
      {"{{ [1]|map('pprint') }}", ErrorCode::kUnsupported, {"filter 'pprint'"}},
      {"{% for x in [1] %}{{ loop.changed(x) }}{% endfor %}", ErrorCode::kUnsupported, {"loop.changed"}},
      {"{% set n = namespace() %}{% set n.n = n %}", ErrorCode::kUnsupported, {"namespace"}},
      {"{% set n = namespace() %}{% macro m() %}{% endmacro %}{% set n.m = m %}",
       ErrorCode::kUnsupported,
       {"function"}},
      {"{% if x %}", ErrorCode::kInvalidArgument, {"endif"}},
      {"{% endif %}", ErrorCode::kInvalidArgument, {"line 1, column 4", "'endif'"}},
      {"{% break %}", ErrorCode::kInvalidArgument, {"'break'"}},
      {"x\n{{ 1", ErrorCode::kInvalidArgument, {"line 2, column 1", "without its end"}},
      {"{{ 'a }}", ErrorCode::kInvalidArgument, {"line 1, column 4", "string"}},
      {"{# x", ErrorCode::kInvalidArgument, {"comment"}},
      {"{% raw %}", ErrorCode::kInvalidArgument, {"raw"}},
      {"{{ }}", ErrorCode::kInvalidArgument, {"line 1, column 4"}},
      {"{{ 1 2 }}", ErrorCode::kInvalidArgument, {"line 1, column 6"}},
      {"{{ (1] }}", ErrorCode::kInvalidArgument, {"']'"}},
      {"{{ 99999999999999999999 }}", ErrorCode::kInvalidArgument, {"number"}},
      {"{{ a ? b }}", ErrorCode::kInvalidArgument, {"line 1, column 6"}},
      {"{% set true = 1 %}", ErrorCode::kInvalidArgument, {"'true'"}},
      {"\xFF", ErrorCode::kInvalidArgument, {"UTF-8", "byte 0"}},
      {"\n{{ missing.x }}", ErrorCode::kInvalidArgument, {"line 2, column 11", "'missing' is undefined"}},
      {"{{ raise_exception('roles must alternate') }}", ErrorCode::kInvalidArgument, {"roles must alternate"}},
      {"{{ 9223372036854775807 + 1 }}", ErrorCode::kInvalidArgument, {"64 bits"}},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.source);
    const Result<std::string> rendered = Render(refusal.source);
    ASSERT_FALSE(rendered) << *rendered;
    EXPECT_EQ(rendered.error().code, refusal.code) << rendered.error().message;
    for (const char* part : refusal.parts) EXPECT_THAT(rendered.error().message, HasSubstr(part));
  }
}

TEST(ChatTemplate, BoundsNesting) {
  for (const std::string& source :
       {"{{ " + Repeat("(", 200000), "{{ " + Repeat("[", 200000), "{{ " + Repeat("not ", 200000) + "1 }}",
        "{{ " + Repeat("-", 200000) + "1 }}", "{{ 1" + Repeat(" + 1", 200000) + " }}",
        "{{ x" + Repeat(".x", 200000) + " }}", "{{ x" + Repeat("|trim", 100000) + " }}",
        "{{ 1" + Repeat(" if 1", 100000) + " }}", Repeat("{% if 1 %}", 50000),
        "{{ " + Repeat("1 if 1 else ", 50000) + "1 }}", "{{ x" + Repeat("(", 100000), "{% for " + Repeat("(", 100000),
        "{{ " + Repeat("{1:", 100000)}) {
    const Result<std::string> rendered = Render(source);
    ASSERT_FALSE(rendered) << source.substr(0, 40);
    EXPECT_THAT(rendered.error().message, HasSubstr("levels")) << source.substr(0, 40);
  }
  // Long but flat is no matter.
  EXPECT_TRUE(Render("{{ 1" + Repeat(" ~ 1", 20000) + " }}"));
  EXPECT_TRUE(Render("{% if 0 %}" + Repeat("{% elif 0 %}", 20000) + "{% endif %}"));
}

TEST(ChatTemplate, BoundsWork) {
  for (const char* source :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 'x' * 100000000 }}", "{{ [0] * 100000000 }}",
        "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "{{ range(100001) }}",
        "{{ ('x' * 9999999)|replace('x', 'xxxxxxxxxxxxxxxx') }}",
        "{{ ('x' * 9999999)|replace('', 'xxxxxxxxxxxxxxxx') }}"}) {
    const Result<std::string> rendered = Render(source);
    ASSERT_FALSE(rendered) << source;
    EXPECT_EQ(rendered.error().code, ErrorCode::kResourceExhausted) << source << rendered.error().message;
  }
  EXPECT_FALSE(ChatTemplate::Parse(std::string(2 << 20, ' ')));
}

TEST(ChatTemplate, RefusesVariablesOutOfRange) {
  json::value deep = 1;
  for (int i = 0; i < 150; ++i) deep = json::array{deep};
  auto rendered = Render("{{ x }}", {{"x", deep}});
  ASSERT_FALSE(rendered);
  EXPECT_EQ(rendered.error().field, "x");
  rendered = Render("{{ x }}", {{"x", {{"y", 18446744073709551615U}}}});
  ASSERT_FALSE(rendered);
  EXPECT_THAT(rendered.error().message, AllOf(HasSubstr("x: y"), HasSubstr("2^63")));
}

TEST(ChatTemplate, TellsTheTime) {
  auto year = Render("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(year);
  EXPECT_GE(std::stoi(*year), 2024);
  EXPECT_EQ(Render("{{ strftime_now('100%%') }}").value(), "100%");
  EXPECT_FALSE(Render("{{ strftime_now(1) }}"));
}

// Any bytes give a result or an error, never a crash or a hang: what the sanitizers watch.
TEST(ChatTemplate, SurvivesMutations) {
  const json::value table = ReadCases();
  const json::array& cases = table.at("cases").as_array();
  const json::object& variables = table.at("variables").as_object();
  std::mt19937 random(7);
  const auto pick = [&](size_t n) { return random() % n; };
  constexpr std::string_view kPieces[] = {"{{",   "}}",     "{%",   "%}", "-",
                                          "(",    ")",      "[",    "]",  "{",
                                          "}",    "'",      "\\",   "|",  " is ",
                                          " if ", " else ", "loop", ".",  "~",
                                          "**",   "9",      "\xFF", "\n", "{% for x in xs %}"};
  size_t num_rendered = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string source(cases[pick(cases.size())].at("template").as_string());
    for (size_t edit = 0; edit <= pick(4); ++edit) {
      const size_t at = pick(source.size() + 1);
      switch (pick(3)) {
        case 0:
          source.insert(at, kPieces[pick(std::size(kPieces))]);
          break;
        case 1:
          source.erase(at, pick(6));
          break;
        default: {
          const std::string other(cases[pick(cases.size())].at("template").as_string());
          const size_t from = pick(other.size() + 1);
          source.insert(at, other, from, pick(30));
        }
      }
    }
    const Result<std::string> rendered = Render(source, variables);
    if (rendered) {
      ++num_rendered;
      EXPECT_TRUE(IsValidUtf8(*rendered)) << source;
    } else {
      EXPECT_FALSE(rendered.error().message.empty());
    }
  }
  EXPECT_GT(num_rendered, 500u);
}

class ChatTemplateFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = std::filesystem::path(::testing::TempDir()) / (std::string("engram_") + test->name());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Put(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }
  std::filesystem::path dir_;
};

TEST_F(ChatTemplateFiles, LoadsEveryForm) {
  auto none = ChatTemplate::LoadFrom(dir_);
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->has_value());
  Put("chat_template.jinja", "J{{ eos_token }}\n");
  EXPECT_EQ((*ChatTemplate::LoadFrom(dir_))->Render({}).value(), "J");
  Put("tokenizer_config.json", R"({"eos_token": {"content": "</s>"}, "bos_token": null})");
  EXPECT_EQ((*ChatTemplate::LoadFrom(dir_))->Render({}).value(), "J</s>");
  Put("tokenizer_config.json", R"({"eos_token": "</s>", "chat_template": "T{{ eos_token }}"})");
  EXPECT_EQ((*ChatTemplate::LoadFrom(dir_))->Render({}).value(), "T</s>");
  EXPECT_EQ((*ChatTemplate::LoadFrom(dir_))->Render({{"eos_token", "E"}}).value(), "TE");
  Put("tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "U"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ((*ChatTemplate::LoadFrom(dir_))->Render({}).value(), "D");
}

TEST_F(ChatTemplateFiles, ErrorsNameTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "JSON"},
      {"[]", "object"},
      {R"({"eos_token": 7})", "eos_token"},
      {R"({"bos_token": {"text": "x"}})", "bos_token"},
      {R"({"chat_template": 7})", "chat_template"},
      {R"({"chat_template": [{"name": "default"}]})", "chat_template[0]"},
      {R"({"chat_template": [{"name": "rag", "template": ""}]})", "default"},
      {R"({"chat_template": "{% include 'x' %}"})", "line 1, column 4"},
  };
  for (const auto& [text, part] : cases) {
    Put("tokenizer_config.json", text);
    auto loaded = ChatTemplate::LoadFrom(dir_);
    ASSERT_FALSE(loaded) << text;
    EXPECT_THAT(loaded.error().message, AllOf(HasSubstr("tokenizer_config.json"), HasSubstr(part)));
  }
}

}  // namespace
}  // namespace engram
