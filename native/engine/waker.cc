#include "engine/waker.h"

#include <algorithm>

namespace millrace::engine {

void Waker::wake(Queue& queue, uint64_t messages) {
  if (queue.paused) return;
  for (; messages > 0 && !queue.waiting.empty(); messages--) wakeOne(queue);
  schedule(queue);
}

void Waker::wakeOne(Queue& queue) {
  if (queue.waiting.empty()) return;
  Consumer* consumer = queue.waiting.front();
  queue.waiting.pop_front();
  consumer->waiting = false;
  consumer->session->wakeConsumer(consumer->id);
}

void Waker::wait(Queue& queue, Consumer& consumer) {
  if (consumer.waiting) return;
  consumer.waiting = true;
  queue.waiting.push_back(&consumer);
}

void Waker::endWait(Queue& queue, Consumer& consumer) {
  if (consumer.waiting) std::erase(queue.waiting, &consumer);
  consumer.waiting = false;
}

void Waker::schedule(Queue& queue) {
  // Delays are wall time and the timer is monotonic: a long delay is looked at again now and then, so that a
  // jump of the wall clock is noticed.
  constexpr uint64_t kWallRecheckMs = 10'000;
  constexpr uint64_t kSecondWakeMs = 5;
  uint64_t at_ms = queue.ledger.nextLeaseEndMonotonicMs();
  const uint64_t due_wall_ms = queue.ledger.nextDueWallMs();
  if (due_wall_ms != kNever || !queue.doomed.empty()) {
    const auto [now_ms, wall_ms] = context_.now();
    if (due_wall_ms != kNever) {
      const uint64_t wait_ms = due_wall_ms > wall_ms ? due_wall_ms - wall_ms : 0;
      at_ms = std::min(at_ms, now_ms + std::min(wait_ms, kWallRecheckMs));
    }
    if (!queue.doomed.empty()) at_ms = std::min(at_ms, now_ms + queue.doomed_retry_ms);
  }
  // Whoever was woken may be busy in a handler while another waits: that one is woken a little later.
  if (!queue.paused && !queue.waiting.empty() && queue.ledger.counts().ready > 0) {
    at_ms = std::min(at_ms, context_.now().monotonic_ms + kSecondWakeMs);
  }
  // One of them may be waited for, and none was on offer when this queue had nobody waiting.
  if (queue.ledger.counts().suspects > 0 && !queue.waiting.empty()) timer_.schedule(kSuspectsTimer, 0);
  if (at_ms >= queue.scheduled_ms) return;
  queue.scheduled_ms = at_ms;
  timer_.schedule(queue.id, at_ms);
}

}  // namespace millrace::engine
