// SPDX-License-Identifier: Apache-2.0
#include "constrain/automaton.h"

#include <algorithm>
#include <functional>
#include <string>

namespace engram {
namespace {

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15u;
  return x ^ (x >> 29);
}

uint64_t Bits(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

uint64_t HashPlaces(const std::vector<Automaton::Place>& places, bool can_end) {
  uint64_t hash = can_end ? 1 : 0;
  for (const Automaton::Place& place : places) hash = Mix(hash + Mix(Bits(place.frame)) + place.node);
  return hash;
}

// What is counted of an object beyond its own size: its part of the tables that find it.
constexpr size_t kTableBytes = 48;

constexpr size_t kKeptSlots = 1u << 14;

}  // namespace

size_t Automaton::PlaceSet::Hash(const Place& place) {
  return static_cast<size_t>(Mix(Mix(Bits(place.frame)) + place.node));
}

bool Automaton::PlaceSet::Insert(const Place& place) {
  if (2 * (size_ + 1) > slots_.size()) Grow();
  const size_t mask = slots_.size() - 1;
  size_t at = Hash(place) & mask;
  for (; slots_[at].stamp == stamp_; at = (at + 1) & mask)
    if (slots_[at].place == place) return false;
  slots_[at] = {stamp_, place};
  ++size_;
  return true;
}

void Automaton::PlaceSet::Grow() {
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(std::max<size_t>(64, 2 * slots_.size())));
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.stamp != stamp_) continue;
    size_t at = Hash(slot.place) & mask;
    while (slots_[at].stamp == stamp_) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

void Automaton::PlaceSet::Clear() {
  size_ = 0;
  if (slots_.size() > kKeptSlots) slots_ = {};
  if (++stamp_ != 0) return;
  std::fill(slots_.begin(), slots_.end(), Slot{});
  stamp_ = 1;
}

void Automaton::StartEra() {
  era_ = std::make_shared<Era>();
  places_.clear();
  can_end_ = false;
  era_->dead = Intern();
}

Status Automaton::Begin(Position& position) {
  work_left_ = kMaxWork;
  too_ambiguous_ = false;
  if (era_ == nullptr || era_->bytes > kEraBytes) StartEra();
  if (position.era == era_) return {};
  if (position.era == nullptr) {
    work_.assign(1, {program_.start(), nullptr});
    if (!Close()) return Finish();
  } else {
    std::unordered_map<const Frame*, const Frame*> moved;
    places_.clear();
    for (const Place& place : position.state->places) places_.push_back({place.node, Moved(place.frame, moved)});
    std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) {
      return a.node != b.node ? a.node < b.node : std::less<>()(a.frame, b.frame);
    });
    can_end_ = position.state->can_end;
  }
  position.state = Intern();
  position.era = era_;
  return {};
}

Status Automaton::Finish() {
  if (!too_ambiguous_) return {};
  era_.reset();
  places_ = {};
  work_ = {};
  visited_ = {};
  return InvalidArgument(
      "the grammar is too ambiguous: after this text it may go on in too many ways to follow them all", "grammar");
}

Automaton::State* Automaton::Step(State* state, uint32_t byte_class) {
  if (too_ambiguous_) return era_->dead;
  work_.clear();
  for (const Place& place : state->places) {
    const Node& node = program_.node(place.node);
    if (program_.Takes(node, byte_class)) work_.push_back({node.next, place.frame});
  }
  work_left_ -= std::min<uint64_t>(work_left_, 1 + state->places.size() / 8);
  if (!Close()) return era_->dead;
  return state->next[byte_class] = Intern();
}

bool Automaton::Close() {
  places_.clear();
  visited_.Clear();
  can_end_ = false;
  while (!work_.empty()) {
    const Place place = work_.back();
    work_.pop_back();
    if (!visited_.Insert(place)) continue;
    if (work_left_ == 0 || places_.size() >= kMaxPlaces || era_->bytes > 4 * kEraBytes) {
      work_.clear();
      too_ambiguous_ = true;
      return false;
    }
    --work_left_;
    const Node& node = program_.node(place.node);
    switch (node.kind) {
      case Node::Kind::kBytes:
        places_.push_back(place);
        break;
      case Node::Kind::kSplit:
        for (uint32_t i = 0; i < node.next; ++i) work_.push_back({program_.target(node.arg + i), place.frame});
        break;
      case Node::Kind::kCall:
        // What comes after is only the end of the rule: go back there at once, so that right recursion has no depth.
        if (program_.node(node.next).kind == Node::Kind::kReturn) {
          work_.push_back({node.arg, place.frame});
        } else if (const Frame* frame = Push(place.frame, node.next, kCall)) {
          work_.push_back({node.arg, frame});
        }
        break;
      case Node::Kind::kRepeat: {
        const Repetition& repetition = program_.repetition(node.arg);
        if (repetition.min == 0) work_.push_back({node.next, place.frame});
        if (repetition.max == 0) break;
        if (const Frame* frame = Push(place.frame, place.node, 0)) work_.push_back({repetition.body, frame});
        break;
      }
      case Node::Kind::kReturn:
        Return(place.frame);
        break;
    }
  }
  std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) {
    return a.node != b.node ? a.node < b.node : std::less<>()(a.frame, b.frame);
  });
  return true;
}

void Automaton::Return(const Frame* frame) {
  if (frame == nullptr) {
    can_end_ = true;
    return;
  }
  // What follows a call may be a repetition, too: the node does not tell.
  if (frame->count == kCall) {
    work_.push_back({frame->node, frame->parent});
    return;
  }
  const Node& node = program_.node(frame->node);
  const Repetition& repetition = program_.repetition(node.arg);
  const bool unbounded = repetition.max == Expr::kUnbounded;
  // Once there are enough, only an upper bound still counts.
  const uint32_t count = unbounded ? std::min(frame->count + 1, repetition.min) : frame->count + 1;
  if (count >= repetition.min) work_.push_back({node.next, frame->parent});
  if (!unbounded && count >= repetition.max) return;
  if (const Frame* again = Push(frame->parent, frame->node, count)) work_.push_back({repetition.body, again});
}

const Automaton::Frame* Automaton::Push(const Frame* parent, NodeId node, uint32_t count) {
  const uint32_t depth = parent == nullptr ? 1 : parent->depth + 1;
  if (depth > kMaxDepth) return nullptr;
  const uint64_t hash = Mix(Mix(Bits(parent)) + (uint64_t{node} << 32 | count));
  const auto [begin, end] = era_->frame_ids.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (it->second->parent == parent && it->second->node == node && it->second->count == count) return it->second;
  const Frame* frame = &era_->frames.emplace_back(Frame{parent, node, count, depth});
  era_->frame_ids.emplace(hash, frame);
  era_->bytes += sizeof(Frame) + kTableBytes;
  return frame;
}

Automaton::State* Automaton::Intern() {
  const uint64_t hash = HashPlaces(places_, can_end_);
  const auto [begin, end] = era_->state_ids.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (it->second->can_end == can_end_ && it->second->places == places_) return it->second;
  State& state = era_->states.emplace_back();
  state.places = places_;
  state.can_end = can_end_;
  state.next.resize(program_.num_classes());
  era_->state_ids.emplace(hash, &state);
  era_->bytes += sizeof(State) + kTableBytes + places_.size() * sizeof(Place) + state.next.size() * sizeof(State*);
  return &state;
}

const Automaton::Frame* Automaton::Moved(const Frame* frame, std::unordered_map<const Frame*, const Frame*>& moved) {
  std::vector<const Frame*> chain;
  for (; frame != nullptr && !moved.contains(frame); frame = frame->parent) chain.push_back(frame);
  const Frame* at = frame == nullptr ? nullptr : moved[frame];
  for (; !chain.empty(); chain.pop_back()) {
    at = Push(at, chain.back()->node, chain.back()->count);
    moved[chain.back()] = at;
  }
  return at;
}

}  // namespace engram
