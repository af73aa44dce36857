// SPDX-License-Identifier: Apache-2.0
#include "http/event_hub.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace engram {
namespace {

namespace json = boost::json;

class EventHubTest : public ::testing::Test {
 protected:
  EventHubTest() : hub_(metrics_, &operations_, &events_, [this] { return state_; }) {}
  // The messages that a subscriber would be sent now.
  static std::vector<json::object> Take(Channel& channel) {
    std::vector<json::object> messages;
    for (const std::string& message : channel.Poll().messages) messages.push_back(json::parse(message).as_object());
    return messages;
  }
  MetricRegistry metrics_;
  Operations operations_;
  MemoryEvents events_{3};
  std::string_view state_ = "loading";
  EventHub hub_;
};

TEST_F(EventHubTest, ASnapshotThenWhatHasChanged) {
  Gauge& queue = metrics_.GetGauge("engramd_queue_depth", "h", {{"model", "a \"b\""}});
  Counter& tokens = metrics_.GetCounter("engramd_generated_tokens_total", "h");
  metrics_.GetHistogram("engramd_step_duration_seconds", "h", DurationBounds()).Observe(0.5);
  queue.Set(2);
  const uint64_t operation = operations_.Add("model.load", "m", "/m");
  const auto channel = hub_.Subscribe();
  int woken = 0;
  channel->Start([&] { ++woken; });

  auto messages = Take(*channel);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].at("type"), "snapshot");
  EXPECT_EQ(messages[0].at("state"), "loading");
  const json::object& all = messages[0].at("metrics").as_object();
  EXPECT_EQ(all.at("engramd_queue_depth{model=\"a \\\"b\\\"\"}"), 2);
  EXPECT_EQ(all.at("engramd_step_duration_seconds_sum"), 0.5);
  EXPECT_EQ(all.size(), 4u);  // no buckets
  EXPECT_EQ(messages[0].at("operations").as_array().at(0).at("id").to_number<uint64_t>(), operation);
  EXPECT_TRUE(Take(*channel).empty());

  state_ = "ready";
  tokens.Add(7);
  hub_.Tick();
  EXPECT_EQ(woken, 1);
  messages = Take(*channel);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].at("type"), "delta");
  EXPECT_EQ(messages[0].at("state"), "ready");
  EXPECT_EQ(messages[0].at("metrics"), json::parse("{\"engramd_generated_tokens_total\":7}"));
  EXPECT_EQ(messages[0].at("summary").at("queued"), 2);
  EXPECT_GT(messages[0].at("summary").at("tokens_per_s").to_number<double>(), 0);
  EXPECT_TRUE(messages[0].at("operations").as_array().empty());

  ASSERT_TRUE(operations_.Start(operation));
  hub_.Tick();
  messages = Take(*channel);
  EXPECT_TRUE(messages.at(0).at("metrics").as_object().empty());
  EXPECT_EQ(messages.at(0).at("operations").as_array().at(0).at("state"), "running");
}

TEST_F(EventHubTest, WhatHappensToTheMemoryIsToldOnceAndSoManyAtATime) {
  const auto add = [&](const char* kind, uint64_t version) { events_.Add({kind, "m", "", version, 2, 1000}); };
  add("commit", 1);
  const auto channel = hub_.Subscribe();
  json::object message = Take(*channel).at(0);
  ASSERT_EQ(message.at("memory_events").as_array().size(), 1u);
  EXPECT_EQ(message.at("memory_events").at(0), json::parse(R"({"number":1,"unix_ms":1000,"kind":"commit","model":"m",
                                                              "version":1,"rows":2,"overlay":null})"));
  hub_.Tick();
  EXPECT_TRUE(Take(*channel).at(0).at("memory_events").as_array().empty());
  events_.Add({"overlay_put", "m", "tenant", 1, 2, 1000});
  add("rollback", 2);
  hub_.Tick();
  message = Take(*channel).at(0);
  ASSERT_EQ(message.at("memory_events").as_array().size(), 2u);
  EXPECT_EQ(message.at("memory_events").at(0).at("overlay"), "tenant");
  EXPECT_EQ(message.at("memory_events_skipped"), 0);
  for (uint64_t version = 3; version < 8; ++version) add("commit", version);
  hub_.Tick();
  message = Take(*channel).at(0);
  EXPECT_EQ(message.at("memory_events").as_array().size(), 3u);
  EXPECT_EQ(message.at("memory_events").at(0).at("version"), 5);
  EXPECT_EQ(message.at("memory_events_skipped"), 2);
}

TEST_F(EventHubTest, WhoFallsBehindGetsANewSnapshot) {
  Counter& counter = metrics_.GetCounter("engramd_things_total", "h");
  const auto slow = hub_.Subscribe();
  const auto quick = hub_.Subscribe();
  for (int i = 0; i < 5; ++i) {
    Take(*quick);
    counter.Add();
    hub_.Tick();
  }
  const auto messages = Take(*slow);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].at("type"), "snapshot");
  EXPECT_EQ(messages[0].at("metrics").at("engramd_things_total"), 5);
  EXPECT_EQ(Take(*quick).at(0).at("type"), "delta");
}

TEST_F(EventHubTest, MetricsThatAreGoneAreNull) {
  auto collector =
      metrics_.AddCollector([](MetricSink& sink) { sink.Value("engramd_gone", MetricType::kGauge, "h", {}, 1); });
  const auto channel = hub_.Subscribe();
  Take(*channel);
  collector.reset();
  hub_.Tick();
  EXPECT_EQ(Take(*channel).at(0).at("metrics"), json::parse("{\"engramd_gone\":null}"));
}

TEST_F(EventHubTest, AnswersPings) {
  const auto channel = hub_.Subscribe();
  channel->Receive("{\"type\":\"ping\"}")();
  channel->Receive("{\"type\":\"generate\"}")();
  channel->Receive("nonsense")();
  const auto messages = Take(*channel);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].at("type"), "pong");
  EXPECT_EQ(messages[1].at("error").at("param"), "type");
  EXPECT_EQ(messages[2].at("type"), "error");
  channel->Drain();
  EXPECT_EQ(channel->Poll().close->code, 1001);
}

TEST(EventHub, SummarisesRatesAndShares) {
  const MetricValues before = ParseMetrics(
      "# HELP x y\n# TYPE x counter\nengramd_generated_tokens_total{model=\"a\"} 10\n"
      "engramd_generated_tokens_total_other 5\nengramd_step_duration_seconds_bucket{le=\"1\"} 3\n"
      "engramd_tier_hits_total{model=\"a\",tier=\"t\",layer=\"1\"} 1\nengramd_tier_rows_total{tier=\"t\"} 2\n");
  EXPECT_EQ(before.size(), 4u);
  MetricValues now = before;
  now["engramd_generated_tokens_total{model=\"a\"}"] = 30;
  now["engramd_generated_tokens_total{model=\"b\"}"] = 20;
  now["engramd_step_duration_seconds_sum"] = 4;
  now["engramd_step_duration_seconds_count"] = 8;
  now["engramd_memory_stall_seconds_total{layer=\"1\"}"] = 1;
  now["engramd_tier_hits_total{model=\"a\",tier=\"t\",layer=\"1\"}"] = 4;
  now["engramd_tier_rows_total{tier=\"t\"}"] = 6;
  const json::value summary = json::parse(SummaryJson(before, now, 2));
  EXPECT_EQ(summary.at("tokens_per_s").to_number<double>(), 20);
  EXPECT_EQ(summary.at("step_s").to_number<double>(), 0.5);
  EXPECT_EQ(summary.at("stall_share").to_number<double>(), 0.25);
  EXPECT_EQ(summary.at("tier_hit_shares").at("t").to_number<double>(), 0.75);
}

}  // namespace
}  // namespace engram
