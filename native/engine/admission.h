// A queue's room: how many messages it has admitted and not yet let go, against its capacity.
//
// Threads: raised under the stage's lock (a durable queue) or the queue's mutex (a memory queue), so the
// limit is exact; everything else anywhere.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/session.h"

namespace millrace::engine {

class Admission {
 public:
  explicit Admission(uint64_t capacity) : capacity_(capacity) {}

  // Is there room for `messages` more? Counts nothing yet. On refusal the next one that leaves is made to
  // tell.
  bool admits(Session& session, uint64_t messages) {
    if (admitted_.load() + messages <= capacity()) return true;
    session.wants_room.store(true);
    refused_sender_.store(true);
    return admitted_.load() + messages <= capacity_.load();  // A1
  }
  void add() { admitted_.fetch_add(1); }
  // What recovery found.
  void restore(uint64_t messages) { admitted_.store(messages); }
  // True: a sender was refused, and nobody has told it since that there is room.
  [[nodiscard]] bool remove(uint64_t messages) {
    admitted_.fetch_sub(messages);
    // A1 Pairs with the store before the second look in admits(): either that look sees the lowered count or
    // this one sees the refusal.
    return refused_sender_.exchange(false);
  }
  // True: as remove().
  [[nodiscard]] bool setCapacity(uint64_t capacity) {
    capacity_.store(capacity);
    return refused_sender_.exchange(false);  // A1
  }

  uint64_t capacity() const { return capacity_.load(std::memory_order_relaxed); }
  bool isFull() const { return admitted_.load() >= capacity_.load(); }
  bool refusedSender() const { return refused_sender_.load(); }

 private:
  std::atomic<uint64_t> admitted_{0};
  std::atomic<uint64_t> capacity_;
  std::atomic<bool> refused_sender_{false};
};

}  // namespace millrace::engine
