// SPDX-License-Identifier: Apache-2.0
// status: whether the daemon is ready, and what it does.
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>

#include "core/json_value.h"
#include "engramctl/commands.h"
#include "engramctl/json_answer.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

std::string Uptime(const json::object& status) {
  const json::value* value = status.if_contains("uptime_s");
  if (value == nullptr || !value->is_number()) return "-";
  const auto seconds = static_cast<long long>(value->to_number<double>());
  char text[60];
  std::snprintf(text, sizeof(text), "%lldd %02lld:%02lld:%02lld", seconds / 86400, seconds / 3600 % 24,
                seconds / 60 % 60, seconds % 60);
  return text;
}

void PrintStatus(const json::object& status) {
  std::string models;
  for (const json::value& model : ListOf(status, "models"))
    if (const json::object* object = model.if_object())
      models += (models.empty() ? "" : ", ") + ShowMember(*object, "name") + " (" + ShowMember(*object, "state") + ")";
  const json::object& kv = ObjectOf(status, "kv");
  PrintColumns({{"version", ShowMember(status, "version")},
                {"up", Uptime(status)},
                {"models", models.empty() ? "-" : models},
                {"memory", "version " + ShowMember(status, "memory_version")},
                {"requests", ShowMember(status, "running") + " running, " + ShowMember(status, "queued") + " queued"},
                {"KV cache", ShowMember(kv, "used_tokens") + " of " + ShowMember(kv, "capacity_tokens") + " tokens"},
                {"operations", ShowMember(status, "operations_pending") + " pending"}});
}

int StatusOf(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto ready = client->Call("/health/ready");
  if (!ready) return Report(ready.error());
  const int result = ready->status == 200 ? kDone : kFailed;
  const auto answer = client->Call("/admin/v1/status");
  if (arguments.Has("json")) {
    const auto status = JsonAnswer(answer);
    if (!status) return Report(status.error());
    std::printf("%s\n", JsonText(*status).c_str());
    return result;
  }
  std::printf("%s\n", ready->status == 200 ? "ready" : ("not ready: " + HttpClient::ErrorText(*ready)).c_str());
  // A key that may only generate still learns whether the daemon is ready.
  if (const auto status = JsonAnswer(answer)) PrintStatus(*status);
  if (arguments.Has("metrics")) {
    const auto metrics = client->Call("/metrics");
    if (!metrics) return Report(metrics.error());
    if (metrics->status != 200) return Report(Unavailable(HttpClient::ErrorText(*metrics)));
    std::fputs(metrics->body.c_str(), stdout);
  }
  return result;
}

}  // namespace

Command StatusCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl status [OPTION]...\n\nSays whether the daemon is ready and, to keys with the scope read, "
          "what it does;\nexits with 1 when it is not ready.\n\n"
          "  --json         the status as JSON\n"
          "  --metrics      also print the metrics\n") +
      kOnlineHelp;
  return {"status", "whether the daemon is ready, and what it does", kHelp.c_str(), StatusOf,
          OnlineOptions({{"json"}, {"metrics"}})};
}

}  // namespace engram
