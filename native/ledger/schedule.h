// When each delayed message is due, in wall time, because a delay must mean the same after a restart. O(log
// n) a message at worst, O(1) while delays are constant; nothing is polled.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "ledger/ledger.h"
#include "ledger/timer_queue.h"

namespace millrace::ledger {

class Schedule {
 public:
  void add(Seq seq, uint64_t due_ms) {
    due_[seq] = {due_ms, ++generation_};
    timers_.push({due_ms, seq, generation_}, due_.size(),
                 [this](const Timer& timer) { return isLive(timer); });
  }
  void remove(Seq seq) {
    due_.erase(seq);
    if (due_.empty()) timers_.clear();
  }
  // 0 when the message is not delayed.
  uint64_t dueOf(Seq seq) const {
    const auto found = due_.find(seq);
    return found == due_.end() ? 0 : found->second.at_ms;
  }
  // The earliest message that is due by now, 0 when there is none. It stays until it is removed.
  Seq popDue(uint64_t now_ms) {
    Timer timer{};
    return timers_.popDue(now_ms, timer, [this](const Timer& t) { return isLive(t); }) ? timer.key : 0;
  }
  uint64_t nextDue() {
    return timers_.next([this](const Timer& timer) { return isLive(timer); });
  }

 private:
  struct Due {
    uint64_t at_ms;
    uint64_t generation;
  };
  bool isLive(const Timer& timer) const {
    const auto found = due_.find(timer.key);
    return found != due_.end() && found->second.generation == timer.generation;
  }

  TimerQueue timers_;
  std::unordered_map<Seq, Due> due_;
  uint64_t generation_ = 0;
};

}  // namespace millrace::ledger
