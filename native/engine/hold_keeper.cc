#include "engine/hold_keeper.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "engine/waker.h"

namespace millrace::engine {

// A program from before the rule hands out several suspects at once: where
// two seem to be in their hold, nobody knows which it was, and none is charged.
void HoldKeeper::judge() {
  const std::vector<Queue*> queues = catalogue_.list().queues;
  uint32_t longest_run_ms = 0;
  uint32_t held = 0;
  for (Queue* queue : queues) {
    const std::lock_guard lock(queue->mutex);
    longest_run_ms = std::max(longest_run_ms, queue->ledger.longestRunMs());
    held += queue->ledger.heldSuspects();
  }
  suspects_.setLongestRun(longest_run_ms);
  for (Queue* queue : queues) {
    const std::lock_guard lock(queue->mutex);
    const ledger::Recovered recovered = queue->ledger.finishRecovery(longest_run_ms, held == 1);
    for (const ledger::Dead& one : recovered.killers)
      queue->doomed.push_back({one, "the process died", true});
    for (const ledger::Dead& one : recovered.dying) {
      queue->doomed.push_back({one, "there was no place for it when the process ended", true});
    }
    (void)settlements_.stageReturns(*queue, recovered.marks,
                                    begins_after_);  // a store that failed begins none
    if (queue->ledger.counts().suspects > 0) queues_.push_back(queue);
  }
}

bool HoldKeeper::begin(Queue& queue, Consumer& consumer, size_t bytes, uint64_t& needed_bytes) {
  const std::optional<ledger::Suspected> suspect = queue.ledger.firstSuspect();
  if (!suspect || context_.committedThrough() < begins_after_) return false;
  const ledger::Now begins = context_.now();
  uint64_t next_ms = kNever;
  {
    const std::lock_guard lock(mutex_);
    if (!suspects_.mayBegin(queue.id, begins.monotonic_ms)) return false;
    if (suspect->bytes > bytes) {
      needed_bytes = suspect->bytes;
      return true;
    }
    if (!queue.ledger.takeSuspect(consumer.id, begins, consumer.deliveries)) return false;
    suspects_.begin(queue.id, suspect->seq, consumer.deliveries[0].delivery_count, begins.monotonic_ms);
    holding_.store(true);
    next_ms = suspects_.nextMs(begins.monotonic_ms);
  }
  timer_.schedule(kSuspectsTimer, next_ms);
  return true;
}

void HoldKeeper::cancel(const Queue& queue, ledger::Seq seq) {
  const uint64_t now_ms = context_.now().monotonic_ms;
  uint64_t next_ms = kNever;
  {
    const std::lock_guard lock(mutex_);
    suspects_.cancel(queue.id, seq);
    suspects_.pause(now_ms);
    holding_.store(suspects_.holds());
    next_ms = suspects_.nextMs(now_ms);
  }
  timer_.schedule(kSuspectsTimer, next_ms);
}

// The log has to say that nobody had it, or a death would charge it. That record ends the hold; what was in
// the way may be in the way of the next one.
void HoldKeeper::takeBack(Queue& queue, Consumer& consumer, const ledger::Delivery& suspect, bool damaged) {
  {
    const std::lock_guard lock(mutex_);
    suspects_.pause(context_.now().monotonic_ms);
  }
  std::optional<ledger::Returned> told;
  if (damaged) {
    told = queue.ledger.markSuspect(suspect.seq, suspect.delivery_count, 0);
    queue.ledger.setAside(consumer.id, suspect.seq, suspect.delivery_count);
  } else {
    const ledger::Outcome outcome = queue.ledger.release(consumer.id, suspect.seq, suspect.delivery_count);
    if (outcome.answer == ledger::Answer::kReturned) told = outcome.returned;
  }
  uint64_t unit = 0;
  if (told.has_value())
    (void)settlements_.stageReturns(queue, {&*told, 1}, unit);  // in a store that failed no hold ends
}

void HoldKeeper::noteCommitted(uint32_t queue_id, const log::RecordReader& record) {
  {
    const std::lock_guard lock(mutex_);
    bool ended = false;
    if (record.kind() == log::Kind::kSettle) {
      const log::SettleRecord settled = record.settle();
      ended = suspects_.settled(queue_id, settled.first, settled.count);
    } else if (record.kind() == log::Kind::kReturn) {
      const log::ReturnRecord returned = record.returned();
      ended = suspects_.returned(queue_id, returned.seq, returned.deliveries, context_.now().monotonic_ms);
    }
    if (!ended) return;
    holding_.store(false);
  }
  timer_.schedule(kSuspectsTimer, 0);
}

uint64_t HoldKeeper::tend() {
  if (queues_.empty()) return kNever;
  constexpr uint64_t kCommitLookMs = 1;
  if (context_.committedThrough() < begins_after_) {
    return context_.hasFailed() ? kNever : context_.now().monotonic_ms + kCommitLookMs;
  }
  for (;;) {
    std::optional<ledger::Suspects::Due> due;
    {
      const std::lock_guard lock(mutex_);
      due = suspects_.popDue(context_.now().monotonic_ms);
    }
    if (!due) break;
    mark(*due);
  }
  offer();
  const uint64_t now_ms = context_.now().monotonic_ms;
  const std::lock_guard lock(mutex_);
  return suspects_.nextMs(now_ms);
}

void HoldKeeper::mark(const ledger::Suspects::Due& due) {
  Queue& queue = *catalogue_.at(due.queue);
  const std::lock_guard lock(queue.mutex);
  const std::optional<ledger::Returned> told =
      queue.ledger.markSuspect(due.seq, due.delivery_count, due.ran_ms);
  uint64_t unit = 0;
  if (told.has_value()) {
    (void)settlements_.stageReturns(queue, {&*told, 1}, unit);  // in a store that failed no hold ends
    return;
  }
  const std::lock_guard suspects_lock(mutex_);
  suspects_.forget(due);
}

// The place is free: it goes to the suspect with the fewest failures among those that somebody waits for.
void HoldKeeper::offer() {
  const uint64_t now_ms = context_.now().monotonic_ms;
  {
    const std::lock_guard lock(mutex_);
    if (!suspects_.isFree(now_ms)) return;
  }
  Queue* best = nullptr;
  uint32_t fewest = UINT32_MAX;
  for (Queue* queue : queues_) {
    const std::lock_guard lock(queue->mutex);
    const std::optional<ledger::Suspected> first = queue->ledger.firstSuspect();
    if (!first || queue->paused || queue->waiting.empty()) continue;
    if (best != nullptr && first->failures >= fewest) continue;
    best = queue;
    fewest = first->failures;
  }
  if (best == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    if (!suspects_.isFree(now_ms)) return;
    suspects_.offer(best->id, now_ms);
  }
  const std::lock_guard lock(best->mutex);
  Waker::wakeOne(*best);
}

}  // namespace millrace::engine
