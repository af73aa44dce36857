// SPDX-License-Identifier: Apache-2.0
// journal_bench [DIR]: what durability costs.
//   commit   1,000 random rows of 264 bytes, from the request to the answer (durable and visible); beside it, in turns,
//   a
//            plain write and flush of as many bytes to a file of the same directory
//   restart  opening a journal with 1,000,000 edited rows, until its versions are served
// Medians are printed. DIR (default: the current directory) must be on the disk that is meant; files are removed.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <random>

#include "control/live_memory.h"
#include "memory/packed_table.h"

namespace engram {
namespace {

constexpr uint32_t kHeadDim = 256;
constexpr int kRounds = 60;
constexpr size_t kCommitRows = 1000;
constexpr uint64_t kManyRows = 1'000'000;
constexpr size_t kLargeCommit = 62'500;

double Ms(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

template <typename T>
T OrDie(Result<T> result) {
  if (!result) Die(result.error().message);
  return *std::move(result);
}

// One layer of 1.6 million fp8 rows of zeros in memory.
LiveModel OpenModel(const std::filesystem::path& dir) {
  EngramConfig config;
  config.variant = "paper";
  config.layer_ids = {1};
  config.max_ngram_size = 3;
  config.num_heads = 8;
  config.head_dim = kHeadDim;
  config.vocab_size = {100'000, 100'000};
  const auto tokenizer = OrDie(Tokenizer::Load(ENGRAM_BENCH_VECTORS "/tokenizer.json"));
  CompressedMap map = OrDie(CompressedMap::Build(*tokenizer, 4096));
  const Geometry geometry = OrDie(Geometry::Create(config, map));
  const LayerGeometry& layer = geometry.layers.front();
  const auto path = dir / "base.ngt";
  if (!std::filesystem::exists(path)) {
    sdk::PackedTableInfo info = sdk::LayOutPackedTable(1, layer.num_rows, ENGRAM_ROW_FP8_E4M3_UE8M0, kHeadDim);
    info.hash_digest = HashConstantsDigest(geometry, layer);
    auto writer = OrDie(PackedTableWriter::Create(path, info));
    const std::vector<uint8_t> rows(size_t{4096} * info.row_bytes);
    for (uint64_t first = 0; first < layer.num_rows; first += 4096)
      if (!writer->Append(rows.data(), std::min<uint64_t>(4096, layer.num_rows - first))) Die("writing a table");
    OrDie(writer->Finish());
  }
  ModelMemoryOptions options;
  options.model_name = "bench";
  options.model_dir = dir;
  options.config = config;
  options.tiers = {{"dram", OrDie(PluginLibrary::Load(ENGRAM_PLUGIN_DIR "/tier_dram.so", ENGRAM_PLUGIN_TIER)), {}}};
  options.packed_tables[1] = path;
  LiveModel model;
  model.name = "bench";
  model.memory = OrDie(ModelMemory::Open(std::move(options), std::move(map)));
  return model;
}

std::vector<RowEdit> Edits(const ModelMemory& memory, size_t count, uint64_t first, std::mt19937_64& random) {
  const uint64_t num_rows = memory.geometry().layers.front().num_rows;
  std::vector<RowEdit> edits(count);
  // Spread over the table by an odd step, so that no two meet.
  for (size_t i = 0; i < count; ++i) {
    edits[i].layer = 1;
    edits[i].row = (first + i) * 1'000'003 % num_rows;
    edits[i].data.resize(memory.row_bytes());
    for (uint8_t& byte : edits[i].data) byte = static_cast<uint8_t>(random() % 64);
  }
  return edits;
}

CommitAnswer Commit(LiveMemory& live, std::vector<RowEdit> edits) {
  CommitRequest request;
  request.edits = std::move(edits);
  std::promise<Result<CommitAnswer>> promise;
  live.Commit(std::move(request), [&](Result<CommitAnswer> answer) { promise.set_value(std::move(answer)); });
  return OrDie(promise.get_future().get());
}

void BenchCommit(const LiveMemoryOptions& options, const LiveModel& model, std::mt19937_64& random) {
  auto live = OrDie(LiveMemory::Open(options, model));
  std::vector<double> commits;
  std::vector<double> plain;
  const auto path = options.state_dir / "plain";
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::vector<uint8_t> bytes(kCommitRows * 2 * model.memory->row_bytes(), 1);
  for (int i = 0; i < kRounds; ++i) {
    auto edits = Edits(*model.memory, kCommitRows, static_cast<uint64_t>(i) * kCommitRows, random);
    commits.push_back(Ms([&] { Commit(*live, std::move(edits)); }));
    plain.push_back(Ms([&] {
      if (::write(file, bytes.data(), bytes.size()) < 0 || ::fsync(file) != 0) Die("writing a plain file");
    }));
  }
  ::close(file);
  std::filesystem::remove(path);
  std::printf(
      "commit of %zu rows: median %.2f ms, p90 %.2f ms; a plain write and flush of as many bytes: median %.2f "
      "ms, p90 %.2f ms\n",
      kCommitRows, Quantile(commits, 0.5), Quantile(commits, 0.9), Quantile(plain, 0.5), Quantile(plain, 0.9));
}

void BenchRestart(const LiveMemoryOptions& options, const std::filesystem::path& dir, std::mt19937_64& random) {
  {
    const LiveModel model = OpenModel(dir);
    auto live = OrDie(LiveMemory::Open(options, model));
    for (uint64_t first = 0; first < kManyRows; first += kLargeCommit)
      Commit(*live, Edits(*model.memory, kLargeCommit, first, random));
  }
  const LiveModel model = OpenModel(dir);
  std::unique_ptr<LiveMemory> live;
  const double ms = Ms([&] { live = OrDie(LiveMemory::Open(options, model)); });
  std::printf("restart with %llu edited rows: %.2f s\n", static_cast<unsigned long long>(live->status().edited_rows),
              ms / 1e3);
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  using namespace engram;
  const auto dir = std::filesystem::path(argc > 1 ? argv[1] : ".") / "journal_bench_files";
  std::filesystem::create_directories(dir / "commit");
  std::filesystem::create_directories(dir / "restart");
  std::mt19937_64 random(1);
  LiveMemoryOptions options;
  options.state_dir = dir / "commit";
  BenchCommit(options, OpenModel(dir), random);
  options.state_dir = dir / "restart";
  BenchRestart(options, dir, random);
  std::filesystem::remove_all(dir);
  return 0;
}
