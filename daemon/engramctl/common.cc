// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>

#include "engramctl/commands.h"

namespace engram {

int Report(const Error& error, bool usage) {
  std::fprintf(stderr, "engramctl: %s\n", error.message.c_str());
  return usage && error.code == ErrorCode::kInvalidArgument ? kUsage : kFailed;
}

std::vector<OptionSpec> OnlineOptions(std::vector<OptionSpec> own) {
  for (const char* name : {"url", "key", "model"}) own.push_back({name, true});
  return own;
}

Result<HttpClient> ClientOf(const Arguments& arguments) {
  const auto from = [&](const char* option, const char* variable, const char* fallback) -> std::string {
    if (const auto value = arguments.Value(option)) return *value;
    const char* value = std::getenv(variable);
    return value && *value ? value : fallback;
  };
  return HttpClient::Create(from("url", "ENGRAM_URL", "http://127.0.0.1:8484"), from("key", "ENGRAM_API_KEY", ""));
}

Result<std::string> ReadStandardInput() {
  constexpr size_t kMaxBytes = 64u << 20;
  std::string text;
  char chunk[65536];
  for (size_t got; (got = std::fread(chunk, 1, sizeof(chunk), stdin)) > 0;) {
    text.append(chunk, got);
    if (text.size() > kMaxBytes) return InvalidArgument("standard input is longer than 64 MiB");
  }
  if (std::ferror(stdin)) return IoError("standard input cannot be read");
  return text;
}

Result<std::string> TextOf(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.empty() || (words.size() == 1 && words[0] == "-")) return ReadStandardInput();
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace engram
