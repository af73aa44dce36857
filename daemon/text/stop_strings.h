// SPDX-License-Identifier: Apache-2.0
// StopStrings: finds stop strings in generated text, also across token borders, and holds back text that may be the
// start of one. One generation's; one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace engram {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  struct Piece {
    std::string text;      // safe to send: holds no part of a stop string
    bool stopped = false;  // a stop string was found; text ends just before it, and nothing may follow
  };
  // Adds decoded text. The earliest occurrence in the text wins; empty stop strings are ignored.
  Piece Push(std::string_view text);
  // What was held back, when the generation ends for another reason.
  std::string Finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;  // shorter than the longest stop string
};

}  // namespace engram
