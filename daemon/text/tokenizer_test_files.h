// SPDX-License-Identifier: Apache-2.0
// Test data on disk and tokenizer.json files made by tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "core/file.h"
#include "text/tokenizer.h"

namespace engram {

inline std::filesystem::path SourcePath(const std::string& path) {
  return std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / path;
}
inline std::filesystem::path VectorsPath(const std::string& name) {
  return SourcePath("tests/vectors/" + name);
}

inline boost::json::value ReadJson(const std::filesystem::path& path) {
  const auto text = ReadFile(path, 64 << 20);
  EXPECT_TRUE(text) << text.error().message;
  return boost::json::parse(text ? *text : "null");
}

// Loads a tokenizer.json of this text, through a file of this process's own.
inline Result<std::shared_ptr<const Tokenizer>> LoadText(const std::string& text) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("tokenizer_" + std::to_string(getpid()) + ".json");
  std::ofstream(path, std::ios::binary) << text;
  auto tokenizer = Tokenizer::Load(path);
  std::filesystem::remove(path);
  return tokenizer;
}

}  // namespace engram
