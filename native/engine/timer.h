// One thread that calls back for a queue when its earliest deadline has come (a lease that ends, a delay that
// is over, a dead letter to try again); the suspects have id 0, which is no queue's. Idle, it looks
// up once an hour.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "os/thread.h"

namespace millrace::engine {

constexpr uint64_t kNever = UINT64_MAX;
// The id under which the timer calls for the suspects: no queue has it.
constexpr uint32_t kSuspectsTimer = 0;
// At once, so that a deadline from a damaged file does not overflow the wait.
constexpr uint64_t kSleepMsMax = 3'600'000;

class Timer {
 public:
  // `fire(queue id)` runs on the timer's thread with no lock of the timer held; it returns the next deadline
  // (monotonic ms, kNever for none). `clock` tells that time; with one that is not the system's the deadlines
  // are looked at every millisecond.
  Timer(std::function<uint64_t(uint32_t)> fire, std::function<uint64_t()> clock, bool system_clock)
      : fire_(std::move(fire)), clock_(std::move(clock)), sleep_ms_max_(system_clock ? kSleepMsMax : 1) {}
  ~Timer() { stop(); }
  // kLimit when the system has no thread to give.
  Status start();
  // Joins. No callback runs after this returned. Not from the callback.
  void stop();
  // Any thread: fire for `queue` no later than `at_ms`. An earlier deadline that is already set stays.
  void schedule(uint32_t queue, uint64_t at_ms);

 private:
  void run();

  const std::function<uint64_t(uint32_t)> fire_;
  const std::function<uint64_t()> clock_;
  const uint64_t sleep_ms_max_;
  Mutex mutex_{LockRank::kTimer};
  Condition changed_;
  bool stopping_ = false;                              // guarded by mutex_
  std::set<std::pair<uint64_t, uint32_t>> deadlines_;  // guarded by mutex_: (at, queue), one entry a queue
  std::unordered_map<uint32_t, uint64_t> by_queue_;    // guarded by mutex_: the queue's entry in deadlines_
  os::Thread thread_;
};

}  // namespace millrace::engine
