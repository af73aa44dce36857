// SPDX-License-Identifier: Apache-2.0
// events: what happens in the daemon, as it happens.
#include <boost/json.hpp>
#include <cstdio>
#include <map>
#include <optional>

#include "engramctl/answers.h"
#include "engramctl/commands.h"
#include "engramctl/json_answer.h"
#include "engramctl/terminal.h"

namespace engram {
namespace {

namespace json = boost::json;

// Of what happened before, shown at the beginning.
constexpr size_t kPastEvents = 10;

std::string ClockOf(const json::object& object, std::string_view key) {
  const std::string time = TimeAt(object, key);
  const size_t space = time.find(' ');
  return space == std::string::npos ? time : time.substr(space + 1);
}

// Shows messages of /admin/v1/events: a line for each thing that happened, and one of numbers, which on a terminal
// stays the last line and elsewhere is printed when it changes.
class Screen {
 public:
  void Show(const json::object& message) {
    if (!headed_) Line(Styled(Header(), Style::kBold));
    headed_ = true;
    ShowOperations(message);
    ShowMemoryEvents(message);
    const std::string numbers = Numbers(ObjectOf(message, "summary"));
    const std::string state = TextAt(message, "state");
    if (IsTerminal()) {
      const std::string line = ClockOf(message, "unix_ms") + "  " + Padded(state, 8) + numbers;
      std::printf("\r%s\x1b[K", Shorten(Printable(line), TerminalWidth() - 1).c_str());
      open_line_ = true;
    } else if (state + numbers != shown_) {
      shown_ = state + numbers;
      Line(ClockOf(message, "unix_ms") + "  " + Printable(Padded(state, 8) + numbers));
    }
    std::fflush(stdout);
  }
  ~Screen() {
    if (open_line_) std::printf("\n");
  }

 private:
  static std::string Padded(std::string text, size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
  }
  static std::string Header() {
    char text[120];
    std::snprintf(text, sizeof(text), "%-9s  %-8s%8s%8s%10s%10s%11s%9s%9s  %s", "TIME", "STATE", "RUNNING", "QUEUED",
                  "TOKENS/S", "PROMPT/S", "STEP", "STALL", "KV CACHE", "TIER HITS");
    return text;
  }
  static std::string Numbers(const json::object& summary) {
    char text[160];
    std::snprintf(text, sizeof(text), "%8.0f%8.0f%10.1f%10.1f%8.2f ms%7.1f %%%7.1f %% ", NumberOf(summary, "running"),
                  NumberOf(summary, "queued"), NumberOf(summary, "tokens_per_s"),
                  NumberOf(summary, "prompt_tokens_per_s"), 1e3 * NumberOf(summary, "step_s"),
                  100 * NumberOf(summary, "stall_share"), 100 * NumberOf(summary, "kv_share"));
    std::string line = text;
    const json::object& tiers = ObjectOf(summary, "tier_hit_shares");
    for (const auto& tier : tiers) line += " " + std::string(tier.key()) + " " + Percent(NumberOf(tiers, tier.key()));
    return line;
  }

  // In place of the numbers, which come again below.
  void Line(const std::string& text) {
    if (open_line_) std::printf("\r\x1b[K");
    open_line_ = false;
    std::printf("%s\n", text.c_str());
  }

  void ShowOperations(const json::object& message) {
    const json::array& operations = ListOf(message, "operations");
    for (size_t i = operations.size(); i > 0; --i) {  // newest first
      const json::object* operation = operations[i - 1].if_object();
      if (operation == nullptr) continue;
      const std::string id = ShowMember(*operation, "id"), state = ShowMember(*operation, "state");
      const json::object& error = ObjectOf(*operation, "error");
      const std::string stage = error.empty() ? ShowMember(*operation, "stage") : ShowMember(error, "message");
      const std::string what = "operation " + id + ", " + ShowMember(*operation, "kind") + " of " +
                               ShowMember(*operation, "target") + ": " + state + " (" + stage + ")";
      const bool over = state != "queued" && state != "running";
      std::string& known = operations_[id];
      // What was over before we came is history.
      const bool is_new = known != what && (!over || !known.empty() || TextAt(message, "type") == "delta");
      known = what;
      if (!is_new) continue;
      const Style style = !over ? Style::kPlain : state == "succeeded" ? Style::kGood : Style::kBad;
      Line(ClockOf(message, "unix_ms") + "  " + Styled(Printable(what), style));
    }
  }

  void ShowMemoryEvents(const json::object& message) {
    const json::array& events = ListOf(message, "memory_events");
    const size_t first = last_event_ ? 0 : events.size() - std::min(events.size(), kPastEvents);
    for (size_t i = first; i < events.size(); ++i) {
      const json::object* event = events[i].if_object();
      if (event == nullptr) continue;
      const double number = NumberOf(*event, "number");
      if (last_event_ && number <= *last_event_) continue;  // a snapshot in between has old ones, too
      last_event_ = number;
      std::string what = ShowMember(*event, "kind") + " of " + ShowMember(*event, "model") + ": version " +
                         ShowMember(*event, "version") + ", " + ShowMember(*event, "rows") + " rows";
      if (const std::string overlay = TextAt(*event, "overlay"); !overlay.empty()) what += ", overlay " + overlay;
      Line(ClockOf(*event, "unix_ms") + "  " + Styled(Printable(what), Style::kGood));
    }
    if (!last_event_) last_event_ = 0;
    const double skipped = NumberOf(message, "memory_events_skipped");
    if (skipped > 0 && TextAt(message, "type") == "delta")
      Line(ClockOf(message, "unix_ms") + "  " + ShowMember(message, "memory_events_skipped") + " more events before");
  }

  bool headed_ = false;
  bool open_line_ = false;
  std::string shown_;
  std::map<std::string, std::string> operations_;  // by id: as shown last
  std::optional<double> last_event_;
};

int Events(const Arguments& arguments) {
  if (!arguments.words().empty()) return Report(InvalidArgument("events takes options only"), true);
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto count = arguments.Integer("count", 1, INT64_MAX);
  if (!count) return Report(count.error(), true);
  int64_t left = count->value_or(INT64_MAX);
  const bool raw = arguments.Has("json");
  std::optional<Error> failed;
  const Status status = [&] {
    Screen screen;
    return client->Follow("/admin/v1/events", [&](std::string_view text) {
      if (raw) {
        std::printf("%.*s\n", static_cast<int>(text.size()), text.data());
        std::fflush(stdout);
        return --left > 0;
      }
      boost::system::error_code error;
      const json::value message = json::parse(text, error);
      if (error || !message.is_object()) {
        failed = DataLoss("a message is not a JSON object");
        return false;
      }
      screen.Show(message.get_object());
      return --left > 0;
    });
  }();
  if (failed) return Report(*failed);
  return status ? kDone : Report(status.error());
}

}  // namespace

Command EventsCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl events [OPTION]...\n\n"
          "Shows what happens in the daemon until Ctrl-C: commits and overlays, operations, and twice a\n"
          "second what it is busy with (on a terminal in its last line, elsewhere when it changes).\n\n"
          "  --count N      end after so many messages\n"
          "  --json         each message as it comes, one a line: docs/websocket.md has them\n") +
      kOnlineHelp;
  return {"events", "what happens, as it happens", kHelp.c_str(), Events, OnlineOptions({{"count", true}, {"json"}})};
}

}  // namespace engram
