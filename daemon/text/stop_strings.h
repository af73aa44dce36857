// SPDX-License-Identifier: Apache-2.0
// StopStrings: finds stop strings in generated text, also across token borders, and holds back text that may be the
// start of one. One generation's; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);

  struct Piece {
    std::string text;      // safe to send: holds no part of a stop string
    bool stopped = false;  // a stop string was found; text ends just before it, and nothing may follow
  };
  // Adds decoded text. The occurrence that starts earliest in the text wins, however the text is cut into pieces: a
  // complete stop string inside the possible start of an earlier one waits until that is settled. Empty stop strings
  // are ignored. After `stopped` every further piece is empty and stopped. Time: text plus held text, per stop string.
  Piece Push(std::string_view text);
  // What was held back, when the generation ends for another reason; ends before a stop string that was waiting.
  std::string Finish();

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  // Knuth-Morris-Pratt over one stop string.
  struct Matcher {
    std::string stop;
    std::vector<uint32_t> fallback;  // [stop.size()] longest proper border of stop[0..i]
    size_t matched = 0;              // bytes of `stop` that end the text so far
    bool found = false;              // complete once; a later occurrence could not start earlier
  };

  std::vector<Matcher> matchers_;
  std::string held_;            // shorter than the longest stop string
  size_t held_start_ = 0;       // offset of held_ in all the text
  size_t end_ = 0;              // bytes of text so far
  size_t found_start_ = kNone;  // earliest complete stop string so far
  bool stopped_ = false;
};

}  // namespace engram
