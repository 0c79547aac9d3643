// What happens by itself when its time has come: leases that end, delays that are over, letters to try again.
#include <algorithm>

#include "engine/broker.h"

namespace millrace::engine {

void Broker::scheduleLocked(Queue& queue) {
  // Delays are wall time and the timer is monotonic: a long delay is looked at again now and then, so that a
  // jump of the wall clock is noticed.
  constexpr uint64_t kWallRecheckMs = 10'000;
  constexpr uint64_t kSecondWakeMs = 5;
  uint64_t at_ms = queue.ledger.nextLeaseEndMonotonicMs();
  const uint64_t due_wall_ms = queue.ledger.nextDueWallMs();
  if (due_wall_ms != kNever || !queue.doomed.empty()) {
    const auto [now_ms, wall_ms] = now();
    if (due_wall_ms != kNever) {
      const uint64_t wait_ms = due_wall_ms > wall_ms ? due_wall_ms - wall_ms : 0;
      at_ms = std::min(at_ms, now_ms + std::min(wait_ms, kWallRecheckMs));
    }
    if (!queue.doomed.empty()) at_ms = std::min(at_ms, now_ms + queue.doomed_retry_ms);
  }
  // Whoever was woken may be busy in a handler while another waits: that one is woken a little later.
  if (!queue.paused && !queue.waiting.empty() && queue.ledger.counts().ready > 0) {
    at_ms = std::min(at_ms, now().monotonic_ms + kSecondWakeMs);
  }
  // One of them may be waited for, and none was on offer when this queue had nobody waiting.
  if (queue.ledger.counts().suspects > 0 && !queue.waiting.empty()) timer_.schedule(kSuspectsTimer, 0);
  if (at_ms >= queue.scheduled_ms) return;
  queue.scheduled_ms = at_ms;
  timer_.schedule(queue.id, at_ms);
}

uint64_t Broker::onTimer(uint32_t queue_id) {
  Queue& queue = *queueAt(queue_id);
  std::vector<ledger::Returned> returned;
  std::vector<ledger::Dead> dead;
  std::vector<Doomed> doomed;
  uint64_t unit = 0;
  {
    const std::lock_guard lock(queue.mutex);
    queue.scheduled_ms = kNever;
    queue.ledger.tick(now(), returned, dead);
    queue.counters.returned += returned.size();
    (void)stageReturnsLocked(queue, returned, unit);  // a store that failed keeps the older counts
    doomed.swap(queue.doomed);
    wakeLocked(queue, queue.ledger.counts().ready);
  }
  for (const ledger::Dead& one : dead) doomed.push_back({one, "visibility timeout"});
  bury(queue, doomed, unit);
  const std::lock_guard lock(queue.mutex);
  scheduleLocked(queue);
  return kNever;  // scheduleLocked told the timer
}

}  // namespace millrace::engine
