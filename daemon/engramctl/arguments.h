// SPDX-License-Identifier: Apache-2.0
// Arguments of one engramctl command: GNU long options in any order, then words. Parsed by getopt_long: one thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace engram {

struct OptionSpec {
  std::string name;  // without "--"
  bool takes_value = false;
};

class Arguments {
 public:
  // argv[0] is the command. kInvalidArgument names an unknown option, or one without its value.
  static Result<Arguments> Parse(int argc, char** argv, const std::vector<OptionSpec>& options);

  bool Has(const std::string& name) const { return values_.contains(name); }
  // Values in the order given; empty when the option was not.
  const std::vector<std::string>& All(const std::string& name) const;
  // The last value.
  std::optional<std::string> Value(const std::string& name) const;
  // The last value as a number in [min, max]; kInvalidArgument names the option.
  Result<std::optional<double>> Number(const std::string& name, double min, double max) const;
  Result<std::optional<int64_t>> Integer(const std::string& name, int64_t min, int64_t max) const;
  const std::vector<std::string>& words() const { return words_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> words_;
};

// Signed decimal, the whole text.
std::optional<int64_t> ParseSigned(const std::string& text);

}  // namespace engram
