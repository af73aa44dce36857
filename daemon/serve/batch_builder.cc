// SPDX-License-Identifier: Apache-2.0
#include "serve/batch_builder.h"

#include <algorithm>

namespace engram {

void Batch::Clear() {
  slices.clear();
  owners.clear();
  tokens.clear();
  wants_logits.clear();
  rows.clear();
  num_logits = 0;
  wants_gates = false;
  wants_lens = false;
}

void BatchBuilder::AddSlice(Generation& generation, uint32_t choice, uint32_t position, std::span<const int32_t> tokens,
                            const uint64_t* row_ids, std::span<const GuardedMatch> guarded, uint32_t guarded_from,
                            Batch& batch, TokenRows* asked) const {
  const uint32_t first = static_cast<uint32_t>(batch.tokens.size());
  const uint32_t count = static_cast<uint32_t>(tokens.size());
  // A plain model has no memory to switch off.
  const bool off = ids_per_token_ != 0 && !generation.uses_memory;
  batch.slices.push_back(
      {generation.choices[choice].sequence, first, count, position, off ? uint32_t{ENGRAM_SLICE_MEMORY_OFF} : 0u});
  batch.owners.push_back({&generation, choice, false, first, count, batch.num_logits, 0});
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  batch.wants_logits.resize(batch.tokens.size(), 0);
  if (generation.uses_memory)
    batch.rows.push_back({first, count, row_ids, &generation.view, guarded, guarded_from, asked});
  batch.wants_gates |= generation.traces_gates;
}

void BatchBuilder::AddDecode(Generation& generation, uint32_t index, Batch& batch) const {
  const Choice& choice = generation.choices[index];
  AddSlice(generation, index, choice.num_processed, {&choice.next_token, 1}, choice.row_ids.data(), choice.guarded, 0,
           batch, choice.asked.get());
  batch.wants_logits.back() = 1;
  batch.owners.back().num_logits = 1;
  ++batch.num_logits;
}

bool BatchBuilder::AddReplay(Generation& generation, uint32_t index, uint32_t budget, Batch& batch) {
  const std::vector<int32_t>& prompt = generation.request.prompt;
  const Choice& choice = generation.choices[index];
  const auto begin = choice.num_processed;
  const auto end = static_cast<uint32_t>(prompt.size() + choice.tokens.size() - 1);
  const uint32_t count = std::min({end - begin, limits_.prefill_chunk, budget});
  if (count == 0) return false;
  history_.clear();
  for (uint32_t i = begin; i < begin + count; ++i)
    history_.push_back(i < prompt.size() ? prompt[i] : choice.tokens[i - prompt.size()]);
  AddSlice(generation, index, begin, history_, nullptr, {}, 0, batch);
  batch.owners.back().replay = true;
  return true;
}

bool BatchBuilder::AddPrefill(Generation& generation, uint32_t budget, uint32_t& logits_budget, Batch& batch) const {
  const GenerationRequest& request = generation.request;
  const uint32_t begin = generation.num_prefilled;
  uint32_t count = std::min({static_cast<uint32_t>(request.prompt.size()) - begin, limits_.prefill_chunk, budget});
  if (request.prompt_logprobs) count = std::min(count, logits_budget);
  const bool looks = generation.looks_closely();
  if (request.inspect) count = std::min(count, looks ? limits_.inspect_chunk : request.inspect->from - begin);
  if (count == 0) return false;
  const auto by_token = [](const GuardedMatch& match, uint32_t token) { return match.token < token; };
  const auto& matches = generation.prompt_guarded;
  const auto first_match = std::lower_bound(matches.begin(), matches.end(), begin, by_token);
  const auto last_match = std::lower_bound(first_match, matches.end(), begin + count, by_token);
  // There are none without memory.
  const uint64_t* row_ids =
      generation.uses_memory ? generation.prompt_row_ids.data() + size_t{begin} * ids_per_token_ : nullptr;
  AddSlice(generation, 0, begin, {request.prompt.data() + begin, count}, row_ids, {first_match, last_match}, begin,
           batch);
  SliceOwner& owner = batch.owners.back();
  owner.prefill = true;
  uint8_t* wants = batch.wants_logits.data() + owner.first_token;
  const bool last = begin + count == request.prompt.size();
  if (looks) {
    batch.wants_lens = true;
    owner.num_logits = count;
    std::fill_n(wants, count, uint8_t{1});
  } else if (request.prompt_logprobs) {
    // The last prompt token predicts no prompt token.
    owner.num_logits = last ? count - 1 : count;
    std::fill_n(wants, owner.num_logits, uint8_t{1});
    logits_budget -= owner.num_logits;
  }
  if (last && request.max_tokens > 0) {
    wants[count - 1] = 1;
    ++owner.num_logits;
  }
  batch.num_logits += owner.num_logits;
  return true;
}

void BatchBuilder::Build(std::span<const std::unique_ptr<Generation>> running, Batch& batch) {
  batch.Clear();
  prefilling_.clear();
  Generation* inspected = nullptr;
  replaying_.clear();
  for (const std::unique_ptr<Generation>& generation : running) {
    if (generation->finished) continue;
    if (!generation->prefilled()) {
      if (!generation->looks_closely()) {
        prefilling_.push_back(generation.get());
      } else if (inspected == nullptr) {
        inspected = generation.get();
      }
      continue;
    }
    for (uint32_t i = 0; i < generation->choices.size(); ++i)
      if (generation->choices[i].done) {
        continue;
      } else if (generation->replays(generation->choices[i])) {
        replaying_.emplace_back(generation.get(), i);
      } else {
        AddDecode(*generation, i, batch);
      }
  }
  for (const auto& [generation, index] : replaying_)
    if (!AddReplay(*generation, index, limits_.max_tokens - static_cast<uint32_t>(batch.tokens.size()), batch)) break;
  uint32_t logits_budget = kMaxPromptLogitsPerStep;
  const bool others = !batch.tokens.empty() || !prefilling_.empty();
  if (inspected != nullptr && !(others && inspected_last_)) {
    batch.Clear();
    AddPrefill(*inspected, limits_.max_tokens, logits_budget, batch);
    inspected_last_ = true;
    return;
  }
  inspected_last_ = false;
  while (!prefilling_.empty() && batch.tokens.size() < limits_.max_tokens) {
    // The first prompt of the next client by name after the last one served, round and round.
    Generation* after = nullptr;
    Generation* first = nullptr;
    for (Generation* g : prefilling_) {
      const std::string& client = g->request.client;
      if (first == nullptr || client < first->request.client) first = g;
      if (client > last_client_ && (after == nullptr || client < after->request.client)) after = g;
    }
    Generation* turn = after != nullptr ? after : first;
    const uint32_t budget = limits_.max_tokens - static_cast<uint32_t>(batch.tokens.size());
    if (AddPrefill(*turn, budget, logits_budget, batch)) last_client_ = turn->request.client;
    std::erase(prefilling_, turn);
  }
}

}  // namespace engram
