// SPDX-License-Identifier: Apache-2.0
// A store that fails on demand, for tests of the whole daemon. Its rows are the table's own or computed; what goes
// wrong is said by options and, while it runs, by a file of the same KEY=VALUE lines: when that file is replaced, the
// faults of the options and of the file before are off and reads are counted from 1 again. Keys:
//   rows           source (the table's) or synthetic (engram/synthetic_rows.h), with the same result for every read
//   seed           of synthetic rows
//   may_block      true or false: what describe() says
//   control        path of the file; it need not be there
//   delay_us       every read takes this much longer
//   error_at       the read of this number fails with ENGRAM_DATA_LOSS
//   error_every    so does every read whose number it divides
//   unavailable    reads 1 to this one fail with ENGRAM_UNAVAILABLE
//   torn_at        the first row of the read of this number ends in another row's second half; nobody is told
//   flip_at        one bit of the first row of that read is inverted; nobody is told
//   stall_from     reads from this one on wait until the file is replaced
#include <engram/plugin_error.h>
#include <engram/synthetic_rows.h>
#include <engram/tier.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

using engram::sdk::Fence;
using engram::sdk::PluginError;

namespace {

struct Faults {
  uint64_t delay_us = 0;
  uint64_t error_at = 0;
  uint64_t error_every = 0;
  uint64_t unavailable = 0;
  uint64_t torn_at = 0;
  uint64_t flip_at = 0;
  uint64_t stall_from = 0;
};

uint64_t* FaultNamed(Faults& faults, const std::string& key) {
  if (key == "delay_us") return &faults.delay_us;
  if (key == "error_at") return &faults.error_at;
  if (key == "error_every") return &faults.error_every;
  if (key == "unavailable") return &faults.unavailable;
  if (key == "torn_at") return &faults.torn_at;
  if (key == "flip_at") return &faults.flip_at;
  if (key == "stall_from") return &faults.stall_from;
  return nullptr;
}

// Tells one state of a file from another; a renamed file is another inode.
struct FileState {
  uint64_t inode = 0;
  int64_t changed_ns = 0;
  bool operator==(const FileState&) const = default;
};

FileState StateOf(const std::string& path) {
  struct stat found = {};
  if (path.empty() || ::stat(path.c_str(), &found) != 0) return {};
  return {found.st_ino, found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec};
}

}  // namespace

struct engram_tier {
  bool synthetic = false;
  bool may_block = true;
  uint64_t seed = 0;
  std::string control;

  std::mutex mutex;
  Faults faults;       // guarded by mutex
  FileState seen;      // guarded by mutex: the file `faults` are of
  uint64_t reads = 0;  // guarded by mutex: since the file was replaced

  // What the next read meets, and its number.
  Faults Begin(uint64_t& number) {
    const std::lock_guard lock(mutex);
    if (const FileState now = StateOf(control); !(now == seen)) {
      faults = {};
      std::ifstream file(control);
      for (std::string line; std::getline(file, line);) {
        const size_t equals = line.find('=');
        uint64_t* fault = equals == std::string::npos ? nullptr : FaultNamed(faults, line.substr(0, equals));
        if (fault == nullptr) throw PluginError(ENGRAM_INVALID_ARGUMENT, control + ": no fault: " + line);
        *fault = std::stoull(line.substr(equals + 1));
      }
      seen = now;
      reads = 0;
    }
    number = ++reads;
    return faults;
  }

  void WaitForAnotherFile() {
    FileState before;
    {
      const std::lock_guard lock(mutex);
      before = seen;
    }
    while (StateOf(control) == before) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
};

struct engram_tier_table {
  engram_tier* tier;
  engram_row_source source;
  uint64_t num_rows;
  uint32_t row_bytes;
  engram_row_format row_format;
  uint32_t head_dim;
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> rows{0};
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint32_t> stalled{0};  // reads that wait for another file

  void ReadRow(uint64_t id, uint8_t* dst, engram_message* message) const {
    if (tier->synthetic) {
      engram::sdk::SyntheticRow(tier->seed, id, row_format, head_dim, dst);
      return;
    }
    const engram_status status = source.read(source.context, id, 1, dst, message);
    if (status != ENGRAM_OK) throw PluginError(status, message->text);
  }
};

namespace {

uint32_t HeadDim(engram_row_format format, uint32_t row_bytes) {
  for (uint32_t dim = 1; dim <= row_bytes; ++dim)
    if (engram::sdk::PackedRowBytes(format, dim) == row_bytes) return dim;
  throw PluginError(ENGRAM_INVALID_ARGUMENT, "no row has " + std::to_string(row_bytes) + " bytes in this format");
}

engram_status Open(const engram_host*, const engram_option* options, uint32_t num_options, engram_tier** out,
                   engram_message* message) {
  return Fence(message, [&] {
    auto tier = std::make_unique<engram_tier>();
    for (uint32_t i = 0; i < num_options; ++i) {
      const std::string key = options[i].key;
      const std::string value = options[i].value;
      if (key == "rows") {
        tier->synthetic = value == "synthetic";
      } else if (key == "seed") {
        tier->seed = std::stoull(value);
      } else if (key == "may_block") {
        tier->may_block = value == "true";
      } else if (key == "control") {
        tier->control = value;
      } else if (uint64_t* fault = FaultNamed(tier->faults, key)) {
        *fault = std::stoull(value);
      } else {
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "unknown option \"" + key + "\"");
      }
    }
    *out = tier.release();
  });
}

void Close(engram_tier* tier) {
  delete tier;
}

engram_status Describe(engram_tier* tier, engram_tier_info* info) {
  info->flags = ENGRAM_TIER_STORE | ENGRAM_TIER_PERSISTENT | (tier->may_block ? uint32_t{ENGRAM_TIER_MAY_BLOCK} : 0u);
  info->medium = tier->synthetic ? "computed" : "source";
  return ENGRAM_OK;
}

engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                     engram_message* message) {
  return Fence(message, [&] {
    const uint32_t head_dim = tier->synthetic ? HeadDim(desc->row_format, desc->row_bytes) : 0;
    *out = new engram_tier_table{tier, desc->source, desc->num_rows, desc->row_bytes, desc->row_format, head_dim};
  });
}

void Detach(engram_tier_table* table) {
  delete table;
}

engram_status Read(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                   uint8_t* found, engram_message* message) {
  table->reads.fetch_add(1);
  table->rows.fetch_add(num_ids);
  const engram_status status = Fence(message, [&] {
    uint64_t number = 0;
    const Faults faults = table->tier->Begin(number);
    if (faults.stall_from != 0 && number >= faults.stall_from) {
      table->stalled.fetch_add(1);
      table->tier->WaitForAnotherFile();
      table->stalled.fetch_sub(1);
    }
    if (faults.delay_us != 0) std::this_thread::sleep_for(std::chrono::microseconds(faults.delay_us));
    if (number == faults.error_at || (faults.error_every != 0 && number % faults.error_every == 0))
      throw PluginError(ENGRAM_DATA_LOSS, "row " + std::to_string(ids[0]) + ": fault on demand");
    if (number <= faults.unavailable) throw PluginError(ENGRAM_UNAVAILABLE, "out of reach on demand");
    for (uint32_t i = 0; i < num_ids; ++i) table->ReadRow(ids[i], dst + i * dst_stride, message);
    if (num_ids > 0 && number == faults.torn_at) {
      const std::unique_ptr<uint8_t[]> other(new uint8_t[table->row_bytes]);
      table->ReadRow((ids[0] + table->num_rows / 2) % table->num_rows, other.get(), message);
      const uint32_t half = table->row_bytes / 2;
      std::memcpy(dst + half, other.get() + half, table->row_bytes - half);
    }
    if (num_ids > 0 && number == faults.flip_at) dst[table->row_bytes / 2] ^= 0x10;
    std::memset(found, 1, num_ids);
    table->hits.fetch_add(num_ids);
  });
  if (status != ENGRAM_OK) table->errors.fetch_add(1);
  return status;
}

engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  stats->reads = table->reads.load();
  stats->rows = table->rows.load();
  stats->hits = table->hits.load();
  stats->errors = table->errors.load();
  stats->queue_depth = table->stalled.load();
  stats->bytes_read = stats->hits * table->row_bytes;
  return ENGRAM_OK;
}

constexpr engram_tier_functions kFunctions = {
    sizeof(engram_tier_functions), 0, Open, Close, Describe, Attach, Detach, Read, nullptr, nullptr, Stats, nullptr,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_TIER,
    0,
    0,
    "fault_tier",
    "1.0.0",
    nullptr,
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
