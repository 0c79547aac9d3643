#include "engine/deadlines.h"

#include <mutex>
#include <vector>

namespace millrace::engine {

// In slices: however much is due at once, others get the queue in between. What comes due meanwhile has its
// turn when the timer calls again, as the other queues have.
uint64_t Deadlines::fire(uint32_t queue_id) {
  Queue& queue = *catalogue_.at(queue_id);
  const ledger::Now now = context_.now();
  std::vector<ledger::Dead> dead;
  std::vector<Doomed> doomed;
  {
    std::unique_lock lock(queue.mutex);
    queue.scheduled_ms = kNever;
    // Before anything is scheduled: what is tried now is not also waited for.
    doomed.swap(queue.doomed);
    while (endDue(queue, now, dead)) giveWay(lock);
    waker_.wakeForReady(queue);
  }
  for (const ledger::Dead& one : dead) doomed.push_back({one, "visibility timeout"});
  uint64_t unit = 0;
  mover_.bury(queue, doomed, unit);
  const std::lock_guard lock(queue.mutex);
  waker_.schedule(queue);
  return kNever;
}

bool Deadlines::endDue(Queue& queue, const ledger::Now& now, std::vector<ledger::Dead>& dead) {
  std::vector<ledger::Returned> returned;
  const bool more = queue.ledger.tick(now, returned, dead, kDueSliceMessages);
  queue.counters.returned += returned.size();
  uint64_t unit = 0;
  (void)settlements_.stageReturns(queue, returned, unit);  // a store that failed keeps the older counts
  if (more) waker_.wakeForReady(queue);
  return more;
}

void Deadlines::begin(Queue& queue) {
  std::vector<Doomed> doomed;
  {
    const std::lock_guard lock(queue.mutex);
    doomed.swap(queue.doomed);
    waker_.schedule(queue);
  }
  uint64_t unit = 0;
  mover_.bury(queue, doomed, unit);
}

}  // namespace millrace::engine
