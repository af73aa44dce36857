// SPDX-License-Identifier: Apache-2.0
#include "core/metrics.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <map>
#include <variant>

#include "core/log.h"

namespace engram {
namespace {

constexpr double kDurationBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

void AppendNumber(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    out.append(buffer, end);
  }
}

// Label values and help texts escape backslash and line feed; label values the quote too.
void AppendEscaped(std::string& out, std::string_view text, bool quote) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (quote && c == '"') {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

std::string LabelText(const MetricLabels& labels, std::string_view extra_name = {}, std::string_view extra_value = {}) {
  if (labels.empty() && extra_name.empty()) return {};
  std::string out = "{";
  const auto append = [&out](std::string_view name, std::string_view value) {
    if (out.size() > 1) out += ',';
    out += name;
    out += "=\"";
    AppendEscaped(out, value, true);
    out += '"';
  };
  for (const auto& [name, value] : labels) append(name, value);
  if (!extra_name.empty()) append(extra_name, extra_value);
  out += '}';
  return out;
}

void AppendSample(std::string& out, std::string_view name, std::string_view suffix, const std::string& labels,
                  double value) {
  out += name;
  out += suffix;
  out += labels;
  out += ' ';
  AppendNumber(out, value);
  out += '\n';
}

// Counters of collectors that are gone.
struct KeptFamily {
  struct Distribution {
    std::vector<double> bounds;
    std::vector<uint64_t> counts;  // not cumulative
    double sum = 0;
  };
  std::string help;
  std::map<MetricLabels, double> values;
  std::map<MetricLabels, Distribution> distributions;
};

class KeepingSink final : public MetricSink {
 public:
  explicit KeepingSink(std::map<std::string, KeptFamily>& families) : families_(families) {}
  void Value(std::string_view name, MetricType type, std::string_view help, const MetricLabels& labels,
             double value) override {
    if (type != MetricType::kCounter) return;
    Family(name, help).values[labels] += value;
  }
  void Distribution(std::string_view name, std::string_view help, const MetricLabels& labels,
                    std::span<const double> bounds, std::span<const uint64_t> counts, double sum) override {
    KeptFamily::Distribution& kept = Family(name, help).distributions[labels];
    kept.bounds.assign(bounds.begin(), bounds.end());
    kept.counts.resize(counts.size());
    for (size_t i = 0; i < counts.size(); ++i) kept.counts[i] += counts[i];
    kept.sum += sum;
  }

 private:
  KeptFamily& Family(std::string_view name, std::string_view help) {
    return families_.try_emplace(std::string(name), KeptFamily{std::string(help), {}, {}}).first->second;
  }
  std::map<std::string, KeptFamily>& families_;
};

// One family's text, built while reading.
struct FamilyText {
  std::string type;
  std::string help;
  std::string samples;
  std::map<std::string, double> collected;  // by label text
  std::map<MetricLabels, Histogram::Reading> distributions;
};

void AppendHistogram(FamilyText& text, const std::string& name, const MetricLabels& labels,
                     const Histogram::Reading& reading) {
  for (size_t i = 0; i < reading.cumulative.size(); ++i) {
    std::string bound;
    AppendNumber(bound, i < reading.bounds.size() ? reading.bounds[i] : HUGE_VAL);
    AppendSample(text.samples, name, "_bucket", LabelText(labels, "le", bound),
                 static_cast<double>(reading.cumulative[i]));
  }
  AppendSample(text.samples, name, "_sum", LabelText(labels), reading.sum);
  AppendSample(text.samples, name, "_count", LabelText(labels), static_cast<double>(reading.cumulative.back()));
}

class TextSink final : public MetricSink {
 public:
  explicit TextSink(std::map<std::string, FamilyText, std::less<>>& families) : families_(families) {}
  void Value(std::string_view name, MetricType type, std::string_view help, const MetricLabels& labels,
             double value) override {
    auto it = families_.find(name);
    if (it == families_.end())
      it = families_
               .emplace(std::string(name),
                        FamilyText{type == MetricType::kCounter ? "counter" : "gauge", std::string(help), {}, {}, {}})
               .first;
    it->second.collected[LabelText(labels)] += value;
  }
  void Distribution(std::string_view name, std::string_view help, const MetricLabels& labels,
                    std::span<const double> bounds, std::span<const uint64_t> counts, double sum) override {
    assert(counts.size() == bounds.size() + 1);
    auto it = families_.find(name);
    if (it == families_.end())
      it = families_.emplace(std::string(name), FamilyText{"histogram", std::string(help), {}, {}, {}}).first;
    Histogram::Reading& reading = it->second.distributions[labels];
    reading.bounds.assign(bounds.begin(), bounds.end());
    reading.cumulative.resize(counts.size());
    uint64_t total = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      total += counts[i];
      reading.cumulative[i] += total;
    }
    reading.sum += sum;
  }

 private:
  std::map<std::string, FamilyText, std::less<>>& families_;
};

}  // namespace

std::span<const double> DurationBounds() {
  return kDurationBounds;
}

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), buckets_(bounds.size() + 1) {
  assert(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void Histogram::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

Histogram::Reading Histogram::Read() const {
  Reading reading{bounds_, {}, sum_.load(std::memory_order_relaxed)};
  uint64_t total = 0;
  for (const auto& bucket : buckets_) reading.cumulative.push_back(total += bucket.load(std::memory_order_relaxed));
  return reading;
}

struct MetricRegistry::Impl {
  using Metric = std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;
  struct Family {
    std::string help;
    std::map<MetricLabels, Metric> metrics;
  };
  struct Collector {
    std::function<void(MetricSink&)> collect;
  };

  void Remove(Collector& collector);

  // Taken first, and held while the text is made and while a collector ends: no text shows its counters twice or not at
  // all. Collectors run under it.
  std::mutex reading;
  std::map<std::string, KeptFamily> kept;  // guarded by reading

  std::mutex mutex;
  std::map<std::string, Family> families;            // guarded by mutex
  std::vector<std::weak_ptr<Collector>> collectors;  // guarded by mutex

  template <typename T, typename... Args>
  T& Get(const std::string& name, const std::string& help, const MetricLabels& labels, Args&&... args) {
    std::lock_guard lock(mutex);
    Family& family = families.try_emplace(name, Family{help, {}}).first->second;
    auto it = family.metrics.find(labels);
    if (it == family.metrics.end())
      it = family.metrics.emplace(labels, std::make_unique<T>(std::forward<Args>(args)...)).first;
    assert(std::holds_alternative<std::unique_ptr<T>>(it->second));
    return *std::get<std::unique_ptr<T>>(it->second);
  }
};

MetricRegistry::MetricRegistry() : impl_(std::make_shared<Impl>()) {}
MetricRegistry::~MetricRegistry() = default;

Counter& MetricRegistry::GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return impl_->Get<Counter>(name, help, labels);
}
Gauge& MetricRegistry::GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return impl_->Get<Gauge>(name, help, labels);
}
Histogram& MetricRegistry::GetHistogram(const std::string& name, const std::string& help,
                                        std::span<const double> bounds, const MetricLabels& labels) {
  return impl_->Get<Histogram>(name, help, labels, bounds);
}

std::shared_ptr<void> MetricRegistry::AddCollector(std::function<void(MetricSink&)> collect) {
  auto collector = std::make_shared<Impl::Collector>();
  collector->collect = std::move(collect);
  std::lock_guard lock(impl_->mutex);
  std::erase_if(impl_->collectors, [](const auto& weak) { return weak.expired(); });
  impl_->collectors.push_back(collector);
  return std::shared_ptr<void>(collector.get(), [impl = impl_, collector](void*) { impl->Remove(*collector); });
}

void MetricRegistry::Impl::Remove(Collector& collector) {
  std::lock_guard lock(reading);
  try {
    KeepingSink sink(kept);
    collector.collect(sink);
  } catch (const std::exception& error) {
    log::Warning("the last counters of a part that ends are lost: {}", error.what());
  }
  collector.collect = nullptr;  // Text() may still hold the collector
}

void MetricRegistry::Forget(const std::string& label, const std::string& value) {
  const auto has_label = [&](const auto& entry) {
    return std::find(entry.first.begin(), entry.first.end(), std::pair(label, value)) != entry.first.end();
  };
  std::lock_guard reading(impl_->reading);
  for (auto& [name, family] : impl_->kept) {
    std::erase_if(family.values, has_label);
    std::erase_if(family.distributions, has_label);
  }
  std::lock_guard lock(impl_->mutex);
  for (auto& [name, family] : impl_->families) std::erase_if(family.metrics, has_label);
}

std::string MetricRegistry::Text() const {
  std::map<std::string, FamilyText, std::less<>> families;
  std::vector<std::shared_ptr<Impl::Collector>> collectors;
  std::lock_guard reading(impl_->reading);
  {
    std::lock_guard lock(impl_->mutex);
    for (const auto& [name, family] : impl_->families) {
      if (family.metrics.empty()) continue;
      FamilyText& text = families[name];
      text.help = family.help;
      for (const auto& [labels, metric] : family.metrics) {
        if (const auto* counter = std::get_if<std::unique_ptr<Counter>>(&metric)) {
          text.type = "counter";
          AppendSample(text.samples, name, "", LabelText(labels), static_cast<double>((*counter)->value()));
        } else if (const auto* gauge = std::get_if<std::unique_ptr<Gauge>>(&metric)) {
          text.type = "gauge";
          AppendSample(text.samples, name, "", LabelText(labels), (*gauge)->value());
        } else {
          text.type = "histogram";
          AppendHistogram(text, name, labels, std::get<std::unique_ptr<Histogram>>(metric)->Read());
        }
      }
    }
    for (const auto& weak : impl_->collectors)
      if (auto collector = weak.lock()) collectors.push_back(std::move(collector));
  }
  TextSink sink(families);
  for (const auto& collector : collectors)
    if (collector->collect) collector->collect(sink);
  for (const auto& [name, family] : impl_->kept) {
    for (const auto& [labels, value] : family.values)
      sink.Value(name, MetricType::kCounter, family.help, labels, value);
    for (const auto& [labels, kept] : family.distributions)
      sink.Distribution(name, family.help, labels, kept.bounds, kept.counts, kept.sum);
  }
  std::string out;
  for (auto& [name, family] : families) {
    for (const auto& [labels, value] : family.collected) AppendSample(family.samples, name, "", labels, value);
    for (const auto& [labels, reading] : family.distributions) AppendHistogram(family, name, labels, reading);
    out += "# HELP " + name + " ";
    AppendEscaped(out, family.help, false);
    out += "\n# TYPE " + name + " " + family.type + "\n" + family.samples;
  }
  return out;
}

}  // namespace engram
