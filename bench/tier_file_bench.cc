// SPDX-License-Identifier: Apache-2.0
// tier_file_bench FILE [GiB]: rows of a packed table read from a disk. Writes FILE, 2 GiB by default, and removes it.
//   cold   batches of 1,024 random rows through tier_file.so, against a hand-written io_uring loop over the same pages
//          at the same depth, which neither checks nor copies anything
//   chain  rows under a Zipf distribution through a cache of an eighth of the table before the file, against the same
//          draws from a full copy in memory
// Contestants take turns; medians are printed.
#include <engram/packed_table.h>
#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "memory/tier_chain.h"

namespace engram {
namespace {

using sdk::PackedTableInfo;

constexpr uint32_t kBatch = 1024;
constexpr uint32_t kDepth = 32;
constexpr int kRounds = 25;

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T OrDie(Result<T> result) {
  if (!result) Die(result.error().message);
  return *std::move(result);
}

void OrDie(const Status& status) {
  if (!status) Die(status.error().message);
}

PackedTableInfo WriteTable(const std::string& path, double gib) {
  constexpr uint32_t kPagesAtOnce = 1024;
  PackedTableInfo info =
      sdk::LayOutPackedTable(1, static_cast<uint64_t>(gib * (1u << 30)) / 4096 * 15, ENGRAM_ROW_FP8_E4M3_UE8M0, 256);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) Die(path + ": cannot be written");
  std::vector<uint8_t> bytes(sdk::kPackedHeaderBytes);
  sdk::EncodePackedHeader(info, bytes.data());
  bool ok = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  for (uint64_t page = 0; page < info.num_pages && ok; page += kPagesAtOnce) {
    const uint64_t count = std::min<uint64_t>(kPagesAtOnce, info.num_pages - page);
    bytes.assign(count * info.page_bytes, 0);
    for (uint64_t p = 0; p < count; ++p) {
      uint8_t* at = &bytes[p * info.page_bytes];
      for (uint32_t r = 0; r < info.RowsIn(page + p); ++r)
        std::memset(at + r * info.row_bytes, static_cast<int>((page + p + r) % 251), info.row_bytes);
      sdk::SealPackedPage(info, page + p, at);
    }
    ok = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  }
  ok = ::fsync(fd) == 0 && ok;
  ::close(fd);
  if (!ok) Die(path + ": write failed");
  return info;
}

engram_table_desc Desc(const PackedTableInfo& info, const std::string& path) {
  engram_table_desc desc{};
  desc.layer = info.layer;
  desc.model = "bench";
  desc.path = path.c_str();
  desc.num_rows = info.num_rows;
  desc.row_bytes = info.row_bytes;
  desc.row_format = info.row_format;
  desc.source.read = [](void*, uint64_t, uint64_t num_rows, uint8_t* dst, engram_message*) {
    std::memset(dst, 1, num_rows * 264);
    return engram_status{ENGRAM_OK};
  };
  return desc;
}

std::shared_ptr<const PluginLibrary> Library(const char* name) {
  return OrDie(PluginLibrary::Load(std::string(ENGRAM_PLUGIN_DIR "/") + name + ".so", ENGRAM_PLUGIN_TIER));
}

// Reads pages as fast as a ring of this depth does.
class HandWritten {
 public:
  explicit HandWritten(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_DIRECT)) {
    if (fd_ < 0 || ::io_uring_queue_init(kDepth, &ring_, 0) < 0) Die("no O_DIRECT or io_uring here");
    buffer_ = static_cast<uint8_t*>(std::aligned_alloc(4096, kDepth * 4096));
  }
  ~HandWritten() {
    ::io_uring_queue_exit(&ring_);
    ::close(fd_);
    std::free(buffer_);
  }
  void Read(const std::vector<uint64_t>& offsets) {
    size_t next = 0, done = 0;
    const auto start = [&](uint64_t slot) {
      io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
      ::io_uring_prep_read(entry, fd_, buffer_ + slot * 4096, 4096, offsets[next++]);
      entry->user_data = slot;
    };
    while (next < std::min<size_t>(kDepth, offsets.size())) start(next);
    while (done < offsets.size()) {
      if (::io_uring_submit_and_wait(&ring_, 1) < 0) Die("io_uring_enter failed");
      io_uring_cqe* entries[kDepth];
      const unsigned count = ::io_uring_peek_batch_cqe(&ring_, entries, kDepth);
      uint64_t slots[kDepth];
      for (unsigned i = 0; i < count; ++i) {
        if (entries[i]->res != 4096) Die("short read");
        slots[i] = entries[i]->user_data;
      }
      ::io_uring_cq_advance(&ring_, count);
      done += count;
      for (unsigned i = 0; i < count && next < offsets.size(); ++i) start(slots[i]);
    }
  }

 private:
  int fd_;
  io_uring ring_ = {};
  uint8_t* buffer_ = nullptr;
};

void BenchCold(const PackedTableInfo& info, const std::string& path) {
  HandWritten hand(path);
  const auto uring_tier = OrDie(Tier::Open(Library("tier_file"), {{"io", "uring"}}));
  const auto pread_tier = OrDie(Tier::Open(Library("tier_file"), {{"io", "pread"}}));
  const auto uring = OrDie(TierTable::Attach(uring_tier, Desc(info, path)));
  const auto pread = OrDie(TierTable::Attach(pread_tier, Desc(info, path)));
  std::mt19937_64 random(1);
  std::vector<uint8_t> dst(size_t{kBatch} * info.row_bytes), found(kBatch);
  std::vector<double> hand_s, uring_s, pread_s;
  for (int round = 0; round < kRounds; ++round) {
    // Rows of distinct pages, so that all read the same number of pages; new ones each time.
    const auto draw = [&] {
      std::vector<uint64_t> ids(kBatch);
      const uint64_t stretch = info.num_pages / kBatch;
      for (uint32_t i = 0; i < kBatch; ++i) ids[i] = (i * stretch + random() % stretch) * info.rows_per_page;
      std::shuffle(ids.begin(), ids.end(), random);
      return ids;
    };
    std::vector<uint64_t> ids = draw();
    std::vector<uint64_t> offsets;
    for (const uint64_t id : ids) offsets.push_back(info.PageOffset(info.PageOf(id)));
    hand_s.push_back(Seconds([&] { hand.Read(offsets); }));
    ids = draw();
    uring_s.push_back(
        Seconds([&] { OrDie(uring->Read(ids.data(), kBatch, dst.data(), info.row_bytes, found.data())); }));
    ids = draw();
    pread_s.push_back(
        Seconds([&] { OrDie(pread->Read(ids.data(), kBatch, dst.data(), info.row_bytes, found.data())); }));
  }
  const auto print = [&](const char* name, const std::vector<double>& seconds) {
    std::printf("cold: %-12s batch of %u rows %.2f ms, %.0f rows/s; time %.2f of the hand-written loop's\n", name,
                kBatch, Median(seconds) * 1e3, kBatch / Median(seconds), Median(seconds) / Median(hand_s));
  };
  print("hand-written", hand_s);
  print("io_uring", uring_s);
  print("pread", pread_s);
}

void BenchChain(const PackedTableInfo& info, const std::string& path) {
  const std::string capacity = std::to_string(std::max<uint64_t>(info.file_bytes() / 8, 4u << 20));
  const auto cached_tiers =
      OrDie(OpenTiers({{"cache", Library("tier_dram"), {{"mode", "cache"}, {"capacity", capacity}}},
                       {"file", Library("tier_file"), {}}}));
  const auto dram_tiers = OrDie(OpenTiers({{"dram", Library("tier_dram"), {}}}));
  const auto cached = OrDie(TableChain::Attach(cached_tiers, Desc(info, path)));
  const auto dram = OrDie(TableChain::Attach(dram_tiers, Desc(info, path)));
  // Rank k with weight 1 / k, by inverting the integral of 1 / x; ranks are spread over the table.
  std::mt19937_64 random(2);
  const double log_rows = std::log(static_cast<double>(info.num_rows));
  const auto draw = [&](std::vector<uint64_t>& ids) {
    for (uint64_t& id : ids) {
      const double rank = std::exp(static_cast<double>(random() >> 11) * 0x1p-53 * log_rows);
      id = static_cast<uint64_t>(rank) * 0x9e3779b97f4a7c15u % info.num_rows;
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  };
  std::vector<uint8_t> dst(size_t{kBatch} * info.row_bytes);
  ChainScratch scratch;
  std::vector<double> cached_s, dram_s;
  constexpr int kWarm = 1500;
  uint64_t hits_before = 0, rows_before = 0;
  for (int round = 0; round < kWarm + 500; ++round) {
    std::vector<uint64_t> ids(kBatch);
    draw(ids);
    const auto count = static_cast<uint32_t>(ids.size());
    const double seconds = Seconds([&] { OrDie(cached->Read(ids.data(), count, dst.data(), scratch)); });
    if (round == kWarm) {
      hits_before = cached->stats()[0].counters.hits;
      rows_before = cached->stats()[0].counters.rows;
    }
    if (round < kWarm) continue;
    cached_s.push_back(seconds / count);
    dram_s.push_back(Seconds([&] { OrDie(dram->Read(ids.data(), count, dst.data(), scratch)); }) / count);
  }
  const engram_tier_stats stats = cached->stats()[0].counters;
  std::printf(
      "chain: %s bytes of cache before %.1f GiB, Zipf 1.0: %.1f %% hits, %.3f million rows/s; from memory %.2f\n",
      capacity.c_str(), static_cast<double>(info.file_bytes()) / (1 << 30),
      100.0 * static_cast<double>(stats.hits - hits_before) / static_cast<double>(stats.rows - rows_before),
      1e-6 / Median(cached_s), 1e-6 / Median(dram_s));
}

int Main(int argc, char** argv) {
  const double gib = argc > 2 ? std::atof(argv[2]) : 2.0;
  if (argc < 2 || !(gib > 0.01)) {
    std::fprintf(stderr, "usage: tier_file_bench FILE [GiB]\n");
    return 2;
  }
  const std::string path = argv[1];
  const PackedTableInfo info = WriteTable(path, gib);
  BenchCold(info, path);
  BenchChain(info, path);
  ::unlink(path.c_str());
  return 0;
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  return engram::Main(argc, argv);
}
