// SPDX-License-Identifier: Apache-2.0
#include "core/allowed_path.h"

#include <algorithm>
#include <string>

namespace engram {
namespace fs = std::filesystem;

bool LiesIn(const fs::path& path, const fs::path& directory) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first == directory.end();
}

Result<fs::path> ResolveAllowed(const fs::path& path, const std::vector<fs::path>& directories, std::string_view what) {
  const std::string name = std::string(what) + " \"" + path.string() + "\"";
  if (path.empty() || path.native().find('\0') != std::string::npos) return InvalidArgument(name + " is not a path");
  std::string listed;
  std::vector<fs::path> roots;  // links resolved
  for (const fs::path& directory : directories) {
    listed += (listed.empty() ? "" : ", ") + directory.string();
    std::error_code error;
    fs::path root = fs::canonical(directory, error);
    if (!error) roots.push_back(std::move(root));  // one that does not exist holds nothing
  }
  if (listed.empty()) listed = "none configured";
  bool outside = false;
  for (const fs::path& root : roots) {
    std::error_code error;
    const fs::path resolved = fs::canonical(root / path, error);  // an absolute path stays as it is
    if (error) continue;
    if (std::any_of(roots.begin(), roots.end(), [&](const fs::path& other) { return LiesIn(resolved, other); }))
      return resolved;
    outside = true;
  }
  if (outside || (path.is_absolute() && roots.empty()))
    return InvalidArgument(name + " is outside the allowed directories (" + listed + ")");
  return NotFound(name + " does not exist; allowed directories: " + listed);
}

}  // namespace engram
