// SPDX-License-Identifier: Apache-2.0
#include "constrain/schema_formats.h"

#include <array>

namespace engram {
namespace {

struct Format {
  std::string_view name;
  std::string_view pattern;
};

// Days that every month of every year has, up to the month's own last one; 29 February is left out.
#define ENGRAM_DATE                                                                                                   \
  "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-" \
  "9]|"                                                                                                               \
  "2[0-8]))"
#define ENGRAM_TIME \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define ENGRAM_BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define ENGRAM_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?"
#define ENGRAM_HOST ENGRAM_LABEL "(?:\\." ENGRAM_LABEL "){0,4}"

constexpr std::array<Format, 9> kFormats = {{
    {"date-time", "^" ENGRAM_DATE "T" ENGRAM_TIME "$"},
    {"date", "^" ENGRAM_DATE "$"},
    {"time", "^" ENGRAM_TIME "$"},
    {"duration",
     "^P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)(?:T(?:["
     "0-9]{"
     "1,4}H|[0-9]{1,4}M|[0-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-"
     "9]{1,"
     "4}S))$"},
    {"email", "^[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,32}){0,3}@" ENGRAM_HOST "$"},
    {"hostname", "^" ENGRAM_HOST "$"},
    {"ipv4", "^" ENGRAM_BYTE "(?:\\." ENGRAM_BYTE "){3}$"},
    {"ipv6", "^[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
}};

}  // namespace

std::optional<std::string_view> PatternOfFormat(std::string_view format) {
  for (const Format& known : kFormats)
    if (known.name == format) return known.pattern;
  return std::nullopt;
}

std::string KnownFormats() {
  std::string names;
  for (const Format& known : kFormats) names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

}  // namespace engram
