// SPDX-License-Identifier: Apache-2.0
#include "serve/fair_queue.h"

namespace engram {

std::unique_ptr<Generation> FairQueue::Pop() {
  if (clients_.empty()) return nullptr;
  auto turn = clients_.upper_bound(last_client_);
  if (turn == clients_.end()) turn = clients_.begin();
  std::unique_ptr<Generation> generation = std::move(turn->second.front());
  turn->second.pop_front();
  --size_;
  last_client_ = turn->first;
  if (turn->second.empty()) clients_.erase(turn);
  return generation;
}

std::vector<std::unique_ptr<Generation>> FairQueue::TakeCancelled() {
  std::vector<std::unique_ptr<Generation>> cancelled;
  for (auto client = clients_.begin(); client != clients_.end();) {
    std::deque<std::unique_ptr<Generation>> kept;
    for (std::unique_ptr<Generation>& generation : client->second) {
      if (generation->cancelled) {
        cancelled.push_back(std::move(generation));
      } else {
        kept.push_back(std::move(generation));
      }
    }
    client->second = std::move(kept);
    client = client->second.empty() ? clients_.erase(client) : std::next(client);
  }
  size_ -= cancelled.size();
  return cancelled;
}

}  // namespace engram
