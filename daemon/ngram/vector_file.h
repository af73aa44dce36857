// SPDX-License-Identifier: Apache-2.0
// Reads tests/vectors/ for this room's tests.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "core/file.h"

namespace engram {

inline std::filesystem::path VectorPath(const std::string& name) {
  return std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests" / "vectors" / name;
}

// Null, with a test failure, when the file cannot be read.
inline boost::json::value ReadVector(const std::string& name) {
  Result<std::string> text = ReadFile(VectorPath(name), uint64_t{64} << 20);
  if (!text) {
    ADD_FAILURE() << text.error().message;
    return nullptr;
  }
  return boost::json::parse(*text);
}

template <typename T>
std::vector<T> ReadNumbers(const boost::json::value& array) {
  std::vector<T> numbers;
  for (const boost::json::value& number : array.as_array()) numbers.push_back(number.to_number<T>());
  return numbers;
}

// Numbers above 2^53 are strings in JSON.
inline std::vector<int64_t> ReadNumberStrings(const boost::json::value& array) {
  std::vector<int64_t> numbers;
  for (const boost::json::value& text : array.as_array()) numbers.push_back(std::stoll(std::string(text.as_string())));
  return numbers;
}

}  // namespace engram
