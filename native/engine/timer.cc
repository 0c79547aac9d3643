#include "engine/timer.h"

#include <algorithm>
#include <chrono>
#include <mutex>

namespace millrace::engine {

Status Timer::start() {
  return thread_.start([this] { run(); });
}

void Timer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notifyOne();
  thread_.join();
}

void Timer::schedule(uint32_t queue, uint64_t at_ms) {
  if (at_ms == kNever) return;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_queue_.find(queue);
    if (found != by_queue_.end()) {
      if (found->second <= at_ms) return;
      deadlines_.erase({found->second, queue});
      found->second = at_ms;
    } else {
      by_queue_.emplace(queue, at_ms);
    }
    deadlines_.emplace(at_ms, queue);
    first = deadlines_.begin()->second == queue;
  }
  if (first) changed_.notifyOne();
}

void Timer::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const uint64_t at_ms = deadlines_.empty() ? kNever : deadlines_.begin()->first;
    const uint64_t now_ms = clock_();
    if (at_ms > now_ms) {
      changed_.waitFor(lock, std::chrono::milliseconds(std::min(at_ms - now_ms, sleep_ms_max_)));
      continue;
    }
    const uint32_t queue = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    by_queue_.erase(queue);
    lock.unlock();
    const uint64_t next_ms = fire_(queue);
    schedule(queue, next_ms);
    lock.lock();
  }
}

}  // namespace millrace::engine
