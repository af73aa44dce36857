// SPDX-License-Identifier: Apache-2.0
#include "table_memory.h"

#include <engram/plugin_error.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace engram::tier_dram {
namespace {

using sdk::PluginError;

constexpr uint64_t kHugePageBytes = 2u << 20;
// Large enough for the disk's full rate, small enough to share out between threads.
constexpr uint64_t kChunkBytes = 8u << 20;

// What the kernel says can be had without swapping; UINT64_MAX where it does not say.
uint64_t AvailableBytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  std::string rest;
  while (meminfo >> key >> kib && std::getline(meminfo, rest)) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return UINT64_MAX;
}

std::vector<uint32_t> OnlineNodes() {
  std::ifstream file("/sys/devices/system/node/online");
  std::string text;
  std::getline(file, text);
  return ParseNodeList(text);
}

// The number of nodes the pages will be spread over; 0 where the kernel does not do it.
size_t Interleave(void* address, uint64_t num_bytes, const std::vector<uint32_t>& nodes) {
  if (nodes.empty()) return 0;
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> mask(*std::max_element(nodes.begin(), nodes.end()) / kBits + 1);
  for (const uint32_t node : nodes) mask[node / kBits] |= 1ul << node % kBits;
  // The kernel takes one bit less than it is told.
  const long bound = ::syscall(SYS_mbind, address, num_bytes, MPOL_INTERLEAVE, mask.data(), mask.size() * kBits + 1, 0);
  return bound == 0 ? nodes.size() : 0;
}

}  // namespace

std::vector<uint32_t> ParseNodeList(std::string_view text) {
  std::vector<uint32_t> nodes;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](uint32_t& value) {
    const auto [next, error] = std::from_chars(at, end, value);
    at = next;
    return error == std::errc() && value < 4096;
  };
  while (at != end) {
    uint32_t first = 0;
    if (!number(first)) return {};
    uint32_t last = first;
    if (at != end && *at == '-' && (++at, !number(last))) return {};
    for (uint32_t node = first; node <= last; ++node) nodes.push_back(node);
    if (at == end) break;
    if (*at++ != ',' || at == end) return {};
  }
  return nodes;
}

std::string TableMemory::Description() const {
  std::string text = std::string("huge pages ") + (huge_pages_ ? "on" : "off");
  if (!interleave_) return text;
  if (num_nodes_ == 1) return text + ", nothing to interleave: one NUMA node";
  return text + (num_nodes_ == 0 ? ", not interleaved: the kernel refuses"
                                 : ", interleaved over " + std::to_string(num_nodes_) + " NUMA nodes");
}

TableMemory::TableMemory(uint64_t num_bytes, const MemoryOptions& options) : interleave_(options.interleave) {
  const auto exhausted = [&](const std::string& why) {
    return PluginError(ENGRAM_RESOURCE_EXHAUSTED, "cannot allocate " + std::to_string(num_bytes) + " bytes: " + why);
  };
  const uint64_t available = AvailableBytes();
  if (num_bytes > available) throw exhausted("only " + std::to_string(available) + " bytes of memory are available");
  // Transparent huge pages back only what is aligned to them.
  const uint64_t rounded = (num_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  mapped_bytes_ = rounded + kHugePageBytes;
  mapping_ = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) throw exhausted(std::strerror(errno));
  const auto address = reinterpret_cast<uintptr_t>(mapping_);
  data_ = static_cast<uint8_t*>(mapping_) + (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  // A kernel without transparent huge pages refuses either advice; the table then works with small pages.
  const int advised = ::madvise(data_, rounded, options.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  huge_pages_ = options.huge_pages && advised == 0;
  // Before the first page is touched: the policy decides where a page is put, not where it stays.
  if (interleave_) num_nodes_ = Interleave(data_, rounded, OnlineNodes());
}

TableMemory::~TableMemory() {
  ::munmap(mapping_, mapped_bytes_);
}

void TableMemory::Fill(const engram_row_source& source, uint64_t num_rows, uint32_t row_bytes, uint32_t num_threads) {
  const uint64_t chunk_rows = std::max<uint64_t>(1, kChunkBytes / row_bytes);
  std::atomic<uint64_t> next_row{0};
  std::mutex mutex;
  engram_status status = ENGRAM_OK;  // guarded by mutex: the first failure
  std::string reason;                // guarded by mutex
  const auto work = [&] {
    for (;;) {
      const uint64_t first = next_row.fetch_add(chunk_rows, std::memory_order_relaxed);
      if (first >= num_rows) return;
      char text[512] = {};
      engram_message message = {text, sizeof(text)};
      const engram_status read = source.read(source.context, first, std::min(chunk_rows, num_rows - first),
                                             data_ + first * row_bytes, &message);
      if (read == ENGRAM_OK) continue;
      next_row.store(num_rows, std::memory_order_relaxed);
      const std::lock_guard lock(mutex);
      if (status == ENGRAM_OK) {
        status = read;
        reason = "reading rows from " + std::to_string(first) + ": " + text;
      }
      return;
    }
  };
  {
    std::vector<std::jthread> threads;  // joined at the end of this block, also when one cannot be started
    const uint64_t num_chunks = (num_rows + chunk_rows - 1) / chunk_rows;
    const uint64_t helpers = std::min<uint64_t>(num_threads, num_chunks);
    for (uint64_t i = 1; i < helpers; ++i) threads.emplace_back(work);
    work();
  }
  if (status != ENGRAM_OK) throw PluginError(status, reason);
}

void TableMemory::Seal() {
  if (::mprotect(mapping_, mapped_bytes_, PROT_READ) != 0)
    throw PluginError(ENGRAM_IO, std::string("mprotect: ") + std::strerror(errno));
}

}  // namespace engram::tier_dram
