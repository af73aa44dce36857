// SPDX-License-Identifier: Apache-2.0
#include "core/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace engram {
namespace {

namespace fs = std::filesystem;

// The number after `key` in a file of "key number" lines.
std::optional<uint64_t> ValueOf(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    uint64_t value = 0;
    if (word == key && file >> value) return value;
  }
  return std::nullopt;
}

// A file that holds one number; none for "max".
std::optional<uint64_t> NumberIn(const fs::path& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// What the limits of the process's group and those above it leave.
uint64_t ControlGroupLeft() {
  uint64_t left = std::numeric_limits<uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  const fs::path root = "/sys/fs/cgroup";
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    for (fs::path group = (root / line.substr(4)).lexically_normal();; group = group.parent_path()) {
      const auto limit = NumberIn(group / "memory.max");
      const auto used = NumberIn(group / "memory.current");
      if (limit && used) {
        const uint64_t file_pages = ValueOf(group / "memory.stat", "inactive_file").value_or(0);
        const uint64_t taken = *used - std::min(*used, file_pages);
        left = std::min(left, *limit - std::min(*limit, taken));
      }
      if (group == root || !group.has_relative_path() || group == group.parent_path()) break;
    }
  }
  return left;
}

}  // namespace

uint64_t PhysicalMemoryBytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t AvailableMemoryBytes() {
  const auto available_kib = ValueOf("/proc/meminfo", "MemAvailable:");
  return std::min(available_kib ? *available_kib << 10 : PhysicalMemoryBytes(), ControlGroupLeft());
}

uint64_t ResidentBytes() {
  return ValueOf("/proc/self/status", "VmRSS:").value_or(0) << 10;
}

}  // namespace engram
