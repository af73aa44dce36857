// SPDX-License-Identifier: Apache-2.0
// ServedDaemon: engramd with the bundled model, and engramctl asking it.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "process.h"

namespace engram {

class ServedDaemon {
 public:
  // Waits until it listens; `more` goes on its command line. url() is empty when it has ended instead.
  explicit ServedDaemon(const std::vector<std::string>& more = {});

  const std::string& url() const { return url_; }
  Process& process() { return process_; }
  // Runs engramctl with this daemon as its default.
  Outcome Ctl(std::vector<std::string> arguments, std::string input = {}) const;
  // The same with --json, as JSON; fails the test when it fails.
  boost::json::value Json(std::vector<std::string> arguments) const;

  static std::string Engramctl() { return std::string(ENGRAM_TEST_BIN_DIR) + "/engramctl"; }
  static std::string Model() { return std::string(ENGRAM_TEST_SOURCE_DIR) + "/models/lexicon"; }

 private:
  Process process_;
  std::string url_;
};

}  // namespace engram
