// SPDX-License-Identifier: Apache-2.0
// operations: what the daemon was asked to do and takes long.
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "core/json_value.h"
#include "engramctl/commands.h"
#include "engramctl/follow.h"
#include "engramctl/json_answer.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

// Often enough for people; a swap takes seconds to minutes.
constexpr std::chrono::milliseconds kPollInterval{200};

std::string Percent(const json::object& operation) {
  const json::value* value = operation.if_contains("progress");
  if (value == nullptr || !value->is_number()) return "-";
  return std::to_string(static_cast<int>(value->to_number<double>() * 100 + 0.5)) + " %";
}

std::string LocalTime(const json::object& operation, std::string_view key) {
  const json::value* value = operation.if_contains(key);
  if (value == nullptr || !value->is_int64()) return "-";
  const auto seconds = static_cast<std::time_t>(value->get_int64() / 1000);
  std::tm parts{};
  char text[32];
  if (localtime_r(&seconds, &parts) == nullptr || std::strftime(text, sizeof(text), "%F %T", &parts) == 0) return "-";
  return text;
}

// The stage, or why it failed.
std::string Outcome(const json::object& operation) {
  const json::object& error = ObjectOf(operation, "error");
  return ShowMember(error.empty() ? operation : error, error.empty() ? "stage" : "message");
}

bool IsOver(const json::object& operation) {
  const std::string state = ShowMember(operation, "state");
  return state != "queued" && state != "running";
}

// Prints one that is over, or as it is now.
int PrintOne(const json::object& operation, const Arguments& arguments) {
  if (arguments.Has("json")) {
    std::printf("%s\n", JsonText(operation).c_str());
  } else {
    std::printf("operation %s, %s of %s: %s (%s)\n", ShowMember(operation, "id").c_str(),
                ShowMember(operation, "kind").c_str(), ShowMember(operation, "target").c_str(),
                ShowMember(operation, "state").c_str(), Outcome(operation).c_str());
  }
  return IsOver(operation) && ShowMember(operation, "state") != "succeeded" ? kFailed : kDone;
}

int List(const HttpClient& client, const Arguments& arguments) {
  const auto answer = JsonAnswer(client.Call("/admin/v1/operations"));
  if (!answer) return Report(answer.error());
  if (arguments.Has("json")) {
    std::printf("%s\n", JsonText(*answer).c_str());
    return kDone;
  }
  std::vector<std::vector<std::string>> rows{
      {"ID", "ASKED FOR AT", "KIND", "TARGET", "STATE", "DONE", "STAGE OR ERROR"}};
  for (const json::value& item : ListOf(*answer, "operations"))
    if (const json::object* operation = item.if_object())
      rows.push_back({ShowMember(*operation, "id"), LocalTime(*operation, "created_unix_ms"),
                      ShowMember(*operation, "kind"), ShowMember(*operation, "target"), ShowMember(*operation, "state"),
                      Percent(*operation), Outcome(*operation)});
  PrintColumns(rows);
  return kDone;
}

int Operations(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  if (arguments.words().empty()) return List(*client, arguments);
  const auto id = ParseSigned(arguments.words()[0]);
  if (arguments.words().size() > 1 || !id || *id < 0)
    return Report(InvalidArgument("operations takes one number of an operation"), true);
  if (arguments.Has("cancel")) {
    HttpCall call{.method = "DELETE", .target = "/admin/v1/operations/" + std::to_string(*id)};
    const auto cancelled = JsonAnswer(client->Send(call));
    if (!cancelled) return Report(cancelled.error());
    PrintOne(*cancelled, arguments);
    return kDone;
  }
  if (arguments.Has("follow")) return FollowOperation(*client, static_cast<uint64_t>(*id), arguments);
  const auto operation = JsonAnswer(client->Call("/admin/v1/operations/" + std::to_string(*id)));
  if (!operation) return Report(operation.error());
  return PrintOne(*operation, arguments);
}

}  // namespace

int FollowOperation(const HttpClient& client, uint64_t id, const Arguments& arguments) {
  std::string shown;
  for (;;) {
    const auto operation = JsonAnswer(client.Call("/admin/v1/operations/" + std::to_string(id)));
    if (!operation) return Report(operation.error());
    if (IsOver(*operation)) return PrintOne(*operation, arguments);
    const std::string line =
        Percent(*operation) + " " + ShowMember(*operation, "state") + ": " + ShowMember(*operation, "stage");
    if (line != shown) std::fprintf(stderr, "%s\n", line.c_str());
    shown = line;
    std::this_thread::sleep_for(kPollInterval);
  }
}

int Operate(const Arguments& arguments, const char* target, const json::object& request) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto answer = JsonAnswer(client->Call(target, json::serialize(request)));
  if (!answer) return Report(answer.error());
  const json::value* id = answer->if_contains("operation");
  boost::system::error_code error;
  const auto number = id != nullptr ? id->to_number<uint64_t>(error) : 0;
  if (id == nullptr || error) return Report(DataLoss("the answer has no number \"operation\""));
  if (!arguments.Has("no-wait")) return FollowOperation(*client, number, arguments);
  std::printf(arguments.Has("json") ? "{\"operation\":%llu}\n" : "operation %llu\n",
              static_cast<unsigned long long>(number));
  return kDone;
}

Command OperationsCommand() {
  static const std::string kHelp = std::string(
                                       "Usage: engramctl operations [OPTION]... [ID]\n\nPrints the daemon's "
                                       "operations, newest first, or one of them; "
                                       "exits with 1 when that one\nfailed or was cancelled.\n\n"
                                       "  --follow       wait until it is over, its stages on standard error\n"
                                       "  --cancel       end it: at once if it is queued, else at its next step\n"
                                       "  --json         as JSON\n") +
                                   kOnlineHelp;
  return {"operations", "what takes long: swaps, loads", kHelp.c_str(), Operations,
          OnlineOptions({{"follow"}, {"cancel"}, {"json"}})};
}

}  // namespace engram
