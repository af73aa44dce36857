// SPDX-License-Identifier: Apache-2.0
// A tokenizer.json, and what it makes of texts.
#include "text/tokenizer.h"

#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"

namespace engram {
namespace {

constexpr std::string_view kTexts[] = {
    "",
    "The capital of Mongolia is",
    "  two  spaces\tand\n\nlines\r\n 12345 it's WE'LL",
    "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80 \xe6\x9d\xb1\xe4\xba\xac e\xcc\x81 \xef\xbc\xa1",
    "<|endoftext|> <s>a</s>",
};

}  // namespace

ENGRAM_FUZZ_TARGET(tokenizer, bytes) {
  static const ScratchFile file("tokenizer.json");
  file.Write(bytes);
  const auto tokenizer = Tokenizer::Load(file.path());
  if (!tokenizer) {
    FUZZ_CHECK(!tokenizer.error().message.empty());
    return;
  }
  for (const std::string_view text : kTexts) {
    for (const bool special : {false, true}) {
      const auto ids = (*tokenizer)->Encode(text, special);
      if (!ids) continue;
      StreamDecoder stream(**tokenizer, special);
      std::string pieces;
      for (const int32_t id : *ids) {
        FUZZ_CHECK(id >= 0 && id < (*tokenizer)->vocab_size());
        pieces += stream.Push(id);
      }
      pieces += stream.Finish();
      FUZZ_CHECK(pieces == (*tokenizer)->Decode(*ids, special));
    }
  }
}

}  // namespace engram
