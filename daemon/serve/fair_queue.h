// SPDX-License-Identifier: Apache-2.0
// FairQueue: generations waiting for admission. Clients take turns; one client's requests are served in order. Not
// thread-safe: the engine guards it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "serve/sequence.h"

namespace engram {

class FairQueue {
 public:
  size_t size() const { return size_; }
  void Push(std::unique_ptr<Generation> generation) {
    clients_[generation->request.client].push_back(std::move(generation));
    ++size_;
  }
  // The oldest of the client whose turn it is (clients in the order of their names, round and round); nullptr when
  // empty.
  std::unique_ptr<Generation> Pop();
  // Takes out all that have been cancelled.
  std::vector<std::unique_ptr<Generation>> TakeCancelled();

 private:
  std::map<std::string, std::deque<std::unique_ptr<Generation>>, std::less<>> clients_;  // none empty
  std::string last_client_;
  size_t size_ = 0;
};

}  // namespace engram
