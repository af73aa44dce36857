// SPDX-License-Identifier: Apache-2.0
#include "memory/hot_sets.h"

#include <algorithm>
#include <cctype>
#include <new>
#include <system_error>
#include <utility>

#include "core/log.h"
#include "memory/hot_set_file.h"

namespace engram {
namespace {

using std::chrono::steady_clock;

// Deep enough for a disk's queue, and soon over when the daemon is to stop.
constexpr size_t kRowsAtOnce = 512;
// For the last save, of 64 MiB a table at most, on a disk that has other things to do.
constexpr std::chrono::seconds kSavePatience{30};

std::string FileNamePart(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string part;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '_' || c == '.') {
      part += c;
    } else {
      part += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return part;
}

}  // namespace

std::filesystem::path HotSets::PathOf(const std::filesystem::path& directory, const std::string& model_name,
                                      uint32_t layer, const std::string& tier) {
  return directory / (FileNamePart(model_name) + "-" + std::to_string(layer) + "-" + FileNamePart(tier) + ".ids");
}

Result<std::shared_ptr<HotSets>> HotSets::Start(HotSetOptions options, const std::string& model_name,
                                                std::vector<HotTable> tables, std::shared_ptr<const void> keeps) {
  std::error_code error;
  std::filesystem::create_directories(options.directory, error);
  if (error) return IoError(options.directory.string() + ": " + error.message());
  std::shared_ptr<HotSets> sets(new HotSets(std::move(options), std::move(keeps)));
  for (const HotTable& table : tables) {
    for (TableChain::HotCache& cache : table.chain->hot_caches()) {
      const auto path = PathOf(sets->options_.directory, model_name, table.chain->layer(), cache.tier);
      sets->caches_.push_back({table, std::move(cache), path, {}, false});
      sets->Load(sets->caches_.back());
    }
  }
  if (sets->caches_.empty()) {
    sets->warm_ = true;
    return sets;
  }
  ENGRAM_TRY(sets->thread_, LeavableThread::Start("hot-rows", [sets] { sets->Run(); }));
  return StopWhenDropped(std::move(sets));
}

void HotSets::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.End(warm_ ? kSavePatience : LeavableThread::kPatience);
}

HotSets::Progress HotSets::progress() const {
  return {rows_done_.load(), rows_total_.load(), warm_.load(), failed_.load(), saves_.load()};
}

void HotSets::Load(Cache& cache) {
  auto set = ReadHotSet(cache.path);
  if (!set) {
    if (set.error().code != ErrorCode::kNotFound)
      log::Warning("{}; the cache \"{}\" starts cold", set.error().message, cache.cache.tier);
    return;
  }
  const TableChain& chain = *cache.table.chain;
  if (set->layer != chain.layer() || set->num_rows != chain.num_rows() || set->identity != cache.table.identity) {
    log::Warning("{}: hot rows of another table (layer {}, {} rows); the cache \"{}\" starts cold", cache.path.string(),
                 set->layer, set->num_rows, cache.cache.tier);
    return;
  }
  cache.to_read = std::move(set->ids);
  rows_total_ += cache.to_read.size();
}

bool HotSets::StopBy(steady_clock::time_point time) {
  std::unique_lock lock(mutex_);
  return wake_.wait_until(lock, time, [this] { return stop_; });
}

void HotSets::Run() {
  try {
    if (!WarmUp()) return;  // what the file says is more than what the caches have got so far
    warm_ = true;
    while (!StopBy(steady_clock::now() + options_.save_every)) Save();
    Save();
  } catch (const std::bad_alloc&) {
    log::Warning("no memory to keep hot rows; caches will start cold after this run");
  }
}

// False: stopped on the way.
bool HotSets::WarmUp() {
  if (rows_total_ == 0) return true;
  log::Info("warming up caches with {} rows of the last run", rows_total_.load());
  const auto started_at = steady_clock::now();
  ChainScratch scratch;
  std::vector<uint8_t> rows;
  std::vector<uint64_t> ids;
  for (size_t first = 0, left = 1; left > 0; first += kRowsAtOnce) {
    left = 0;
    // The most wanted of every table before the less wanted of any.
    for (Cache& cache : caches_) {
      if (first >= cache.to_read.size()) continue;
      const size_t end = std::min(first + kRowsAtOnce, cache.to_read.size());
      left += cache.to_read.size() - end;
      ids.assign(cache.to_read.begin() + static_cast<ptrdiff_t>(first),
                 cache.to_read.begin() + static_cast<ptrdiff_t>(end));
      std::sort(ids.begin(), ids.end());  // neighbours on the disk
      TableChain& chain = *cache.table.chain;
      rows.resize(ids.size() * chain.row_bytes());
      // Twice: the second time they are hits, by which a cache that doubts newcomers knows these for what they are.
      for (int time = 0; time < 2; ++time) {
        if (auto read = chain.Read(ids.data(), static_cast<uint32_t>(ids.size()), rows.data(), scratch); !read) {
          log::Warning("warming up stopped: {}", read.error().message);
          failed_ = true;
          return true;
        }
      }
      rows_done_ += ids.size();
      auto next = steady_clock::now();
      if (options_.rows_per_second != 0)
        next = started_at + std::chrono::nanoseconds(rows_done_.load() * 1'000'000'000 / options_.rows_per_second);
      if (StopBy(next)) return false;
    }
  }
  for (Cache& cache : caches_) cache.to_read = {};
  log::Info("caches are warm: {} rows in {:.1f} s", rows_done_.load(),
            std::chrono::duration<double>(steady_clock::now() - started_at).count());
  return true;
}

void HotSets::Save() {
  bool all = true;
  for (Cache& cache : caches_) {
    const TableChain& chain = *cache.table.chain;
    auto ids = chain.HotRows(cache.cache.level, std::min(cache.cache.capacity_rows, kMaxHotRows));
    Status saved = ids ? Status() : Status(ids.error());
    // An empty set says less than an old one.
    if (ids && !ids->empty())
      saved = WriteHotSet(cache.path, {chain.layer(), chain.num_rows(), cache.table.identity, *std::move(ids)});
    if (!saved && !cache.save_failed)
      log::Warning("hot rows of \"{}\" are not saved: {}; later failures are not reported", cache.cache.tier,
                   saved.error().message);
    cache.save_failed = !saved.has_value();
    all = all && saved.has_value();
  }
  if (all) ++saves_;
}

}  // namespace engram
