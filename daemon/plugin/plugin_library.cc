// SPDX-License-Identifier: Apache-2.0
#include "plugin/plugin_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "core/allowed_path.h"
#include "plugin/elf_check.h"
#include "plugin/function_table.h"
#include "plugin/plugin_host.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 64;

// Sizes of edition 1.0. A table that ends earlier lacks functions no plugin may lack.
constexpr uint32_t kFirstDescriptorBytes = ENGRAM_SIZE_THROUGH(engram_plugin_descriptor, functions);
constexpr uint32_t kFirstBackboneBytes = ENGRAM_SIZE_THROUGH(engram_backbone_functions, row_buffer_free);
constexpr uint32_t kFirstTierBytes = ENGRAM_SIZE_THROUGH(engram_tier_functions, map);

std::string KindName(engram_plugin_kind kind) {
  switch (kind) {
    case ENGRAM_PLUGIN_BACKBONE:
      return "a backbone";
    case ENGRAM_PLUGIN_TIER:
      return "a tier";
    default:
      return "of unknown kind " + std::to_string(kind);
  }
}

std::string Hex(uint32_t value) {
  char text[11];
  std::snprintf(text, sizeof(text), "0x%08x", value);
  return text;
}

// A function that must be there.
struct Required {
  const char* name;
  bool present;
};

Status CheckTable(const void* table, uint32_t first_edition_bytes, const char* type) {
  if (table == nullptr) return InvalidArgument("descriptor has no function table (functions is NULL)");
  uint32_t size = 0;
  std::memcpy(&size, table, sizeof(size));
  if (size < first_edition_bytes)
    return InvalidArgument(std::string(type) + ".struct_size is " + std::to_string(size) + ", expected at least " +
                           std::to_string(first_edition_bytes));
  return {};
}

Status CheckPresent(std::initializer_list<Required> functions, const char* type) {
  for (const Required& function : functions)
    if (!function.present)
      return InvalidArgument(std::string(type) + "." + function.name + " is NULL, but it is required");
  return {};
}

std::string Join(const std::vector<fs::path>& directories) {
  std::string text;
  for (const fs::path& directory : directories) text += (text.empty() ? "" : ", ") + directory.string();
  return text.empty() ? "none configured" : text;
}

}  // namespace

Result<std::shared_ptr<const PluginLibrary>> PluginLibrary::Load(const fs::path& path, engram_plugin_kind kind) {
  // An absolute path keeps the dynamic linker from searching elsewhere for a name without a slash.
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return IoError(path.string() + ": " + error.message());
  ENGRAM_CHECK_OK(CheckSharedObject(absolute));
  void* handle = dlopen(absolute.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    return InvalidArgument("cannot open plugin " + absolute.string() + ": " + PluginText(reason, 1024));
  }
  std::shared_ptr<PluginLibrary> library(new PluginLibrary(handle, absolute));
  if (auto checked = library->Check(kind); !checked)
    return std::move(checked).error().At("plugin " + absolute.string() + " refused");
  return std::shared_ptr<const PluginLibrary>(std::move(library));
}

PluginLibrary::~PluginLibrary() {
  if (!keep_loaded_) dlclose(handle_);
}

Status PluginLibrary::Check(engram_plugin_kind kind) {
  void* symbol = dlsym(handle_, ENGRAM_PLUGIN_ENTRY_SYMBOL);
  if (symbol == nullptr)
    return InvalidArgument(std::string("does not export ") + ENGRAM_PLUGIN_ENTRY_SYMBOL + "(): not an engramd plugin");
  const auto entry = reinterpret_cast<decltype(&engram_plugin_entry)>(symbol);
  const engram_plugin_descriptor* found = entry();
  if (found == nullptr) return InvalidArgument(std::string(ENGRAM_PLUGIN_ENTRY_SYMBOL) + "() returned NULL");

  // In this order: each check vouches for the fields the next one reads.
  if (found->magic != ENGRAM_ABI_MAGIC)
    return InvalidArgument("magic is " + Hex(found->magic) + ", expected " + Hex(ENGRAM_ABI_MAGIC));
  if (found->abi_major != ENGRAM_ABI_MAJOR)
    return InvalidArgument("built for ABI major " + std::to_string(found->abi_major) + ", this host speaks " +
                           std::to_string(ENGRAM_ABI_MAJOR));
  if (found->abi_minor > ENGRAM_ABI_MINOR)
    return InvalidArgument("built for ABI " + std::to_string(found->abi_major) + "." +
                           std::to_string(found->abi_minor) + ", newer than this host's " +
                           std::to_string(ENGRAM_ABI_MAJOR) + "." + std::to_string(ENGRAM_ABI_MINOR));
  if (found->struct_size < kFirstDescriptorBytes)
    return InvalidArgument("descriptor.struct_size is " + std::to_string(found->struct_size) + ", expected at least " +
                           std::to_string(kFirstDescriptorBytes));
  std::memcpy(&descriptor_, found, std::min<size_t>(found->struct_size, sizeof(descriptor_)));
  keep_loaded_ = (descriptor_.flags & ENGRAM_PLUGIN_KEEP_LOADED) != 0;
  if (descriptor_.name == nullptr || descriptor_.name[0] == '\0') return InvalidArgument("descriptor has no name");
  if (strnlen(descriptor_.name, kMaxNameBytes + 1) > kMaxNameBytes)
    return InvalidArgument("descriptor.name is longer than " + std::to_string(kMaxNameBytes) + " bytes");
  if (descriptor_.version == nullptr || descriptor_.version[0] == '\0')
    return InvalidArgument("descriptor has no version");
  if (strnlen(descriptor_.version, kMaxNameBytes + 1) > kMaxNameBytes)
    return InvalidArgument("descriptor.version is longer than " + std::to_string(kMaxNameBytes) + " bytes");
  if (descriptor_.kind != kind)
    return InvalidArgument("plugin is " + KindName(descriptor_.kind) + ", expected " + KindName(kind));
  switch (kind) {
    case ENGRAM_PLUGIN_BACKBONE:
      return CheckBackboneTable(descriptor_.functions);
    case ENGRAM_PLUGIN_TIER:
      return CheckTierTable(descriptor_.functions);
    default:
      return InvalidArgument("this host has no use for a plugin " + KindName(kind));
  }
}

Status PluginLibrary::CheckBackboneTable(const void* table) {
  constexpr char kType[] = "engram_backbone_functions";
  ENGRAM_CHECK_OK(CheckTable(table, kFirstBackboneBytes, kType));
  backbone_ = CopyGrowing<engram_backbone_functions>(table);
  descriptor_.functions = &backbone_;
  ENGRAM_CHECK_OK(CheckPresent({{"open", backbone_.open != nullptr},
                                {"close", backbone_.close != nullptr},
                                {"describe", backbone_.describe != nullptr},
                                {"sequence_new", backbone_.sequence_new != nullptr},
                                {"sequence_free", backbone_.sequence_free != nullptr},
                                {"sequence_truncate", backbone_.sequence_truncate != nullptr},
                                {"sequence_fork", backbone_.sequence_fork != nullptr},
                                {"step", backbone_.step != nullptr},
                                {"stats", backbone_.stats != nullptr}},
                               kType));
  if ((backbone_.row_buffer_new == nullptr) != (backbone_.row_buffer_free == nullptr))
    return InvalidArgument(std::string(kType) + ": row_buffer_new and row_buffer_free come both or neither, but only " +
                           (backbone_.row_buffer_new != nullptr ? "row_buffer_new" : "row_buffer_free") + " is there");
  return {};
}

Status PluginLibrary::CheckTierTable(const void* table) {
  constexpr char kType[] = "engram_tier_functions";
  ENGRAM_CHECK_OK(CheckTable(table, kFirstTierBytes, kType));
  tier_ = CopyGrowing<engram_tier_functions>(table);
  descriptor_.functions = &tier_;
  return CheckPresent({{"open", tier_.open != nullptr},
                       {"close", tier_.close != nullptr},
                       {"describe", tier_.describe != nullptr},
                       {"attach", tier_.attach != nullptr},
                       {"detach", tier_.detach != nullptr},
                       {"read", tier_.read != nullptr},
                       {"stats", tier_.stats != nullptr}},
                      kType);
}

Result<fs::path> FindPlugin(std::string_view name, const std::vector<fs::path>& directories) {
  const auto bad = [&](const std::string& why) {
    return InvalidArgument("plugin \"" + std::string(name) + "\": " + why);
  };
  if (name.empty() || name.find('\0') != std::string_view::npos) return bad("not a name or path");
  std::vector<fs::path> roots;  // links resolved
  std::vector<fs::path> candidates;
  const bool is_path = name.find('/') != std::string_view::npos;
  if (is_path) candidates.emplace_back(name);
  for (const fs::path& directory : directories) {
    std::error_code error;
    fs::path root = fs::canonical(directory, error);
    if (error) continue;  // a directory that does not exist holds no plugin
    if (!is_path) candidates.push_back(root / (std::string(name) + ".so"));
    roots.push_back(std::move(root));
  }
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    const fs::path file = fs::canonical(candidate, error);
    if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) continue;
    if (error) return IoError("plugin \"" + std::string(name) + "\": " + candidate.string() + ": " + error.message());
    if (std::none_of(roots.begin(), roots.end(), [&](const fs::path& root) { return LiesIn(file, root); }))
      return bad(file.string() + " is outside the plugin directories (" + Join(directories) + ")");
    return file;
  }
  return NotFound("plugin \"" + std::string(name) + "\" not found; searched: " + Join(directories));
}

}  // namespace engram
