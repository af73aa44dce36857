// SPDX-License-Identifier: Apache-2.0
// Vocabulary: token strings, the bytes they stand for, and their ids. Built once, then read by any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/result.h"

namespace engram {

class Vocabulary {
 public:
  // Bytes are those of the byte alphabet or, for a token with other characters, the token itself.
  // kInvalidArgument when the id belongs to another token; a token's string must be new.
  Status Add(std::string_view token, int32_t id);
  void MarkSpecial(int32_t id);
  // Makes an id's bytes those of another string than its token.
  void SetText(int32_t id, std::string_view text);

  // Empty views for an id without a token; valid as long as the vocabulary.
  std::string_view Token(int32_t id) const;
  std::string_view Bytes(int32_t id) const;
  std::optional<int32_t> Id(std::string_view token) const;
  bool IsSpecial(int32_t id) const;
  // Largest id + 1.
  int32_t size() const { return static_cast<int32_t>(entry_of_id_.size()); }

 private:
  struct Entry {
    std::string token, bytes;
    bool special = false;
  };
  const Entry* Find(int32_t id) const;
  static std::string BytesOf(std::string_view token);

  std::deque<Entry> entries_;         // never move: ids_ has views into them
  std::vector<int32_t> entry_of_id_;  // -1: no token. Ids may have gaps, so entries are apart: 4 bytes a gap
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace engram
