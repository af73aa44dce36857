// SPDX-License-Identifier: Apache-2.0
// tiers_bench [GiB]: what the memory room costs, each against its alternative in the same run.
//   gather    random 264-byte rows through tier_dram.so, against a hand-written loop over memory of its own
//   hit path  the same from tier_dram.so as a cache that holds all of them
//   dedupe    distinct ids by hashing, against sorting
//   hand-off  a batch gathered on the caller's thread, against one gathered by the reading thread
// Contestants take turns; medians are printed.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "memory/row_dedupe.h"
#include "memory/row_gather.h"
#include "plugin/tier.h"

namespace engram {
namespace {

constexpr uint32_t kRowBytes = 264;
constexpr uint32_t kColumns = 24;
constexpr uint32_t kReadRows = 512;
constexpr int kRounds = 15;

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Runs both in turn; medians in seconds.
std::pair<double, double> Compare(const std::function<void()>& first, const std::function<void()>& second) {
  std::vector<double> a, b;
  for (int round = 0; round < kRounds; ++round) {
    a.push_back(Seconds(first));
    b.push_back(Seconds(second));
  }
  return {Median(a), Median(b)};
}

template <typename T>
T OrDie(Result<T> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

std::shared_ptr<const PluginLibrary> DramLibrary() {
  return OrDie(PluginLibrary::Load(ENGRAM_PLUGIN_DIR "/tier_dram.so", ENGRAM_PLUGIN_TIER));
}

engram_table_desc Desc(uint64_t num_rows) {
  engram_table_desc desc{};
  desc.layer = 1;
  desc.model = "bench";
  desc.num_rows = num_rows;
  desc.row_bytes = kRowBytes;
  desc.row_format = ENGRAM_ROW_FP8_E4M3_UE8M0;
  desc.source.read = [](void*, uint64_t first, uint64_t count, uint8_t* dst, engram_message*) {
    std::memset(dst, static_cast<int>(first % 251) + 1, count * kRowBytes);
    return engram_status{ENGRAM_OK};
  };
  return desc;
}

void HandWritten(const uint8_t* table, const uint64_t* ids, size_t num_ids, uint8_t* dst) {
  constexpr size_t kAhead = 4;
  for (size_t i = 0; i < num_ids; ++i) {
    if (i + kAhead < num_ids) {
      const uint8_t* row = table + ids[i + kAhead] * kRowBytes;
      for (uint32_t at = 0; at < kRowBytes; at += 64) __builtin_prefetch(row + at);
    }
    std::memcpy(dst + (i % kReadRows) * kRowBytes, table + ids[i] * kRowBytes, kRowBytes);
  }
}

void BenchGather(uint64_t num_rows) {
  const size_t num_bytes = num_rows * kRowBytes;
  constexpr size_t kHuge = 2u << 20;
  void* mapping = mmap(nullptr, num_bytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  auto* own = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(mapping) + kHuge - 1) / kHuge * kHuge);
  madvise(own, num_bytes, MADV_HUGEPAGE);
  std::memset(own, 1, num_bytes);
  auto tier = OrDie(Tier::Open(DramLibrary(), {}));
  auto table = OrDie(TierTable::Attach(tier, Desc(num_rows)));

  std::mt19937_64 random(1);
  std::vector<uint64_t> ids(size_t{1} << 20);
  for (uint64_t& id : ids) id = random() % num_rows;
  std::vector<uint8_t> dst(size_t{kReadRows} * kRowBytes);
  std::vector<uint8_t> found(kReadRows);
  bool ok = true;
  const auto [plugin, hand] = Compare(
      [&] {
        for (size_t i = 0; i < ids.size(); i += kReadRows)
          ok = table->Read(&ids[i], kReadRows, dst.data(), kRowBytes, found.data()).has_value() && ok;
      },
      [&] { HandWritten(own, ids.data(), ids.size(), dst.data()); });
  // As large as the table and what its metadata takes.
  auto cache_tier = OrDie(
      Tier::Open(DramLibrary(), {{"mode", "cache"}, {"capacity", std::to_string(num_bytes / 100 * 125 + (8u << 20))}}));
  auto cache = OrDie(TierTable::Attach(cache_tier, Desc(num_rows)));
  {
    std::vector<uint64_t> all(num_rows);
    std::iota(all.begin(), all.end(), 0);
    std::vector<uint8_t> rows(size_t{kReadRows} * kRowBytes);
    for (size_t i = 0; i < all.size(); i += kReadRows)
      ok = cache
               ->Write(&all[i], static_cast<uint32_t>(std::min<size_t>(kReadRows, all.size() - i)), rows.data(),
                       kRowBytes)
               .has_value() &&
           ok;
  }
  const auto [hit, hand_again] = Compare(
      [&] {
        for (size_t i = 0; i < ids.size(); i += kReadRows)
          ok = cache->Read(&ids[i], kReadRows, dst.data(), kRowBytes, found.data()).has_value() && ok;
      },
      [&] { HandWritten(own, ids.data(), ids.size(), dst.data()); });
  const engram_tier_stats stats = OrDie(cache->Stats());
  const double count = static_cast<double>(ids.size()) / 1e6;
  std::printf("hit path: %.2f million rows/s, hand-written gather %.2f, ratio %.2f; %.2f %% hits\n", count / hit,
              count / hand_again, hand_again / hit,
              100.0 * static_cast<double>(stats.hits) / static_cast<double>(stats.rows));
  std::printf(
      "gather: %llu rows of %u bytes (%.1f GiB), %u per read: plugin %.2f, hand-written %.2f million rows/s, "
      "ratio %.2f%s\n",
      static_cast<unsigned long long>(num_rows), kRowBytes, static_cast<double>(num_bytes) / (1 << 30), kReadRows,
      count / plugin, count / hand, hand / plugin, ok ? "" : " (READS FAILED)");
  munmap(mapping, num_bytes + kHuge);
}

void BenchDedupe() {
  for (const size_t num_tokens : {1u, 8u, 64u, 512u, 2048u}) {
    const size_t count = num_tokens * kColumns;
    std::mt19937_64 random(2);
    std::vector<uint64_t> ids(count);
    // A third of the rows is asked for more than once, as in running text.
    for (size_t i = 0; i < count; ++i) ids[i] = random() % 3 == 0 ? ids[random() % (i + 1)] : random() % 100'000'000;
    std::vector<uint64_t> unique(count);
    std::vector<uint32_t> index(count);
    RowDedupe dedupe;
    std::vector<std::pair<uint64_t, uint32_t>> sorted(count);
    const size_t repeats = 400'000 / count + 1;
    const auto [hash, sort] = Compare(
        [&] {
          for (size_t r = 0; r < repeats; ++r) dedupe.Run(ids, unique.data(), index.data());
        },
        [&] {
          for (size_t r = 0; r < repeats; ++r) {
            for (size_t i = 0; i < count; ++i) sorted[i] = {ids[i], static_cast<uint32_t>(i)};
            std::sort(sorted.begin(), sorted.end());
            uint32_t found = 0;
            for (size_t i = 0; i < count; ++i) {
              if (i == 0 || sorted[i].first != sorted[i - 1].first) unique[found++] = sorted[i].first;
              index[sorted[i].second] = found - 1;
            }
          }
        });
    const double scale = 1e6 / static_cast<double>(repeats);
    std::printf("dedupe: %4zu tokens, %5zu ids: hash %.2f us, sort %.2f us\n", num_tokens, count, hash * scale,
                sort * scale);
  }
}

void BenchHandOff(uint64_t num_rows) {
  auto tiers = OrDie(OpenTiers({{"dram", DramLibrary(), {}}}));
  std::vector<std::unique_ptr<TableChain>> chains;
  chains.push_back(OrDie(TableChain::Attach(tiers, Desc(num_rows))));
  MemoryView view;
  view.base = std::make_shared<BaseTables>(std::move(chains));
  const auto open = [&](uint64_t inline_rows) {
    return OrDie(RowGather::Create({{1, 0}}, kColumns, kRowBytes, inline_rows));
  };
  auto own_thread = open(UINT64_MAX);
  auto other_thread = open(0);
  std::mt19937_64 random(3);
  for (const uint32_t num_tokens : {1u, 4u, 8u, 16u, 32u, 64u, 512u}) {
    std::vector<std::vector<uint64_t>> batches(100);
    for (auto& ids : batches) {
      ids.resize(size_t{num_tokens} * kColumns);
      for (uint64_t& id : ids) id = random() % num_rows;
    }
    bool ok = true;
    const auto run = [&](RowGather& gather) {
      for (const auto& ids : batches) {
        const BatchRowIds run_ids{0, num_tokens, ids.data(), &view, {}, 0};
        engram_batch_rows* rows = gather.Begin(num_tokens, {&run_ids, 1});
        ok = gather.Await(rows, 0).has_value() && ok;
        gather.End(rows);
      }
    };
    const auto [own, other] = Compare([&] { run(*own_thread); }, [&] { run(*other_thread); });
    const double scale = 1e6 / static_cast<double>(batches.size());
    std::printf("hand-off: %3u tokens, %5u rows a layer: own thread %.1f us, reading thread %.1f us%s\n", num_tokens,
                num_tokens * kColumns, own * scale, other * scale, ok ? "" : " (FAILED)");
  }
}

int Main(int argc, char** argv) {
  const double gib = argc > 1 ? std::atof(argv[1]) : 4.0;
  if (!(gib > 0.01)) {
    std::fprintf(stderr, "usage: tiers_bench [GiB of each table]\n");
    return 2;
  }
  const auto num_rows = static_cast<uint64_t>(gib * (1u << 30)) / kRowBytes;
  BenchGather(num_rows);
  BenchDedupe();
  BenchHandOff(num_rows / 2);
  return 0;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  return engram::Main(argc, argv);
}
