// SPDX-License-Identifier: Apache-2.0
#include "memory/reclaimer.h"

#include <pthread.h>

#include <string>
#include <system_error>

namespace engram {

Result<std::shared_ptr<Reclaimer>> Reclaimer::Create() {
  std::shared_ptr<Reclaimer> reclaimer(new Reclaimer());
  try {
    reclaimer->thread_ = std::thread(&Reclaimer::Work, reclaimer.get());
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("cannot start the thread that frees memory versions: ") + error.what());
  }
  pthread_setname_np(reclaimer->thread_.native_handle(), "memory-gc");
  return reclaimer;
}

Reclaimer::~Reclaimer() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(queue_->mutex);
    queue_->closed = true;
  }
  queue_->wake.notify_one();
  thread_.join();
}

void Reclaimer::Queue::Hand(Item* item) {
  {
    std::lock_guard lock(mutex);
    if (!closed) {
      item->next = first;
      first = item;
      item = nullptr;
    }
  }
  if (item == nullptr) {
    wake.notify_one();
  } else {
    delete item;
  }
}

void Reclaimer::Work() {
  std::unique_lock lock(queue_->mutex);
  for (;;) {
    queue_->wake.wait(lock, [this] { return queue_->first != nullptr || queue_->closed; });
    Item* item = std::exchange(queue_->first, nullptr);
    if (item == nullptr) return;
    lock.unlock();
    while (item != nullptr) delete std::exchange(item, item->next);
    lock.lock();
  }
}

}  // namespace engram
