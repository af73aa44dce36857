// SPDX-License-Identifier: Apache-2.0
// token_stream_bench MODEL_DIR ROWS TEXT_FILE...: what caches make of the rows that real text addresses.
//
// Each file is a document, cut into requests of 2,000 tokens; MODEL_DIR's tokenizer gives its tokens, and the
// addressing of config.json its rows, in a table of about ROWS rows of 264 bytes with 8 heads an order. Batches are of
// 256 tokens, each row once, as a prefill asks for them.
//   hit rates  tier_dram's S3-FIFO, and LRU of as many rows, which only this program has
//   hit path   tier_dram as a cache that holds all rows, on the same stream and on uniform random ids
//   counting   RowHeat::Record() over the stream, against the gather it goes with
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/file.h"
#include "core/json_text.h"
#include "memory/row_dedupe.h"
#include "memory/row_heat.h"
#include "ngram/compressed_map.h"
#include "ngram/geometry.h"
#include "ngram/row_addresser.h"
#include "plugin/tier.h"
#include "text/tokenizer.h"

namespace engram {
namespace {

constexpr uint32_t kRowBytes = 264;
constexpr uint32_t kBatchTokens = 256;
constexpr size_t kRequestTokens = 2000;
constexpr int kRounds = 15;

template <typename T>
T OrDie(Result<T> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "token_stream_bench: %s\n", result.error().message.c_str());
  std::exit(1);
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The distinct rows of every batch, one batch after another.
struct Stream {
  uint64_t num_rows = 0;
  uint64_t num_tokens = 0;
  uint64_t num_distinct = 0;  // of the whole stream
  uint32_t num_columns = 0;
  std::vector<uint64_t> ids;
  std::vector<size_t> ends;  // of each batch

  std::span<const uint64_t> Batch(size_t i) const {
    const size_t first = i == 0 ? 0 : ends[i - 1];
    return std::span(ids).subspan(first, ends[i] - first);
  }
};

Stream ReadStream(const std::string& model_dir, uint64_t rows, const std::vector<std::string>& files) {
  const auto tokenizer = OrDie(Tokenizer::Load(model_dir + "/tokenizer.json"));
  const std::string text = OrDie(ReadFile(model_dir + "/config.json", 1 << 20));
  boost::json::value json = boost::json::parse(text);
  auto config = OrDie(EngramConfig::FromJson(json.at("engram")));
  config.num_heads = 8;
  config.layer_ids = {1};
  config.vocab_size.assign(config.max_ngram_size - 1, rows / config.num_columns());
  const auto map = OrDie(CompressedMap::Build(*tokenizer, json.at("vocab_size").to_number<int32_t>()));
  const Geometry geometry = OrDie(Geometry::Create(config, map.compressed_vocab_size(), map[config.pad_token_id]));
  Stream stream;
  stream.num_rows = geometry.layers[0].num_rows;
  stream.num_columns = geometry.num_columns;
  RowDedupe dedupe;
  std::vector<uint64_t> batch;
  std::vector<uint64_t> unique;
  std::vector<uint32_t> index;
  for (const std::string& file : files) {
    const auto tokens = OrDie(tokenizer->Encode(Utf8Lossy(OrDie(ReadFile(file, 256 << 20))), false));
    stream.num_tokens += tokens.size();
    for (size_t begin = 0; begin < tokens.size(); begin += kRequestTokens) {
      RowAddresser addresser(geometry);
      const size_t end = std::min(begin + kRequestTokens, tokens.size());
      for (size_t at = begin; at < end; at += kBatchTokens) {
        const size_t count = std::min<size_t>(kBatchTokens, end - at);
        batch.resize(count * geometry.num_columns);
        for (size_t t = 0; t < count; ++t)
          addresser.Append(map[tokens[at + t]], false,
                           std::span(batch).subspan(t * geometry.num_columns, geometry.num_columns));
        unique.resize(batch.size());
        index.resize(batch.size());
        const uint32_t num_unique = dedupe.Run(batch, unique.data(), index.data());
        stream.ids.insert(stream.ids.end(), unique.begin(), unique.begin() + num_unique);
        stream.ends.push_back(stream.ids.size());
      }
    }
  }
  std::vector<uint64_t> sorted = stream.ids;
  std::sort(sorted.begin(), sorted.end());
  stream.num_distinct = static_cast<uint64_t>(std::unique(sorted.begin(), sorted.end()) - sorted.begin());
  return stream;
}

// The policy that everybody knows, for comparison.
class Lru {
 public:
  explicit Lru(size_t capacity) : slots_(capacity + 1) { places_.reserve(capacity); }

  // Whether the row was here; it is now.
  bool Touch(uint64_t row) {
    const auto found = places_.find(row);
    if (found != places_.end()) {
      Unlink(found->second);
      LinkNewest(found->second);
      return true;
    }
    uint32_t slot = 0;
    if (places_.size() + 1 < slots_.size()) {
      slot = static_cast<uint32_t>(places_.size() + 1);
    } else {
      slot = slots_[0].newer;
      Unlink(slot);
      places_.erase(slots_[slot].row);
    }
    slots_[slot].row = row;
    places_.emplace(row, slot);
    LinkNewest(slot);
    return false;
  }

 private:
  struct Slot {
    uint64_t row = 0;
    uint32_t newer = 0;
    uint32_t older = 0;
  };
  void Unlink(uint32_t slot) {
    slots_[slots_[slot].older].newer = slots_[slot].newer;
    slots_[slots_[slot].newer].older = slots_[slot].older;
  }
  void LinkNewest(uint32_t slot) {
    slots_[slot].older = slots_[0].older;
    slots_[slot].newer = 0;
    slots_[slots_[0].older].newer = slot;
    slots_[0].older = slot;
  }
  std::vector<Slot> slots_;  // [0]: the ring's end: `newer` is the oldest row, `older` the newest
  std::unordered_map<uint64_t, uint32_t> places_;
};

std::shared_ptr<const PluginLibrary> DramLibrary() {
  return OrDie(PluginLibrary::Load(ENGRAM_PLUGIN_DIR "/tier_dram.so", ENGRAM_PLUGIN_TIER));
}

std::unique_ptr<TierTable> OpenCache(uint64_t capacity_bytes, uint64_t num_rows) {
  engram_table_desc desc{};
  desc.layer = 1;
  desc.model = "bench";
  desc.num_rows = num_rows;
  desc.row_bytes = kRowBytes;
  desc.row_format = ENGRAM_ROW_FP8_E4M3_UE8M0;
  desc.source.read = [](void*, uint64_t, uint64_t, uint8_t*, engram_message*) {
    return engram_status{ENGRAM_INTERNAL};
  };
  auto tier = OrDie(Tier::Open(DramLibrary(), {{"mode", "cache"}, {"capacity", std::to_string(capacity_bytes)}}));
  return OrDie(TierTable::Attach(tier, desc));
}

// Reads each batch and fills what it missed.
class CachedReads {
 public:
  explicit CachedReads(TierTable& table) : table_(table) {}
  uint64_t Read(std::span<const uint64_t> ids) {
    rows_.resize(std::max(rows_.size(), ids.size() * kRowBytes));
    found_.assign(ids.size(), 0);
    if (!table_.Read(ids.data(), static_cast<uint32_t>(ids.size()), rows_.data(), kRowBytes, found_.data()))
      std::exit(1);
    missed_.clear();
    for (size_t i = 0; i < ids.size(); ++i)
      if (found_[i] == 0) missed_.push_back(ids[i]);
    if (!missed_.empty() &&
        !table_.Write(missed_.data(), static_cast<uint32_t>(missed_.size()), rows_.data(), kRowBytes))
      std::exit(1);
    return ids.size() - missed_.size();
  }

 private:
  TierTable& table_;
  std::vector<uint8_t> rows_;
  std::vector<uint8_t> found_;
  std::vector<uint64_t> missed_;
};

void BenchHitRates(const Stream& stream) {
  std::printf("%10s %12s %14s %10s %8s\n", "cache", "rows", "of distinct %", "S3-FIFO %", "LRU %");
  for (const uint64_t mib : {4u, 8u, 16u, 32u, 64u, 128u, 256u, 512u}) {
    auto table = OpenCache(mib << 20, stream.num_rows);
    CachedReads reads(*table);
    // All of the stream counts, its cold start too: the same for both.
    uint64_t hits = 0;
    for (size_t i = 0; i < stream.ends.size(); ++i) hits += reads.Read(stream.Batch(i));
    const engram_tier_stats stats = OrDie(table->Stats());
    const uint64_t held = stats.resident_bytes / kRowBytes;
    Lru lru(held);
    uint64_t lru_hits = 0;
    for (const uint64_t id : stream.ids) lru_hits += lru.Touch(id) ? 1 : 0;
    const double all = static_cast<double>(stream.ids.size());
    std::printf("%6llu MiB %12llu %14.1f %10.2f %8.2f\n", static_cast<unsigned long long>(mib),
                static_cast<unsigned long long>(held),
                100.0 * static_cast<double>(held) / static_cast<double>(stream.num_distinct),
                100.0 * static_cast<double>(hits) / all, 100.0 * static_cast<double>(lru_hits) / all);
    if (stats.evictions == 0) break;  // larger ones would do no better
  }
}

void BenchHitPath(const Stream& stream) {
  auto table = OpenCache(stream.num_distinct * (kRowBytes + 100) + (64u << 20), stream.num_rows);
  CachedReads fill(*table);
  for (size_t i = 0; i < stream.ends.size(); ++i) fill.Read(stream.Batch(i));
  // Batches from all over the stream, about a million rows.
  std::vector<size_t> batches;
  size_t num_rows = 0;
  const size_t step = std::max<size_t>(1, stream.ids.size() / 1'000'000);
  for (size_t i = 0; i < stream.ends.size(); i += step) {
    batches.push_back(i);
    num_rows += stream.Batch(i).size();
  }
  std::mt19937_64 random(1);
  std::vector<uint64_t> uniform(num_rows);
  std::vector<uint64_t> distinct = stream.ids;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (uint64_t& id : uniform) id = distinct[random() % distinct.size()];
  std::vector<uint8_t> rows(size_t{kBatchTokens} * stream.num_columns * kRowBytes);
  std::vector<uint8_t> found(size_t{kBatchTokens} * stream.num_columns);
  uint64_t missed = 0;
  const auto read = [&](std::span<const uint64_t> ids) {
    if (!table->Read(ids.data(), static_cast<uint32_t>(ids.size()), rows.data(), kRowBytes, found.data())) std::exit(1);
    missed += static_cast<uint64_t>(std::count(found.begin(), found.begin() + static_cast<ptrdiff_t>(ids.size()), 0));
  };
  RowHeat heat(stream.num_rows);
  std::vector<double> real, random_ids, counting, real_by_token, counting_by_token;
  for (int round = 0; round < kRounds; ++round) {
    real.push_back(Seconds([&] {
      for (const size_t i : batches) read(stream.Batch(i));
    }));
    random_ids.push_back(Seconds([&] {
      for (size_t at = 0; at < uniform.size(); at += found.size())
        read(std::span(uniform).subspan(at, std::min(found.size(), uniform.size() - at)));
    }));
    counting.push_back(Seconds([&] {
      for (const size_t i : batches) heat.Record(RowHeat::Lane::kBatches, stream.Batch(i));
    }));
    // As decoding asks: a token's rows at a time.
    const auto by_token = [&](const auto& use) {
      for (const size_t i : batches) {
        const auto ids = stream.Batch(i);
        for (size_t at = 0; at < ids.size(); at += stream.num_columns)
          use(ids.subspan(at, std::min<size_t>(stream.num_columns, ids.size() - at)));
      }
    };
    real_by_token.push_back(Seconds([&] { by_token(read); }));
    counting_by_token.push_back(
        Seconds([&] { by_token([&](std::span<const uint64_t> ids) { heat.Record(RowHeat::Lane::kTokens, ids); }); }));
  }
  const double count = static_cast<double>(num_rows);
  std::printf("hit path: %.1f ns a row of real text, %.1f of uniform random ids, ratio %.2f (%llu missed)\n",
              Median(real) / count * 1e9, Median(random_ids) / count * 1e9, Median(real) / Median(random_ids),
              static_cast<unsigned long long>(missed));
  std::printf("hit path by token: %.1f ns a row\n", Median(real_by_token) / count * 1e9);
  // Means: what it costs, it costs in one gather of RowHeat::kEvery.
  std::printf("counting: %.3f ns a row, %.2f %% of the hit path; by token %.3f ns, %.2f %%\n",
              Mean(counting) / count * 1e9, 100 * Mean(counting) / Mean(real), Mean(counting_by_token) / count * 1e9,
              100 * Mean(counting_by_token) / Mean(real_by_token));
  const RowHeat::Report report = heat.report();
  std::printf("the hottest rows have of the reads:");
  for (const double wanted : {0.0001, 0.001, 0.01, 0.1})
    for (size_t i = 0; i + 1 < report.curve.size(); ++i)
      if (report.curve[i].first <= wanted && report.curve[i + 1].first > wanted)
        std::printf("  %.4f %%: %.1f %%", 100 * report.curve[i].first, 100 * report.curve[i].second);
  std::printf("\n");
}

int Main(int argc, char** argv) {
  const uint64_t rows = argc > 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (rows < 1'000'000 || rows > uint64_t{1} << 40) {
    std::fprintf(stderr, "usage: token_stream_bench MODEL_DIR ROWS TEXT_FILE...  (at least a million rows)\n");
    return 2;
  }
  const Stream stream = ReadStream(argv[1], rows, {argv + 3, argv + argc});
  std::printf("%llu tokens, %zu batches of up to %u; %zu rows asked for, %llu of them distinct, of a table of %llu\n",
              static_cast<unsigned long long>(stream.num_tokens), stream.ends.size(), kBatchTokens, stream.ids.size(),
              static_cast<unsigned long long>(stream.num_distinct), static_cast<unsigned long long>(stream.num_rows));
  BenchHitRates(stream);
  BenchHitPath(stream);
  return 0;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  return engram::Main(argc, argv);
}
