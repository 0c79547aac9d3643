#include "engine/timer.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace millrace::engine {

// A deadline from a damaged file must not overflow the wait.
constexpr uint64_t kSleepMsMax = 3'600'000;

Status Timer::start() {
  return thread_.start([this] { run(); });
}

void Timer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
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
  if (first) changed_.notify_one();
}

void Timer::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (deadlines_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto [at_ms, queue] = *deadlines_.begin();
    const uint64_t now_ms = monotonicMs();
    if (at_ms > now_ms) {
      changed_.wait_for(lock, std::chrono::milliseconds(std::min(at_ms - now_ms, kSleepMsMax)));
      continue;
    }
    deadlines_.erase(deadlines_.begin());
    by_queue_.erase(queue);
    lock.unlock();
    const uint64_t next_ms = fire_(queue);
    schedule(queue, next_ms);
    lock.lock();
  }
}

}  // namespace millrace::engine
