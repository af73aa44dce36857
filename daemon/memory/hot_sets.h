// SPDX-License-Identifier: Apache-2.0
// HotSets: keeps caches warm over restarts. At start it reads, in the background, the rows that the last run found
// worth keeping; while the daemon serves and when it stops it saves which rows those are now.
//
// One file for each cache and table, DIRECTORY/MODEL-LAYER-TIER.ids (hot_set_file.h). A file that is damaged or of
// another table is left aside with a warning: losing it costs time, never a wrong row.
//
// Threads: its own, "hot-rows". Start() and the destructor: any one thread. progress(): any thread.
#pragma once

#include <engram/packed_table.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/leavable_thread.h"
#include "core/result.h"
#include "memory/tier_chain.h"

namespace engram {

struct HotSetOptions {
  std::filesystem::path directory;  // made if missing
  std::chrono::milliseconds save_every{0};
  uint32_t rows_per_second = 0;  // of the warm-up, over all tables; 0: as fast as the chain reads
};

struct HotTable {
  TableChain* chain = nullptr;   // outlives the HotSets
  sdk::PackedDigest identity{};  // HashConstantsDigest() of the table
};

class HotSets {
 public:
  // Reads the files and starts to warm the caches up. kIo when the directory cannot be made, kResourceExhausted when no
  // thread can start. Dropped, it ends the warm-up where it is, or else saves once more; a read that does not return is
  // left behind with the thread. `keeps` holds the chains as long as the thread may read them.
  static Result<std::shared_ptr<HotSets>> Start(HotSetOptions options, const std::string& model_name,
                                                std::vector<HotTable> tables, std::shared_ptr<const void> keeps);
  HotSets(const HotSets&) = delete;
  HotSets& operator=(const HotSets&) = delete;

  struct Progress {
    uint64_t rows_done = 0;   // read so far
    uint64_t rows_total = 0;  // of all files
    bool warm = false;        // the warm-up has ended
    bool failed = false;      // before it was done, because a tier failed
    uint64_t saves = 0;       // rounds of saving that went well
  };
  Progress progress() const;

  void Stop();  // StopWhenDropped()'s

  // Where the set of a cache and table is kept. Characters that a file name cannot or should not have become %xx.
  static std::filesystem::path PathOf(const std::filesystem::path& directory, const std::string& model_name,
                                      uint32_t layer, const std::string& tier);

 private:
  struct Cache {
    HotTable table;
    TableChain::HotCache cache;
    std::filesystem::path path;
    std::vector<uint64_t> to_read;  // from the file, the most wanted first
    bool save_failed = false;
  };
  HotSets(HotSetOptions options, std::shared_ptr<const void> keeps)
      : options_(std::move(options)), keeps_(std::move(keeps)) {}
  void Load(Cache& cache);
  void Run();
  bool WarmUp();
  void Save();
  bool StopBy(std::chrono::steady_clock::time_point time);

  const HotSetOptions options_;
  const std::shared_ptr<const void> keeps_;
  std::vector<Cache> caches_;  // the thread's, once it runs
  std::atomic<uint64_t> rows_done_{0};
  std::atomic<uint64_t> rows_total_{0};
  std::atomic<bool> warm_{false};
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> saves_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;  // guarded by mutex_
  LeavableThread thread_;
};

}  // namespace engram
