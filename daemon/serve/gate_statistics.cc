// SPDX-License-Identifier: Apache-2.0
#include "serve/gate_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace engram {
namespace {

// The window moves on by such a part of itself.
constexpr size_t kWindowParts = 10;

struct Cells {
  uint64_t count = 0;
  double sum = 0;
  std::array<uint64_t, GateSummary::kBuckets> buckets{};

  void Add(float gate) {
    ++count;
    sum += gate;
    const float scaled = std::clamp(gate, 0.0f, 1.0f) * GateSummary::kBuckets;
    ++buckets[std::min(static_cast<uint32_t>(scaled), GateSummary::kBuckets - 1)];
  }
  void Add(const Cells& other) {
    count += other.count;
    sum += other.sum;
    for (size_t b = 0; b < buckets.size(); ++b) buckets[b] += other.buckets[b];
  }
};

double Quantile(const Cells& cells, double q) {
  if (cells.count == 0) return 0;
  const double rank = q * static_cast<double>(cells.count);
  double below = 0;
  for (size_t b = 0; b < cells.buckets.size(); ++b) {
    const double here = static_cast<double>(cells.buckets[b]);
    if (here > 0 && below + here >= rank)
      return (static_cast<double>(b) + std::max(0.0, rank - below) / here) / GateSummary::kBuckets;
    below += here;
  }
  return 1;
}

GateSummary Summarise(const Cells& cells) {
  GateSummary summary;
  summary.count = cells.count;
  summary.mean = cells.count == 0 ? 0 : cells.sum / static_cast<double>(cells.count);
  summary.p05 = Quantile(cells, 0.05);
  summary.p50 = Quantile(cells, 0.50);
  summary.p95 = Quantile(cells, 0.95);
  summary.p99 = Quantile(cells, 0.99);
  summary.histogram = cells.buckets;
  return summary;
}

int64_t NowUnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void SortAndCut(std::vector<GateReport::Ngram>& ngrams, size_t top) {
  std::stable_sort(ngrams.begin(), ngrams.end(), [](const GateReport::Ngram& a, const GateReport::Ngram& b) {
    return a.entry.weight > b.entry.weight;
  });
  if (ngrams.size() > top) ngrams.resize(top);
}

}  // namespace

struct GateStatistics::Counts {
  GateGroup group;
  int64_t since_unix_ms = 0;
  uint64_t tokens = 0;
  std::vector<Cells> total;                             // [layers][streams]
  std::array<std::vector<Cells>, kWindowParts> window;  // each [layers][streams]
  std::vector<TopNgrams> by_mass;                       // [layers][orders]
  std::vector<TopNgrams> by_count;                      // [orders]
  std::vector<double> order_shares;                     // [layers][orders] sums
  std::vector<uint64_t> order_samples;                  // [layers]
};

GateStatistics::GateStatistics(GateStatisticsOptions options, std::vector<uint32_t> layers, uint32_t num_streams,
                               uint32_t max_order)
    : options_(options),
      layers_(std::move(layers)),
      num_streams_(num_streams),
      max_order_(std::clamp(max_order, 2u, kMaxTrackedOrder)),
      part_began_(std::chrono::steady_clock::now()) {
  groups_.push_back(MakeCounts({}));
}

GateStatistics::~GateStatistics() = default;

std::unique_ptr<GateStatistics::Counts> GateStatistics::MakeCounts(GateGroup group) const {
  auto counts = std::make_unique<Counts>();
  const size_t num_cells = layers_.size() * num_streams_;
  const size_t num_orders = max_order_ - 1;
  const TopNgrams sketch(std::max(1u, options_.top_ngrams), options_.keep_text);
  counts->group = std::move(group);
  counts->since_unix_ms = NowUnixMs();
  counts->total.resize(num_cells);
  for (std::vector<Cells>& part : counts->window) part.resize(num_cells);
  counts->by_mass.assign(layers_.size() * num_orders, sketch);
  counts->by_count.assign(num_orders, sketch);
  counts->order_shares.assign(layers_.size() * num_orders, 0);
  counts->order_samples.assign(layers_.size(), 0);
  return counts;
}

bool GateStatistics::Holds(const Counts& counts, const GateSlice& slice) const {
  switch (counts.group.kind) {
    case GateGroup::Kind::kAll:
      return true;
    case GateGroup::Kind::kKey:
      return slice.key == counts.group.name;
    case GateGroup::Kind::kOverlay:
      return std::find(slice.overlays.begin(), slice.overlays.end(), counts.group.name) != slice.overlays.end();
  }
  return false;
}

void GateStatistics::MoveWindow(SteadyTime now) {
  const auto length = std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.window) / kWindowParts;
  if (now - part_began_ >= length) CountWaiting();  // what waits was recorded in the part that ends
  size_t steps = 0;
  while (now - part_began_ >= length && steps < kWindowParts) {
    part_ = (part_ + 1) % kWindowParts;
    part_began_ += length;
    ++steps;
    for (const auto& counts : groups_) std::fill(counts->window[part_].begin(), counts->window[part_].end(), Cells());
  }
  if (steps == kWindowParts) part_began_ = now;  // idle for longer than the window: all of it is empty
}

void GateStatistics::Count(Counts& counts, std::span<const int32_t> context, uint32_t num_tokens, const float* gates) {
  const size_t num_orders = max_order_ - 1;
  counts.tokens += num_tokens;
  for (uint32_t i = 0; i < num_tokens; ++i) {
    const size_t end = context.size() - num_tokens + i + 1;
    const auto highest = static_cast<uint32_t>(std::min<size_t>(max_order_, end));
    const auto ngram = [&](uint32_t order) { return context.subspan(end - order, order); };
    std::array<uint64_t, kMaxTrackedOrder + 1> hashes{};  // by order
    for (uint32_t order = 2; order <= highest; ++order) {
      hashes[order] = TopNgrams::Hash(ngram(order));
      counts.by_count[order - 2].Add(hashes[order], ngram(order), 1);
    }
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      Cells* total = counts.total.data() + layer * num_streams_;
      Cells* window = counts.window[part_].data() + layer * num_streams_;
      double mass = 0;
      for (uint32_t s = 0; s < num_streams_; ++s) {
        const float gate = gates[(i * layers_.size() + layer) * num_streams_ + s];
        total[s].Add(gate);
        window[s].Add(gate);
        mass += gate;
      }
      for (uint32_t order = 2; order <= highest; ++order)
        counts.by_mass[layer * num_orders + order - 2].Add(hashes[order], ngram(order), mass / num_streams_);
    }
  }
}

void GateStatistics::Put(const GateSlice& slice, const float* gates, uint32_t num_tokens) {
  uint64_t groups = 0;
  for (size_t i = 0; i < groups_.size(); ++i) groups |= uint64_t{Holds(*groups_[i], slice)} << i;
  waiting_.slices.push_back({static_cast<uint32_t>(slice.context.size()), slice.num_tokens, groups});
  waiting_.contexts.insert(waiting_.contexts.end(), slice.context.begin(), slice.context.end());
  for (uint32_t token = slice.first_token; token < slice.first_token + slice.num_tokens; ++token) {
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      const float* from = gates + (layer * num_tokens + token) * num_streams_;
      // What is no number would stay in the sums for ever.
      for (uint32_t s = 0; s < num_streams_; ++s) waiting_.gates.push_back(std::isfinite(from[s]) ? from[s] : 0);
    }
  }
  waiting_.num_tokens += slice.num_tokens;
}

void GateStatistics::CountWaiting() {
  const std::span<const int32_t> contexts = waiting_.contexts;
  size_t context = 0;
  const float* gates = waiting_.gates.data();
  for (const Waiting::Slice& slice : waiting_.slices) {
    for (size_t i = 0; i < groups_.size(); ++i)
      if ((slice.groups >> i & 1) != 0)
        Count(*groups_[i], contexts.subspan(context, slice.num_context), slice.num_tokens, gates);
    context += slice.num_context;
    gates += slice.num_tokens * layers_.size() * num_streams_;
  }
  waiting_.slices.clear();
  waiting_.contexts.clear();
  waiting_.gates.clear();
  waiting_.num_tokens = 0;
}

void GateStatistics::Record(std::span<const GateSlice> slices, const float* gates, uint32_t num_tokens) {
  std::lock_guard lock(mutex_);
  MoveWindow(std::chrono::steady_clock::now());
  for (const GateSlice& slice : slices) Put(slice, gates, num_tokens);
  if (waiting_.num_tokens >= kCountEvery) CountWaiting();
}

void GateStatistics::RecordRows(uint32_t layer, std::span<const double> squared_norms, const GateSlice& slice) {
  const double sum = std::accumulate(squared_norms.begin(), squared_norms.end(), 0.0);
  if (!(sum > 0)) return;  // untrained rows: no order holds anything
  const size_t num_orders = max_order_ - 1;
  std::lock_guard lock(mutex_);
  for (const auto& counts : groups_) {
    if (!Holds(*counts, slice)) continue;
    for (size_t o = 0; o < std::min(squared_norms.size(), num_orders); ++o)
      counts->order_shares[layer * num_orders + o] += squared_norms[o] / sum;
    ++counts->order_samples[layer];
  }
}

GateStatistics::Counts* GateStatistics::Find(const GateGroup& group) const {
  for (const auto& counts : groups_)
    if (counts->group == group) return counts.get();
  return nullptr;
}

Result<GateReport> GateStatistics::Report(const GateGroup& group, size_t top) {
  const size_t num_orders = max_order_ - 1;
  std::lock_guard lock(mutex_);
  CountWaiting();
  const Counts* counts = Find(group);
  if (counts == nullptr)
    return NotFound("gates of \"" + group.name + "\" are not counted by themselves; ask for that first",
                    group.kind == GateGroup::Kind::kKey ? "key" : "overlay");
  // Parts that ended since the last batch are out of date but not yet cleared.
  const auto length = std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.window) / kWindowParts;
  const auto stale = static_cast<size_t>(
      std::clamp<int64_t>((std::chrono::steady_clock::now() - part_began_) / length, 0, kWindowParts));
  GateReport report;
  report.group = counts->group;
  report.since_unix_ms = counts->since_unix_ms;
  report.window_s = static_cast<uint64_t>(options_.window.count());
  report.tokens = counts->tokens;
  for (size_t l = 0; l < layers_.size(); ++l) {
    GateReport::Layer& layer = report.layers.emplace_back();
    layer.layer = layers_[l];
    for (uint32_t s = 0; s < num_streams_; ++s) {
      layer.streams.push_back(Summarise(counts->total[l * num_streams_ + s]));
      Cells recent;
      for (size_t age = 0; age + stale < kWindowParts; ++age)
        recent.Add(counts->window[(part_ + kWindowParts - age) % kWindowParts][l * num_streams_ + s]);
      layer.window.push_back(Summarise(recent));
    }
    layer.order_samples = counts->order_samples[l];
    for (uint32_t order = 2; order <= max_order_; ++order) {
      const size_t place = l * num_orders + order - 2;
      layer.orders.push_back({order, layer.order_samples == 0
                                         ? 0
                                         : counts->order_shares[place] / static_cast<double>(layer.order_samples)});
      for (TopNgrams::Entry& entry : counts->by_mass[place].Top(top))
        layer.top_by_mass.push_back({order, std::move(entry)});
    }
    SortAndCut(layer.top_by_mass, top);
  }
  for (uint32_t order = 2; order <= max_order_; ++order)
    for (TopNgrams::Entry& entry : counts->by_count[order - 2].Top(top))
      report.top_by_count.push_back({order, std::move(entry)});
  SortAndCut(report.top_by_count, top);
  return report;
}

std::vector<GateStatistics::Total> GateStatistics::Totals() {
  std::vector<Total> totals;
  totals.reserve(layers_.size() * num_streams_);
  std::lock_guard lock(mutex_);
  CountWaiting();
  const Counts& all = *groups_.front();
  for (size_t l = 0; l < layers_.size(); ++l) {
    for (uint32_t s = 0; s < num_streams_; ++s) {
      const Cells& cells = all.total[l * num_streams_ + s];
      totals.push_back({layers_[l], s, cells.sum, cells.buckets});
    }
  }
  return totals;
}

std::vector<GateGroup> GateStatistics::Groups() const {
  std::lock_guard lock(mutex_);
  std::vector<GateGroup> groups;
  for (const auto& counts : groups_) groups.push_back(counts->group);
  return groups;
}

Status GateStatistics::Track(const GateGroup& group) {
  auto fresh = MakeCounts(group);
  std::lock_guard lock(mutex_);
  if (Find(group) != nullptr) return {};
  if (groups_.size() > kMaxGroups)
    return ResourceExhausted("gates of " + std::to_string(kMaxGroups) + " keys and overlays are counted already");
  groups_.push_back(std::move(fresh));
  return {};
}

Status GateStatistics::Untrack(const GateGroup& group) {
  if (group.kind == GateGroup::Kind::kAll) return InvalidArgument("name a key or an overlay");
  std::lock_guard lock(mutex_);
  CountWaiting();  // it knows groups by their place
  const size_t removed = std::erase_if(groups_, [&](const auto& counts) { return counts->group == group; });
  if (removed == 0) return NotFound("gates of \"" + group.name + "\" are not counted by themselves");
  return {};
}

Status GateStatistics::Follow(const GateStatistics& other) {
  SetCounting(other.counting());
  for (const GateGroup& group : other.Groups())
    if (group.kind != GateGroup::Kind::kAll) ENGRAM_CHECK_OK(Track(group));
  return {};
}

void GateStatistics::Reset() {
  std::lock_guard lock(mutex_);
  CountWaiting();
  for (auto& counts : groups_) counts = MakeCounts(counts->group);
}

}  // namespace engram
