// SPDX-License-Identifier: Apache-2.0
#include "text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace engram {

StopStrings::StopStrings(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    Matcher matcher;
    matcher.fallback.resize(stop.size(), 0);
    for (size_t i = 1, border = 0; i < stop.size(); ++i) {
      while (border > 0 && stop[i] != stop[border]) border = matcher.fallback[border - 1];
      if (stop[i] == stop[border]) ++border;
      matcher.fallback[i] = static_cast<uint32_t>(border);
    }
    matcher.stop = std::move(stop);
    matchers_.push_back(std::move(matcher));
  }
}

StopStrings::Piece StopStrings::Push(std::string_view text) {
  if (stopped_) return {"", true};
  held_ += text;
  size_t open_start = kNone;  // where the earliest stop string that more text could complete starts
  for (Matcher& matcher : matchers_) {
    if (matcher.found) continue;
    for (size_t i = 0; i < text.size(); ++i) {
      while (matcher.matched > 0 && text[i] != matcher.stop[matcher.matched]) {
        matcher.matched = matcher.fallback[matcher.matched - 1];
      }
      if (text[i] == matcher.stop[matcher.matched]) ++matcher.matched;
      if (matcher.matched == matcher.stop.size()) {
        matcher.found = true;
        found_start_ = std::min(found_start_, end_ + i + 1 - matcher.stop.size());
        break;
      }
    }
    if (!matcher.found && matcher.matched > 0) open_start = std::min(open_start, end_ + text.size() - matcher.matched);
  }
  end_ += text.size();

  Piece piece;
  if (found_start_ != kNone && found_start_ <= open_start) {
    piece.text = held_.substr(0, found_start_ - held_start_);
    piece.stopped = stopped_ = true;
    held_.clear();
    return piece;
  }
  const size_t num_safe = std::min(open_start, end_) - held_start_;
  piece.text = held_.substr(0, num_safe);
  held_.erase(0, num_safe);
  held_start_ += num_safe;
  return piece;
}

std::string StopStrings::Finish() {
  if (stopped_) return {};
  if (found_start_ != kNone) held_.resize(found_start_ - held_start_);
  stopped_ = true;
  return std::exchange(held_, {});
}

}  // namespace engram
