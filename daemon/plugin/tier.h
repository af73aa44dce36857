// SPDX-License-Identifier: Apache-2.0
// Tier and TierTable: C++ view of an opened tier plugin and of a table attached to it. Threads as in engram/tier.h:
// Read(), Write(), Invalidate(), Stats() and HotRows() from any threads at once.
#pragma once

#include <engram/tier.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "plugin/plugin_host.h"
#include "plugin/plugin_library.h"

namespace engram {

struct TierInfo {
  uint32_t flags = 0;  // ENGRAM_TIER_...
  uint64_t capacity_bytes = 0;
  std::string medium;
};

class Tier {
 public:
  static Result<std::shared_ptr<Tier>> Open(std::shared_ptr<const PluginLibrary> library, const PluginOptions& options);
  ~Tier();
  Tier(const Tier&) = delete;
  Tier& operator=(const Tier&) = delete;
  const TierInfo& info() const { return info_; }
  const PluginLibrary& library() const { return *library_; }

 private:
  friend class TierTable;
  explicit Tier(std::shared_ptr<const PluginLibrary> library);
  Status Describe();
  std::string_view name() const { return library_->name(); }
  std::shared_ptr<const PluginLibrary> library_;  // outlives instance_
  const engram_tier_functions* functions_;
  std::unique_ptr<PluginHost> host_;  // outlives instance_
  engram_tier* instance_ = nullptr;
  TierInfo info_;
};

class TierTable {
 public:
  // `desc.source.context` must stay valid until this is destroyed. Blocks while a store fills.
  static Result<std::unique_ptr<TierTable>> Attach(std::shared_ptr<Tier> tier, const engram_table_desc& desc);
  ~TierTable();
  TierTable(const TierTable&) = delete;
  TierTable& operator=(const TierTable&) = delete;

  const Tier& tier() const { return *tier_; }
  // As engram_tier_functions.read.
  Status Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) const;
  // As engram_tier_functions.write and .invalidate; kUnsupported where the plugin has none.
  Status Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) const;
  Status Invalidate(const uint64_t* ids, uint32_t num_ids) const;
  Result<engram_tier_stats> Stats() const;
  // As engram_tier_functions.hot_rows: at most `capacity` ids. kUnsupported where the plugin has none.
  Result<std::vector<uint64_t>> HotRows(uint64_t capacity) const;
  bool lists_hot_rows() const;
  // Row 0 of a dense array, or nullptr.
  const uint8_t* map() const { return map_; }

 private:
  explicit TierTable(std::shared_ptr<Tier> tier) : tier_(std::move(tier)) {}
  std::shared_ptr<Tier> tier_;
  engram_tier_table* table_ = nullptr;
  const uint8_t* map_ = nullptr;
};

}  // namespace engram
