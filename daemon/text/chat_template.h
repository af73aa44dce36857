// SPDX-License-Identifier: Apache-2.0
// ChatTemplate: the model's own Jinja template that turns messages into a prompt. Immutable after Parse(); any thread.
#pragma once

#include <boost/json/value.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace engram {

class ChatTemplate {
 public:
  // Compiles a template. A construct outside the supported subset (docs/chat-templates.md) is refused by name with line
  // and column, here and not at Render() where that can be known.
  static Result<ChatTemplate> Parse(std::string_view source);
  // The template of a model directory: chat_template in tokenizer_config.json (a string, or a list of {name, template}
  // of which "default" is taken), else chat_template.jinja. Nothing when the model has none.
  static Result<std::optional<ChatTemplate>> LoadFrom(const std::filesystem::path& model_dir);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // What was compiled. Valid as long as this.
  std::string_view source() const;

  // Renders with `variables` (an object: messages, add_generation_prompt, tools, and what the request adds); bos_token,
  // eos_token, pad_token and unk_token come from tokenizer_config.json and can be overridden. raise_exception() in the
  // template is kInvalidArgument with its message. Output, steps and nesting are bounded: kResourceExhausted.
  Result<std::string> Render(const boost::json::object& variables) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
