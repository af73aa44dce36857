// SPDX-License-Identifier: Apache-2.0
// StaticFiles: the dashboard's files, read into memory once. What is served are the names found at that time, so no
// request reaches the file system.
//
// Threads: Load() blocks; afterwards immutable and free for any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "core/result.h"
#include "http/message.h"

namespace engram {

class StaticFiles {
 public:
  StaticFiles() = default;  // no files
  // All regular files below `root`; links count as what they lead to, as long as that is below `root` too. kNotFound
  // when there is no index.html; kResourceExhausted for more than 4096 files or 64 MiB.
  static Result<StaticFiles> Load(const std::filesystem::path& root);

  bool empty() const { return files_.empty(); }
  // The answer for `name`, relative to the root ("" is index.html). A name without a file whose last part has no dot is
  // a place within the dashboard, and gets index.html; others 404. Honours If-None-Match.
  Response Get(std::string_view name, const Request& request) const;

 private:
  struct File {
    std::string body;
    std::string content_type;
    std::string etag;
    bool immutable = false;  // its name has a hash of its content
  };
  std::map<std::string, File, std::less<>> files_;
};

}  // namespace engram
