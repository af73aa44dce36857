// SPDX-License-Identifier: Apache-2.0
#include "core/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace engram {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, TextHasEveryKind) {
  MetricRegistry registry;
  registry.GetCounter("engramd_b_total", "Bs.").Add(3);
  registry.GetGauge("engramd_a", "An \"a\"\nand a \\.", {{"x", "q\"\\\n"}}).Set(1.5);
  const double bounds[] = {0.1, 1};
  Histogram& histogram = registry.GetHistogram("engramd_c_seconds", "Cs.", bounds);
  histogram.Observe(0.1);
  histogram.Observe(0.5);
  histogram.Observe(7);
  EXPECT_EQ(registry.Text(),
            "# HELP engramd_a An \"a\"\\nand a \\\\.\n# TYPE engramd_a gauge\nengramd_a{x=\"q\\\"\\\\\\n\"} 1.5\n"
            "# HELP engramd_b_total Bs.\n# TYPE engramd_b_total counter\nengramd_b_total 3\n"
            "# HELP engramd_c_seconds Cs.\n# TYPE engramd_c_seconds histogram\n"
            "engramd_c_seconds_bucket{le=\"0.1\"} 1\nengramd_c_seconds_bucket{le=\"1\"} 2\n"
            "engramd_c_seconds_bucket{le=\"+Inf\"} 3\nengramd_c_seconds_sum 7.6\nengramd_c_seconds_count 3\n");
}

TEST(Metrics, SameNameAndLabelsAreOneMetric) {
  MetricRegistry registry;
  Counter& first = registry.GetCounter("n_total", "N.", {{"k", "1"}});
  EXPECT_EQ(&first, &registry.GetCounter("n_total", "N.", {{"k", "1"}}));
  EXPECT_NE(&first, &registry.GetCounter("n_total", "N.", {{"k", "2"}}));
}

TEST(Metrics, CollectorsEndWithTheirHandle) {
  MetricRegistry registry;
  auto handle = registry.AddCollector([](MetricSink& sink) {
    sink.Value("live", MetricType::kGauge, "Live.", {{"t", "a"}}, 2);
  });
  EXPECT_THAT(registry.Text(), HasSubstr("# TYPE live gauge\nlive{t=\"a\"} 2\n"));
  std::thread reader([&] {
    for (int i = 0; i < 100; ++i) (void)registry.Text();
  });
  handle.reset();
  reader.join();
  EXPECT_THAT(registry.Text(), Not(HasSubstr("live")));
}

TEST(Metrics, CollectorsOfTheSameSeriesAddUp) {
  MetricRegistry registry;
  const auto collect = [](double value) {
    return [value](MetricSink& sink) {
      sink.Value("n_total", MetricType::kCounter, "N.", {{"k", "1"}}, value);
      sink.Value("n_total", MetricType::kCounter, "N.", {{"k", "2"}}, 10 * value);
    };
  };
  const auto first = registry.AddCollector(collect(1));
  const auto second = registry.AddCollector(collect(2));
  EXPECT_EQ(registry.Text(), "# HELP n_total N.\n# TYPE n_total counter\nn_total{k=\"1\"} 3\nn_total{k=\"2\"} 30\n");
}

TEST(Metrics, CountersOutliveTheirCollectorUntilForgotten) {
  MetricRegistry registry;
  const auto collect = [](double value) {
    return [value](MetricSink& sink) {
      sink.Value("n_total", MetricType::kCounter, "N.", {{"model", "a"}}, value);
      sink.Value("now", MetricType::kGauge, "Now.", {{"model", "a"}}, value);
      const double bounds[] = {1};
      const uint64_t counts[] = {1, 2};
      sink.Distribution("d", "D.", {{"model", "a"}}, bounds, counts, value);
    };
  };
  registry.GetCounter("own_total", "Own.", {{"model", "a"}}).Add(5);
  registry.GetCounter("own_total", "Own.", {{"model", "b"}}).Add(6);
  auto old = registry.AddCollector(collect(7));
  auto fresh = registry.AddCollector(collect(1));
  old.reset();
  EXPECT_THAT(registry.Text(), HasSubstr("n_total{model=\"a\"} 8\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("now{model=\"a\"} 1\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("d_bucket{model=\"a\",le=\"1\"} 2\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("d_sum{model=\"a\"} 8\nd_count{model=\"a\"} 6\n"));
  fresh.reset();
  registry.Forget("model", "a");
  EXPECT_EQ(registry.Text(), "# HELP own_total Own.\n# TYPE own_total counter\nown_total{model=\"b\"} 6\n");
  EXPECT_EQ(registry.GetCounter("own_total", "Own.", {{"model", "a"}}).value(), 0u);
}

TEST(Metrics, CollectedDistributionsBecomeHistogramsAndAddUp) {
  MetricRegistry registry;
  const double bounds[] = {0.5, 2};
  const auto collect = [&](MetricSink& sink) {
    const uint64_t counts[] = {1, 2, 4};
    sink.Distribution("d_seconds", "D.", {{"k", "1"}}, bounds, counts, 5);
  };
  const auto first = registry.AddCollector(collect);
  const auto second = registry.AddCollector(collect);
  EXPECT_EQ(registry.Text(),
            "# HELP d_seconds D.\n# TYPE d_seconds histogram\nd_seconds_bucket{k=\"1\",le=\"0.5\"} 2\n"
            "d_seconds_bucket{k=\"1\",le=\"2\"} 6\nd_seconds_bucket{k=\"1\",le=\"+Inf\"} 14\n"
            "d_seconds_sum{k=\"1\"} 10\nd_seconds_count{k=\"1\"} 14\n");
}

}  // namespace
}  // namespace engram
