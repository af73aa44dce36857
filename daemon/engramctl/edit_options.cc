// SPDX-License-Identifier: Apache-2.0
#include "engramctl/edit_options.h"

#include <charconv>
#include <limits>

#include "core/file.h"
#include "engramctl/commands.h"

namespace engram {

namespace json = boost::json;

constexpr uint64_t kMaxFileBytes = 256u << 20;

Result<json::array> NumberList(const std::string& option, const std::string& text) {
  json::array numbers;
  for (size_t start = 0; start <= text.size();) {
    const size_t comma = std::min(text.find(',', start), text.size());
    double number = 0;
    const auto [end, error] = std::from_chars(text.data() + start, text.data() + comma, number);
    if (error != std::errc() || end != text.data() + comma || start == comma)
      return InvalidArgument("--" + option + ": \"" + text.substr(start, comma - start) + "\" is not a number");
    numbers.emplace_back(number);
    start = comma + 1;
  }
  return numbers;
}

Result<json::value> ReadJsonFile(const std::string& path) {
  ENGRAM_TRY(const std::string text, path == "-" ? ReadStandardInput() : ReadFile(path, kMaxFileBytes));
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return InvalidArgument(path + " is not JSON: " + error.message());
  return value;
}

Result<std::optional<json::object>> EditOf(const Arguments& arguments) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  ENGRAM_TRY(const auto layer, arguments.Integer("layer", 0, std::numeric_limits<int32_t>::max()));
  ENGRAM_TRY(const auto row, arguments.Integer("row", 0, kMax));
  const auto ngram = arguments.Value("ngram");
  const auto values = arguments.Value("values");
  if (!layer) {
    if (row || ngram || values) return InvalidArgument("an edit needs --layer");
    return std::optional<json::object>();
  }
  if (row.has_value() == ngram.has_value()) return InvalidArgument("an edit needs either --row or --ngram");
  if (!values) return InvalidArgument("an edit needs --values");
  json::object edit{{"layer", *layer}};
  if (row) edit["row"] = *row;
  if (ngram) edit["ngram"] = json::object{{"text", *ngram}};
  ENGRAM_TRY(const auto order, arguments.Integer("order", 2, 32));
  if (order) edit["order"] = *order;
  if (const auto heads = arguments.Value("heads")) {
    ENGRAM_TRY(const json::array list, NumberList("heads", *heads));
    json::array ids;
    for (const json::value& head : list) ids.emplace_back(static_cast<int64_t>(head.as_double()));
    edit["heads"] = std::move(ids);
  }
  if (const auto mode = arguments.Value("mode")) edit["mode"] = *mode;
  ENGRAM_TRY(edit["values"], NumberList("values", *values));
  return std::optional(std::move(edit));
}

}  // namespace engram
