// One environment's view of a broker: its consumers, and what it must be told.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "engine/port.h"
#include "ledger/ledger.h"

namespace millrace::engine {

struct Queue;
class Session;

struct Consumer {
  uint32_t id;
  Queue* queue;
  Session* session;
  bool waiting = false;  // in queue->waiting; guarded by queue->mutex
  // Deliveries of this consumer that reached a handler, counted by its thread: a delivery beyond that which
  // is given back when the consumer dies does not count against the message.
  uint64_t started = 0;
  std::vector<ledger::Delivery> deliveries;  // scratch of receive, owner thread
  std::vector<ledger::Range> ranges;         // scratch of ack, owner thread
};

// Used by its environment's thread, except for the members marked otherwise.
class Session {
 public:
  explicit Session(std::shared_ptr<Port> port) : port_(std::move(port)) {}

  std::unordered_map<uint32_t, std::unique_ptr<Consumer>> consumers;

  // Newest unit staged here (own thread) and newest unit this session was told about (committer).
  std::atomic<uint64_t> staged_through{0};
  std::atomic<uint64_t> told_through{0};
  // A send was refused for lack of room: wake when there may be some.
  std::atomic<bool> wants_room{false};

  // Own thread, so nothing is lost between the two. Called under the stage's lock, or by
  // Sessions::noteStaged(). Sequentially consistent, like the log's committed unit: either the committer sees
  // this, or that call sees that the unit is committed.
  void noteStaged(uint64_t unit) {
    if (unit > staged_through.load(std::memory_order_relaxed)) staged_through.store(unit);
  }

  // Any thread.
  void wake() { port_->wake(); }
  void wakeConsumer(uint32_t consumer) {
    {
      const std::lock_guard lock(mutex_);
      woken_.push_back(consumer);
    }
    port_->wake();
  }
  // Own thread: consumers woken since the last call, at most `max`; the rest wakes again.
  void takeWoken(std::vector<uint32_t>& out, size_t max) {
    out.clear();
    const std::lock_guard lock(mutex_);
    if (woken_.size() <= max) {
      out.swap(woken_);
      return;
    }
    out.assign(woken_.end() - static_cast<ptrdiff_t>(max), woken_.end());
    woken_.resize(woken_.size() - max);
    port_->wake();
  }

 private:
  std::shared_ptr<Port> port_;
  Mutex mutex_{LockRank::kWoken};
  std::vector<uint32_t> woken_;  // guarded by mutex_
};

}  // namespace millrace::engine
