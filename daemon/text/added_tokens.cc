// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include <unicode/uchar.h>

#include "text/unicode_text.h"

namespace engram {
namespace {

size_t NumSpacesAtStart(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!u_isUWhiteSpace(NextCodePoint(text, next))) break;
    at = next;
  }
  return at;
}

size_t StartOfSpacesAtEnd(std::string_view text) {
  size_t at = text.size();
  while (at > 0) {
    size_t previous = at;
    if (!u_isUWhiteSpace(PreviousCodePoint(text, previous))) break;
    at = previous;
  }
  return at;
}

bool StartsWithWord(std::string_view text) {
  size_t at = 0;
  return !text.empty() && IsWordCharacter(NextCodePoint(text, at));
}

bool EndsWithWord(std::string_view text) {
  size_t at = text.size();
  return !text.empty() && IsWordCharacter(PreviousCodePoint(text, at));
}

}  // namespace

void AddedTokens::Add(const AddedToken& token, std::string_view content) {
  uint32_t node = 0;
  for (const char c : content) {
    const uint64_t key = uint64_t{node} << 8 | static_cast<uint8_t>(c);
    if (const uint32_t* next = edges_.Find(key)) {
      node = *next;
    } else {
      node = static_cast<uint32_t>(entry_of_.size());
      entry_of_.push_back(-1);
      edges_.Insert(key, node);
    }
  }
  if (node == 0 || entry_of_[node] >= 0) return;
  entry_of_[node] = static_cast<int32_t>(entries_.size());
  entries_.push_back({token.id, token.single_word, token.lstrip, token.rstrip});
  starts_[static_cast<uint8_t>(content[0])] = true;
}

std::optional<std::pair<size_t, const AddedTokens::Entry*>> AddedTokens::LongestAt(std::string_view text,
                                                                                   size_t at) const {
  std::optional<std::pair<size_t, const Entry*>> longest;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const uint32_t* next = edges_.Find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (next == nullptr) break;
    node = *next;
    if (entry_of_[node] >= 0) longest = {i + 1 - at, &entries_[entry_of_[node]]};
  }
  return longest;
}

std::vector<AddedTokens::Piece> AddedTokens::Cut(std::string_view text) const {
  std::vector<Piece> pieces;
  size_t rest = 0;                    // start of what no piece covers yet
  size_t run_begin = 1, run_end = 0;  // the last run of white space counted; none yet
  for (size_t at = 0; at < text.size() && !entries_.empty();) {
    if (!starts_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const auto longest = LongestAt(text, at);
    if (!longest) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + longest->first;
    const Entry& entry = *longest->second;
    at = end;  // the text of a match is not looked at again, also when the match is dropped
    if (entry.single_word && (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end)))) continue;
    if (entry.lstrip && rest < begin) begin = rest + StartOfSpacesAtEnd(text.substr(rest, begin - rest));
    if (entry.rstrip) {
      // Tokens that are white space themselves would count the same run once each.
      if (end < run_begin || end > run_end) run_begin = end, run_end = end + NumSpacesAtStart(text.substr(end));
      end = run_end;
    }
    if (rest < begin) pieces.push_back({std::nullopt, text.substr(rest, begin - rest)});
    pieces.push_back({entry.id, text.substr(begin, end - begin)});
    rest = end;
  }
  if (rest != text.size()) pieces.push_back({std::nullopt, text.substr(rest)});
  return pieces;
}

}  // namespace engram
