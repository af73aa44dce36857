// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <charconv>
#include <string_view>

#include "engram/plugin_error.h"

namespace backbone_cpu {

namespace {

using engram::sdk::PluginError;

PluginError Bad(std::string_view key, const std::string& what) {
  return PluginError(ENGRAM_INVALID_ARGUMENT, "option '" + std::string(key) + "' " + what);
}

uint64_t ParseUnsigned(std::string_view key, std::string_view text, uint64_t low, uint64_t high) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw Bad(key, "is '" + std::string(text) + "', not an integer from " + std::to_string(low) + " to " +
                       std::to_string(high));
  }
  return value;
}

}  // namespace

Options ParseOptions(const engram_option* options, uint32_t num_options) {
  Options parsed;
  for (uint32_t i = 0; i < num_options; ++i) {
    if (options[i].key == nullptr || options[i].value == nullptr) throw Bad(std::to_string(i), "is null");
    const std::string_view key = options[i].key;
    const std::string_view value = options[i].value;
    if (key == "threads") {
      parsed.threads = static_cast<uint32_t>(ParseUnsigned(key, value, 0, 1024));
    } else if (key == "weights") {
      if (value != "native") throw Bad(key, "is '" + std::string(value) + "'; native is known");
      parsed.weights = value;
    } else if (key == "kv_cache_tokens") {
      parsed.kv_cache_tokens = ParseUnsigned(key, value, 0, uint64_t{1} << 32);
    } else if (key == "max_sequences") {
      parsed.max_sequences = static_cast<uint32_t>(ParseUnsigned(key, value, 1, 1u << 20));
    } else if (key == "max_batch_tokens") {
      parsed.max_batch_tokens = static_cast<uint32_t>(ParseUnsigned(key, value, 1, 1u << 16));
    } else if (key == "kernels") {
      parsed.kernels = value;
    } else {
      throw Bad(key,
                "is unknown; threads, weights, kv_cache_tokens, max_sequences, max_batch_tokens and kernels are "
                "known");
    }
  }
  return parsed;
}

}  // namespace backbone_cpu
