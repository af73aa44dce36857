// SPDX-License-Identifier: Apache-2.0
// Automaton: runs a program over bytes. A state is the set of all places in the grammar where a text may be, each with
// the stack of calls it returns to. States and stacks are made when they are first reached, and shared by all texts of
// the grammar; when they take more memory than allowed, a new Era of them begins and texts move over.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "constrain/program.h"
#include "core/result.h"

namespace engram {

class Automaton {
 public:
  static constexpr size_t kEraBytes = size_t{8} << 20;  // states, stacks and masks before a new era begins
  static constexpr size_t kMaxPlaces = 4096;            // of a state
  static constexpr uint32_t kMaxDepth = 1000;           // of a stack; what would go deeper is not matched
  static constexpr uint64_t kMaxWork = 2'000'000;       // nodes visited per Begin()

  static constexpr uint32_t kCall = UINT32_MAX;
  // A call or repetition that was begun. Equal ones of an era are the same object.
  struct Frame {
    const Frame* parent = nullptr;
    NodeId node = 0;     // where to go on after a call, or the kRepeat node whose body runs
    uint32_t count = 0;  // times the body has been matched; beyond what matters it stays. kCall: of a call
    uint32_t depth = 0;
  };
  struct Place {
    NodeId node = 0;  // kBytes
    const Frame* frame = nullptr;
    bool operator==(const Place&) const = default;
  };
  struct State {
    std::vector<Place> places;   // sorted
    bool can_end = false;        // the text may end here
    std::vector<State*> next;    // [byte classes] nullptr: not known yet
    std::vector<uint64_t> mask;  // constraint.cc's: tokens that may follow; empty: not known yet
    bool mask_empty = false;
  };

  // Places seen in one step. Emptied in no time.
  class PlaceSet {
   public:
    bool Insert(const Place& place);  // false: it was there
    void Clear();                     // gives up more room than most steps need

   private:
    struct Slot {
      uint32_t stamp = 0;
      Place place;
    };
    static size_t Hash(const Place& place);
    void Grow();
    std::vector<Slot> slots_;
    size_t size_ = 0;
    uint32_t stamp_ = 1;
  };

  explicit Automaton(Program program) : program_(std::move(program)) {}

  const Program& program() const { return program_; }

  // All states and frames made in some time. Texts keep the one they are in.
  struct Era {
    std::deque<Frame> frames;
    std::deque<State> states;
    std::unordered_multimap<uint64_t, const Frame*> frame_ids;
    std::unordered_multimap<uint64_t, State*> state_ids;
    State* dead = nullptr;  // nothing matches any more
    size_t bytes = 0;
  };

  // A text's place. Default: at its start, in no era yet.
  struct Position {
    std::shared_ptr<Era> era;
    State* state = nullptr;
  };

  // Before a series of Next() calls: moves `position` into the present era and gives it kMaxWork. kInvalidArgument when
  // that alone is too much.
  Status Begin(Position& position);
  // The state after one more byte of a class; the dead state, which has no places and cannot end, when none.
  State* Next(State* state, uint32_t byte_class) {
    State* next = state->next[byte_class];
    return next != nullptr ? next : Step(state, byte_class);
  }
  bool IsDead(const State* state) const { return state == era_->dead; }
  // After the series. kInvalidArgument when the work since Begin() was too much or a state had too many places: then
  // the states since are not to be used, and what was learnt and the room for it are given up.
  Status Finish();
  // To be called when a state got a mask.
  void CountBytes(size_t bytes) { era_->bytes += bytes; }

 private:
  void StartEra();
  State* Step(State* state, uint32_t byte_class);
  // Follows everything that takes no byte from `work_`; the places reached, sorted, are in `places_`. False when that
  // is too much.
  bool Close();
  const Frame* Push(const Frame* parent, NodeId node, uint32_t count);
  void Return(const Frame* frame);
  State* Intern();
  const Frame* Moved(const Frame* frame, std::unordered_map<const Frame*, const Frame*>& moved);

  Program program_;
  std::shared_ptr<Era> era_;
  uint64_t work_left_ = 0;
  bool too_ambiguous_ = false;

  // Of the step in work.
  std::vector<Place> work_;
  std::vector<Place> places_;
  PlaceSet visited_;
  bool can_end_ = false;
};

}  // namespace engram
