// SPDX-License-Identifier: Apache-2.0
// live_memory_bench [GiB]: what edited rows cost those who read and those who commit.
//   gather   batches of random 264-byte rows with 1,000 and 1,000,000 edited rows, against none, in turns
//   lookup   one row of a map of that size
//   commit   1,000 rows on top of a map of that size, and dropping the version before
// Medians of processor time are printed, all of it of one thread, so that a busy machine disturbs less.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "memory/row_gather.h"

namespace engram {
namespace {

constexpr uint32_t kRowBytes = 264;
constexpr uint32_t kColumns = 24;
constexpr int kRounds = 25;

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double Seconds(const std::function<void()>& body) {
  const double start = CpuSeconds();
  body();
  return CpuSeconds() - start;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <typename T>
T OrDie(Result<T> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

std::shared_ptr<BaseTables> OpenBase(uint64_t num_rows) {
  auto library = OrDie(PluginLibrary::Load(ENGRAM_PLUGIN_DIR "/tier_dram.so", ENGRAM_PLUGIN_TIER));
  auto tiers = OrDie(OpenTiers({{"dram", std::move(library), {}}}));
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
  std::vector<std::unique_ptr<TableChain>> chains;
  chains.push_back(OrDie(TableChain::Attach(tiers, desc)));
  return std::make_shared<BaseTables>(std::move(chains));
}

std::shared_ptr<MemoryEdits> Edits(uint64_t edited, uint64_t num_rows) {
  auto edits = std::make_shared<MemoryEdits>();
  edits->version = edited;
  edits->layers.resize(1);
  const std::vector<uint8_t> bytes(kRowBytes, 7);
  std::mt19937_64 random(4);
  while (edits->layers[0].size() < edited) edits->layers[0].Set(random() % num_rows, 1, bytes);
  return edits;
}

void BenchGather(const std::vector<MemoryView>& views, uint64_t num_rows) {
  auto gather = OrDie(RowGather::Create({{1, 0}}, kColumns, kRowBytes, UINT64_MAX));
  std::mt19937_64 random(3);
  for (const uint32_t num_tokens : {1u, 8u, 512u}) {
    std::vector<std::vector<uint64_t>> batches(4096 / num_tokens);
    for (auto& ids : batches) {
      ids.resize(size_t{num_tokens} * kColumns);
      for (uint64_t& id : ids) id = random() % num_rows;
    }
    bool ok = true;
    std::vector<std::vector<double>> times(views.size());
    for (int round = 0; round < kRounds; ++round) {
      for (size_t v = 0; v < views.size(); ++v) {
        times[v].push_back(Seconds([&] {
          for (const auto& ids : batches) {
            const BatchRowIds run{0, num_tokens, ids.data(), &views[v], {}, 0};
            engram_batch_rows* rows = gather->Begin(num_tokens, {&run, 1});
            ok = gather->Await(rows, 0).has_value() && ok;
            gather->End(rows);
          }
        }));
      }
    }
    const double scale = 1e6 / static_cast<double>(batches.size() * num_tokens);
    const double none = Median(times[0]);
    std::printf("gather: %3u tokens a batch, per token and layer: without edits %.2f us", num_tokens, none * scale);
    for (size_t v = 1; v < views.size(); ++v)
      std::printf(", %llu edited rows %.2f us (ratio %.3f)", static_cast<unsigned long long>(views[v].version()),
                  Median(times[v]) * scale, Median(times[v]) / none);
    std::printf("%s\n", ok ? "" : " (FAILED)");
  }
}

void BenchMap(const RowMap& map, uint64_t num_rows) {
  std::mt19937_64 random(5);
  std::vector<uint64_t> ids(200'000);
  for (uint64_t& id : ids) id = random() % num_rows;
  uint64_t hits = 0;
  std::vector<double> lookups, commits, drops;
  const std::vector<uint8_t> bytes(kRowBytes, 9);
  for (int round = 0; round < kRounds; ++round) {
    hits = 0;
    lookups.push_back(Seconds([&] {
      for (const uint64_t id : ids) hits += map.Find(id).bytes != nullptr ? 1 : 0;
    }));
    RowMap next;
    commits.push_back(Seconds([&] {
      next = map;
      for (int i = 0; i < 1000; ++i) next.Set(random() % num_rows, 2, bytes);
    }));
    drops.push_back(Seconds([&] { next = RowMap(); }));
  }
  std::printf(
      "map of %llu rows, %.1f MiB: lookup %.0f ns (%.0f %% found), commit of 1000 rows %.2f ms, dropping a version "
      "%.2f ms\n",
      static_cast<unsigned long long>(map.size()), static_cast<double>(map.resident_bytes()) / (1 << 20),
      Median(lookups) / static_cast<double>(ids.size()) * 1e9,
      100.0 * static_cast<double>(hits) / static_cast<double>(ids.size()), Median(commits) * 1e3, Median(drops) * 1e3);
}

int Main(int argc, char** argv) {
  const double gib = argc > 1 ? std::atof(argv[1]) : 4.0;
  if (!(gib > 0.5)) {
    std::fprintf(stderr, "usage: live_memory_bench [GiB of the table, above 0.5]\n");
    return 2;
  }
  const auto num_rows = static_cast<uint64_t>(gib * (1u << 30)) / kRowBytes;
  std::vector<MemoryView> views;
  const auto base = OpenBase(num_rows);
  for (const uint64_t edited : {0u, 1000u, 1'000'000u}) views.push_back({base, Edits(edited, num_rows), {}});
  BenchGather(views, num_rows);
  for (size_t v = 1; v < views.size(); ++v) BenchMap(views[v].edits->layers[0], num_rows);
  return 0;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  return engram::Main(argc, argv);
}
