// SPDX-License-Identifier: Apache-2.0
#include "http/event_hub.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/json_text.h"
#include "core/json_value.h"
#include "http/admin_json.h"
#include "http/generation_messages.h"
#include "http/json_body.h"
#include "http/json_fields.h"
#include "http/json_out.h"

namespace engram {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr size_t kMaxAnswers = 16;

// The sum over all labels.
double Sum(const MetricValues& values, std::string_view name) {
  double sum = 0;
  for (auto it = values.lower_bound(name); it != values.end() && it->first.starts_with(name); ++it)
    if (it->first.size() == name.size() || it->first[name.size()] == '{') sum += it->second;
  return sum;
}

uint64_t NewestRevision(const std::vector<Operation>& operations) {
  uint64_t revision = 0;
  for (const Operation& operation : operations) revision = std::max(revision, operation.revision);
  return revision;
}

std::string Head(const char* type, std::string_view state, std::string_view summary) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(system_clock::now().time_since_epoch());
  return std::string("{\"type\":\"") + type + "\",\"unix_ms\":" + std::to_string(now.count()) + ",\"state\":\"" +
         std::string(state) + "\",\"summary\":" + std::string(summary) + ",\"metrics\":{";
}

void AppendValue(std::string& out, const std::string& name, double value) {
  if (out.back() != '{') out += ',';
  out += JsonQuote(name) + ":";
  AppendDouble(out, value);
}

// Those changed after `revision`, newest first.
void AppendOperations(std::string& out, const std::vector<Operation>& operations, uint64_t revision) {
  out += ",\"operations\":[";
  for (const Operation& operation : operations) {
    if (operation.revision <= revision) continue;
    if (out.back() != '[') out += ',';
    out += JsonText(OperationJson(operation));
  }
  out += ']';
}

// Those after number `last`. Of more than were kept since, the number is said.
void AppendEvents(std::string& out, const std::vector<NumberedMemoryEvent>& events, uint64_t last) {
  out += ",\"memory_events\":[";
  for (const NumberedMemoryEvent& each : events) {
    if (each.number <= last) continue;
    if (out.back() != '[') out += ',';
    out += MemoryEventJson(each);
  }
  const uint64_t skipped = events.empty() ? 0 : events.front().number - std::min(events.front().number, last + 1);
  out += "],\"memory_events_skipped\":" + std::to_string(skipped);
}

uint64_t NewestNumber(const std::vector<NumberedMemoryEvent>& events) {
  return events.empty() ? 0 : events.back().number;
}

}  // namespace

MetricValues ParseMetrics(std::string_view text) {
  MetricValues values;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, space);
    if (name.find("_bucket{") != std::string_view::npos) continue;
    values.emplace(name, std::strtod(std::string(line.substr(space + 1)).c_str(), nullptr));
  }
  return values;
}

std::string SummaryJson(const MetricValues& before, const MetricValues& now, double seconds) {
  const auto grown = [&](std::string_view name) { return std::max(0.0, Sum(now, name) - Sum(before, name)); };
  const auto share = [](double part, double whole) { return whole > 0 ? part / whole : 0; };
  std::string out = "{";
  const auto add = [&](const char* name, double value) { AppendValue(out, name, value); };
  add("queued", Sum(now, "engramd_queue_depth"));
  add("running", Sum(now, "engramd_running_sequences"));
  add("tokens_per_s", share(grown("engramd_generated_tokens_total"), seconds));
  add("prompt_tokens_per_s", share(grown("engramd_prompt_tokens_total"), seconds));
  add("step_s", share(grown("engramd_step_duration_seconds_sum"), grown("engramd_step_duration_seconds_count")));
  add("stall_share", share(grown("engramd_memory_stall_seconds_total"), grown("engramd_step_duration_seconds_sum")));
  add("kv_share", share(Sum(now, "engramd_kv_cache_used_tokens"), Sum(now, "engramd_kv_cache_capacity_tokens")));
  out += ",\"tier_hit_shares\":{";
  // By tier: hits of the rows asked of it.
  std::map<std::string, std::pair<double, double>> tiers;
  constexpr std::string_view kHits = "engramd_tier_hits_total{", kRows = "engramd_tier_rows_total{";
  for (const std::string_view counter : {kHits, kRows}) {
    for (auto it = now.lower_bound(counter); it != now.end() && it->first.starts_with(counter); ++it) {
      constexpr std::string_view kLabel = "tier=\"";
      const size_t start = it->first.find(kLabel);
      if (start == std::string::npos) continue;
      const size_t name = start + kLabel.size();
      const auto old = before.find(it->first);
      const double change = it->second - (old == before.end() ? 0 : old->second);
      auto& [hits, rows] = tiers[it->first.substr(name, it->first.find('"', name) - name)];
      (counter == kHits ? hits : rows) += std::max(0.0, change);
    }
  }
  for (const auto& [tier, counts] : tiers)
    if (counts.second > 0) AppendValue(out, tier, share(counts.first, counts.second));
  out += "}}";
  return out;
}

class EventHub::Subscriber final : public Channel {
 public:
  Subscriber(EventHub& hub, std::string snapshot) : hub_(hub), message_(std::move(snapshot)) {}
  ~Subscriber() override { hub_.Unsubscribe(this); }

  void Start(std::function<void()> wake) override {
    std::lock_guard lock(hub_.mutex_);
    wake_ = std::move(wake);
  }
  Action Receive(std::string text) override {
    std::string answer;
    auto body = ParseJsonObject(text);
    if (!body) {
      answer = ErrorMessage({}, body.error());
    } else {
      JsonFields fields(*body);
      if (fields.String("type", "") != "ping") fields.Fail("type", "must be \"ping\"");
      const Status status = fields.Finish();
      answer = status ? "{\"type\":\"pong\"}" : ErrorMessage({}, status.error());
    }
    return [this, answer = std::move(answer)] { answers_.push_back(answer); };
  }
  Step Poll() override {
    Step step;
    step.messages.swap(answers_);
    std::lock_guard lock(hub_.mutex_);
    if (behind_) {
      message_ = hub_.Snapshot();
      behind_ = false;
    }
    if (!message_.empty()) step.messages.push_back(std::exchange(message_, {}));
    if (draining_) step.close = {1001, "the server is shutting down"};
    return step;
  }
  bool congested() const override { return answers_.size() >= kMaxAnswers; }
  void Drain() override { draining_ = true; }

  // The hub's mutex is held.
  void Push(const std::string& delta) {
    if (behind_ || !message_.empty()) {
      behind_ = true;
      message_.clear();
    } else {
      message_ = delta;
    }
    if (wake_) wake_();
  }

 private:
  EventHub& hub_;
  std::vector<std::string> answers_;
  bool draining_ = false;
  // Guarded by the hub's mutex.
  std::function<void()> wake_;
  std::string message_;
  bool behind_ = false;  // a new snapshot is due
};

EventHub::EventHub(const MetricRegistry& metrics, const Operations* operations, const MemoryEvents* events,
                   std::function<std::string_view()> state)
    : metrics_(metrics), operations_(operations), events_(events), state_(std::move(state)) {}

EventHub::Reading EventHub::Read() const {
  return {steady_clock::now(), ParseMetrics(metrics_.Text()), std::string(state_()),
          operations_ == nullptr ? std::vector<Operation>() : operations_->List(),
          events_ == nullptr ? std::vector<NumberedMemoryEvent>() : events_->List()};
}

bool EventHub::HasSubscribers() const {
  std::lock_guard lock(mutex_);
  return !subscribers_.empty();
}

std::unique_ptr<Channel> EventHub::Subscribe() {
  Reading now = Read();
  std::lock_guard lock(mutex_);
  // Subscribers that are there are told of changes since the last reading, which must stay theirs.
  if (subscribers_.empty()) {
    summary_ = SummaryJson(now.values, now.values, 0);
    last_ = std::move(now);
  }
  auto subscriber = std::make_unique<Subscriber>(*this, Snapshot());
  subscribers_.push_back(subscriber.get());
  return subscriber;
}

void EventHub::Unsubscribe(const Subscriber* subscriber) {
  std::lock_guard lock(mutex_);
  std::erase(subscribers_, subscriber);
}

void EventHub::Tick() {
  if (!HasSubscribers()) return;
  Reading now = Read();
  std::lock_guard lock(mutex_);
  const double seconds = std::chrono::duration<double>(now.time - last_.time).count();
  summary_ = SummaryJson(last_.values, now.values, seconds);
  const std::string delta = Delta(now);
  last_ = std::move(now);
  for (Subscriber* subscriber : subscribers_) subscriber->Push(delta);
}

std::string EventHub::Snapshot() const {
  std::string out = Head("snapshot", last_.state, summary_);
  for (const auto& [name, value] : last_.values) AppendValue(out, name, value);
  out += '}';
  AppendOperations(out, last_.operations, 0);
  AppendEvents(out, last_.events, 0);
  out += '}';
  return out;
}

// Values that changed, and null for those that are gone.
std::string EventHub::Delta(const Reading& now) const {
  std::string out = Head("delta", now.state, summary_);
  for (const auto& [name, value] : now.values) {
    const auto old = last_.values.find(name);
    if (old == last_.values.end() || old->second != value) AppendValue(out, name, value);
  }
  for (const auto& [name, value] : last_.values) {
    if (now.values.contains(name)) continue;
    if (out.back() != '{') out += ',';
    out += JsonQuote(name) + ":null";
  }
  out += '}';
  AppendOperations(out, now.operations, NewestRevision(last_.operations));
  AppendEvents(out, now.events, NewestNumber(last_.events));
  out += '}';
  return out;
}

}  // namespace engram
