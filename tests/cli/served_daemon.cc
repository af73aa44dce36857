// SPDX-License-Identifier: Apache-2.0
#include "served_daemon.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace engram {
namespace {

std::vector<std::string> CommandLine(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {std::string(ENGRAM_TEST_BIN_DIR) + "/engramd", "--listen", "127.0.0.1:0",
                                        "--model", ServedDaemon::Model()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

ServedDaemon::ServedDaemon(const std::vector<std::string>& more) : process_(CommandLine(more)) {
  const std::string marker = "listening on http://127.0.0.1:";
  if (!process_.WaitForError(marker)) return;
  url_ = "http://127.0.0.1:" +
         std::to_string(std::atoi(process_.err().c_str() + process_.err().find(marker) + marker.size()));
}

Outcome ServedDaemon::Ctl(std::vector<std::string> arguments, std::string input) const {
  arguments.insert(arguments.begin(), Engramctl());
  return RunProgram(std::move(arguments), {{"ENGRAM_URL", url_}}, std::move(input));
}

boost::json::value ServedDaemon::Json(std::vector<std::string> arguments) const {
  arguments.push_back("--json");
  const Outcome outcome = Ctl(std::move(arguments));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return outcome.status == 0 ? boost::json::parse(outcome.out) : boost::json::value();
}

}  // namespace engram
