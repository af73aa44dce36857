// SPDX-License-Identifier: Apache-2.0
// AddedTokens: finds tokens written in a text whole, leftmost first and longest first, and cuts the text at them, as
// the Hugging Face library's AddedVocabulary does. Built once, then read by any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/flat_map.h"

namespace engram {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   // looked for in the normalised text, else in the raw one
  bool single_word = false;  // only between characters that are not of words
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
};

class AddedTokens {
 public:
  // Contents are bounded so that matching stays linear with a small factor.
  static constexpr size_t kMaxContentBytes = 1024;

  // `content` to look for (not empty, at most kMaxContentBytes). Of equal ones the first stays.
  void Add(const AddedToken& token, std::string_view content);

  struct Piece {
    std::optional<int32_t> id;  // nothing: text without an added token
    std::string_view text;
  };
  // The parts of `text` (valid UTF-8) in order. After rstrip a part may overlap the one before, as in the original.
  std::vector<Piece> Cut(std::string_view text) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    int32_t id;
    bool single_word, lstrip, rstrip;
  };
  // Length and entry of the longest token that starts at text[at].
  std::optional<std::pair<size_t, const Entry*>> LongestAt(std::string_view text, size_t at) const;

  std::vector<Entry> entries_;
  FlatMap<uint32_t> edges_;            // (node, byte) -> node; node 0 is the root
  std::vector<int32_t> entry_of_{-1};  // per node: the entry that ends there, or -1
  std::array<bool, 256> starts_{};     // bytes that a token starts with
};

}  // namespace engram
