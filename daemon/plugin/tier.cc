// SPDX-License-Identifier: Apache-2.0
#include "plugin/tier.h"

#include "plugin/plugin_host.h"

namespace engram {
namespace {

constexpr size_t kMaxTextBytes = 256;

}  // namespace

Tier::Tier(std::shared_ptr<const PluginLibrary> library)
    : library_(std::move(library)),
      functions_(static_cast<const engram_tier_functions*>(library_->descriptor().functions)),
      host_(std::make_unique<PluginHost>(std::string(library_->name()), nullptr)) {}

Result<std::shared_ptr<Tier>> Tier::Open(std::shared_ptr<const PluginLibrary> library, const PluginOptions& options) {
  if (library->descriptor().kind != ENGRAM_PLUGIN_TIER)
    return InvalidArgument("plugin " + library->path().string() + " is not a tier");
  std::shared_ptr<Tier> tier(new Tier(std::move(library)));
  const std::vector<engram_option> abi_options = ToAbi(options);
  PluginMessage message;
  engram_tier* instance = nullptr;
  const engram_status status = tier->functions_->open(
      tier->host_->abi(), abi_options.data(), static_cast<uint32_t>(abi_options.size()), &instance, message.out());
  if (status != ENGRAM_OK) return message.ToError(tier->name(), "open", status);
  if (instance == nullptr)
    return Internal(std::string(tier->name()) + ": open: reported success but returned no instance");
  tier->instance_ = instance;
  if (auto described = tier->Describe(); !described) return std::move(described).error().At(tier->name());
  return tier;
}

Tier::~Tier() {
  if (instance_ != nullptr) functions_->close(instance_);
}

Status Tier::Describe() {
  engram_tier_info info{};
  info.struct_size = sizeof(info);
  if (const engram_status status = functions_->describe(instance_, &info); status != ENGRAM_OK)
    return Error{ErrorCodeFromStatus(status), "describe: gave status " + std::to_string(status), {}};
  const bool cache = (info.flags & ENGRAM_TIER_CACHE) != 0;
  const bool store = (info.flags & ENGRAM_TIER_STORE) != 0;
  if (cache == store)
    return Internal(std::string("describe: flags say the tier is ") + (cache ? "both" : "neither") +
                    " a cache and a store, expected one of them");
  if ((info.flags & ENGRAM_TIER_WRITABLE) != 0 && functions_->write == nullptr)
    return Internal("describe: flags say the tier is writable, but it has no write()");
  if (cache && functions_->invalidate == nullptr)
    return Internal("describe: flags say the tier is a cache, but it has no invalidate()");
  if (info.medium == nullptr) return Internal("describe: medium is NULL");
  info_ = {info.flags, info.capacity_bytes, PluginText(info.medium, kMaxTextBytes)};
  return {};
}

Result<std::unique_ptr<TierTable>> TierTable::Attach(std::shared_ptr<Tier> tier, const engram_table_desc& desc) {
  std::unique_ptr<TierTable> table(new TierTable(std::move(tier)));
  const Tier& owner = *table->tier_;
  engram_table_desc sized = desc;
  sized.struct_size = sizeof(sized);
  PluginMessage message;
  engram_tier_table* attached = nullptr;
  const engram_status status = owner.functions_->attach(owner.instance_, &sized, &attached, message.out());
  if (status != ENGRAM_OK) return message.ToError(owner.name(), "attach", status);
  if (attached == nullptr)
    return Internal(std::string(owner.name()) + ": attach: reported success but returned no table");
  table->table_ = attached;
  if (owner.functions_->map != nullptr) table->map_ = owner.functions_->map(attached);
  return table;
}

TierTable::~TierTable() {
  if (table_ != nullptr) tier_->functions_->detach(table_);
}

Status TierTable::Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) const {
  PluginMessage message;
  const engram_status status = tier_->functions_->read(table_, ids, num_ids, dst, dst_stride, found, message.out());
  return message.ToResult(tier_->name(), "read", status);
}

Status TierTable::Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) const {
  if (tier_->functions_->write == nullptr) return Unsupported(std::string(tier_->name()) + " has no write()");
  PluginMessage message;
  const engram_status status = tier_->functions_->write(table_, ids, num_ids, src, src_stride, message.out());
  return message.ToResult(tier_->name(), "write", status);
}

Status TierTable::Invalidate(const uint64_t* ids, uint32_t num_ids) const {
  if (tier_->functions_->invalidate == nullptr) return Unsupported(std::string(tier_->name()) + " has no invalidate()");
  PluginMessage message;
  const engram_status status = tier_->functions_->invalidate(table_, ids, num_ids, message.out());
  return message.ToResult(tier_->name(), "invalidate", status);
}

Result<engram_tier_stats> TierTable::Stats() const {
  engram_tier_stats stats{};
  stats.struct_size = sizeof(stats);
  if (const engram_status status = tier_->functions_->stats(table_, &stats); status != ENGRAM_OK)
    return Error{
        ErrorCodeFromStatus(status), std::string(tier_->name()) + ": stats: gave status " + std::to_string(status), {}};
  return stats;
}

bool TierTable::lists_hot_rows() const {
  return tier_->functions_->hot_rows != nullptr;
}

Result<std::vector<uint64_t>> TierTable::HotRows(uint64_t capacity) const {
  if (!lists_hot_rows()) return Unsupported(std::string(tier_->name()) + " has no hot_rows()");
  std::vector<uint64_t> ids(capacity);
  PluginMessage message;
  uint64_t num_ids = 0;
  const engram_status status = tier_->functions_->hot_rows(table_, ids.data(), capacity, &num_ids, message.out());
  if (status != ENGRAM_OK) return message.ToError(tier_->name(), "hot_rows", status);
  if (num_ids > capacity)
    return Internal(std::string(tier_->name()) + ": hot_rows: wrote " + std::to_string(num_ids) + " ids, " +
                    std::to_string(capacity) + " were asked for");
  ids.resize(num_ids);
  return ids;
}

}  // namespace engram
