// SPDX-License-Identifier: Apache-2.0
#include "engramd/locations.h"

namespace engram {
namespace fs = std::filesystem;
namespace {

// PREFIX of PREFIX/bin/engramd; empty when the system does not say where the executable is.
fs::path Prefix() {
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path() : executable.parent_path().parent_path();
}

}  // namespace

std::vector<fs::path> DefaultPluginDirectories() {
  std::vector<fs::path> directories;
  const fs::path installed = "/usr/lib/engram/plugins";
  if (const fs::path prefix = Prefix(); !prefix.empty()) directories.push_back(prefix / "lib/engram/plugins");
  if (directories.empty() || directories.front() != installed) directories.push_back(installed);
  return directories;
}

Result<fs::path> BundledModel() {
  std::vector<fs::path> candidates;
  if (const fs::path prefix = Prefix(); !prefix.empty()) candidates.push_back(prefix / "share/engramd/models/default");
  candidates.push_back("/usr/share/engramd/models/default");
  candidates.push_back(ENGRAMD_SOURCE_MODEL);
  std::string searched;
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    const fs::path resolved = fs::canonical(candidate, error);
    if (!error) return resolved;
    searched += (searched.empty() ? "" : ", ") + candidate.string();
  }
  return NotFound("no model: give one with --model DIR; no bundled one in " + searched, "model.path");
}

fs::path DefaultDashboard() {
  std::vector<fs::path> candidates;
  if (const fs::path prefix = Prefix(); !prefix.empty()) candidates.push_back(prefix / "share/engramd/ui");
  candidates.push_back("/usr/share/engramd/ui");
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    if (fs::is_regular_file(candidate / "index.html", error)) return candidate;
  }
  return {};
}

}  // namespace engram
