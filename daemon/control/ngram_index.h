// SPDX-License-Identifier: Apache-2.0
// NgramIndex: a sample of the distinct n-grams of a text, by which one sees what else reads a row. Immutable; any
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "control/commit.h"
#include "core/result.h"
#include "memory/model_memory.h"
#include "text/tokenizer.h"

namespace engram {

class NgramIndex {
 public:
  static constexpr size_t kMaxNgrams = 200'000;

  // Reads the file line by line; n-grams do not cross lines, and lines longer than 64 KiB are cut. Keeps at most
  // `max_ngrams` n-grams: those with the smallest hashes, so that every distinct n-gram has the same chance, however
  // often it occurs. Memory is bounded by them. `progress` is called with the bytes read and the file's size; its error
  // ends the work.
  static Result<std::shared_ptr<const NgramIndex>> Build(const std::filesystem::path& text_file,
                                                         const Tokenizer& tokenizer,
                                                         std::shared_ptr<const ModelMemory> memory, size_t max_ngrams,
                                                         const std::function<Status(uint64_t, uint64_t)>& progress);

  uint64_t tokens() const { return tokens_; }
  uint64_t size() const { return ngrams_.size(); }
  double sample() const { return sample_; }  // the part of the distinct n-grams that is held
  bool is_for(const ModelMemory& memory) const { return memory_.get() == &memory; }

  // N-grams that read one of the edited rows, most frequent first, without those that `except` (compressed) holds.
  // `total` is set to how many there are; at most `limit` are returned.
  std::vector<PlanReport::SharedNgram> Reading(std::span<const std::unordered_set<uint64_t>> rows_by_layer_index,
                                               const std::vector<std::vector<int32_t>>& except, size_t limit,
                                               uint64_t& total) const;

 private:
  struct Ngram {
    std::vector<int32_t> tokens;  // as first seen
    uint64_t count = 0;
  };
  NgramIndex() = default;
  std::vector<Ngram> ngrams_;
  std::shared_ptr<const ModelMemory> memory_;
  uint64_t tokens_ = 0;
  double sample_ = 0;
};

}  // namespace engram
