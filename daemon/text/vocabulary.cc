// SPDX-License-Identifier: Apache-2.0
#include "text/vocabulary.h"

#include "core/json_text.h"
#include "text/byte_level.h"

namespace engram {

Status Vocabulary::Add(std::string_view token, int32_t id) {
  if (const Entry* other = Find(id)) {
    return InvalidArgument("token id " + std::to_string(id) + " is given to " + JsonQuote(other->token.substr(0, 80)) +
                           " and to " + JsonQuote(token.substr(0, 80)));
  }
  if (static_cast<size_t>(id) >= entry_of_id_.size()) entry_of_id_.resize(static_cast<size_t>(id) + 1, -1);
  entry_of_id_[static_cast<size_t>(id)] = static_cast<int32_t>(entries_.size());
  entries_.push_back({std::string(token), BytesOf(token), false});
  ids_.emplace(entries_.back().token, id);
  return {};
}

const Vocabulary::Entry* Vocabulary::Find(int32_t id) const {
  if (id < 0 || id >= size() || entry_of_id_[static_cast<size_t>(id)] < 0) return nullptr;
  return &entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])];
}

void Vocabulary::MarkSpecial(int32_t id) {
  entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])].special = true;
}

void Vocabulary::SetText(int32_t id, std::string_view text) {
  entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])].bytes = BytesOf(text);
}

std::string Vocabulary::BytesOf(std::string_view token) {
  std::optional<std::string> bytes = BytesOfByteLevel(token);
  return bytes ? std::move(*bytes) : std::string(token);
}

std::string_view Vocabulary::Token(int32_t id) const {
  const Entry* entry = Find(id);
  return entry == nullptr ? std::string_view() : entry->token;
}

std::string_view Vocabulary::Bytes(int32_t id) const {
  const Entry* entry = Find(id);
  return entry == nullptr ? std::string_view() : entry->bytes;
}

std::optional<int32_t> Vocabulary::Id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

bool Vocabulary::IsSpecial(int32_t id) const {
  const Entry* entry = Find(id);
  return entry != nullptr && entry->special;
}

}  // namespace engram
