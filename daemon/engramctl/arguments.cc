// SPDX-License-Identifier: Apache-2.0
#include "engramctl/arguments.h"

#include <getopt.h>

#include <charconv>

namespace engram {

std::optional<int64_t> ParseSigned(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Arguments> Arguments::Parse(int argc, char** argv, const std::vector<OptionSpec>& options) {
  std::vector<option> table;
  for (const OptionSpec& spec : options)
    table.push_back({spec.name.c_str(), spec.takes_value ? required_argument : no_argument, nullptr, 0});
  table.push_back({nullptr, 0, nullptr, 0});
  Arguments arguments;
  opterr = 0;
  optind = 0;  // GNU: start over, also its own state
  int index = 0;
  for (int chosen; (chosen = getopt_long(argc, argv, ":h", table.data(), &index)) != -1;) {
    const std::string given = argv[optind - 1];
    if (chosen == ':') return InvalidArgument("option " + given + " needs a value");
    if (chosen == '?') return InvalidArgument("unknown option " + given);
    if (chosen == 'h')
      arguments.values_["help"];
    else
      arguments.values_[table[static_cast<size_t>(index)].name].push_back(optarg ? optarg : "");
  }
  arguments.words_.assign(argv + optind, argv + argc);
  return arguments;
}

const std::vector<std::string>& Arguments::All(const std::string& name) const {
  static const std::vector<std::string> kNone;
  const auto found = values_.find(name);
  return found == values_.end() ? kNone : found->second;
}

std::optional<std::string> Arguments::Value(const std::string& name) const {
  const auto& all = All(name);
  if (all.empty()) return std::nullopt;
  return all.back();
}

Result<std::optional<double>> Arguments::Number(const std::string& name, double min, double max) const {
  const auto text = Value(name);
  if (!text) return std::optional<double>();
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || !(value >= min && value <= max))
    return InvalidArgument("--" + name + ": \"" + *text + "\" is not a number in range");
  return std::optional<double>(value);
}

Result<std::optional<int64_t>> Arguments::Integer(const std::string& name, int64_t min, int64_t max) const {
  const auto text = Value(name);
  if (!text) return std::optional<int64_t>();
  const auto value = ParseSigned(*text);
  if (!value || *value < min || *value > max)
    return InvalidArgument("--" + name + ": \"" + *text + "\" is not a whole number in range");
  return value;
}

}  // namespace engram
