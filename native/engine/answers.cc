#include "engine/answers.h"

#include <mutex>
#include <string>
#include <vector>

#include "base/number.h"

namespace millrace::engine {

Result<uint64_t> Answers::ack(Consumer& consumer, std::span<const double> seqs,
                              std::span<const uint32_t> counts, std::span<uint8_t> lost, bool awaited) {
  Queue& queue = *consumer.queue;
  uint64_t unit = 0;
  std::vector<ledger::Range>& ranges = consumer.ranges;
  ranges.clear();
  {
    const std::lock_guard lock(queue.mutex);
    for (size_t i = 0; i < seqs.size(); ++i) {
      const ledger::Seq seq = wholeNumber(seqs[i]);
      const bool done = queue.ledger.ack(consumer.id, seq, counts[i]).answer == ledger::Answer::kDone;
      lost[i] = done ? 0 : 1;
      if (!done) {
        queue.counters.lease_lost++;
        continue;
      }
      queue.counters.acked++;
      if (!ranges.empty() && ranges.back().first + ranges.back().count == seq) {
        ranges.back().count++;
      } else {
        ranges.push_back({seq, 1});
      }
    }
    // A sender that found the queue full waits for these too, and for those that are staged already (Sender
    // hurries them). And so does the next suspect for this one.
    const bool quiet = !awaited && !queue.room.refusedSender() && !hold_keeper_.holding();
    const log::Purpose purpose = quiet ? log::Purpose::kQuiet : log::Purpose::kSettle;
    if (!settlements_.stage(queue, ranges, purpose, unit)) return context_.whyRefused();
  }
  if (awaited) sessions_.noteStaged(*consumer.session, unit);
  return unit;
}

void Answers::hurry(Session& session, uint64_t unit) {
  if (context_.log == nullptr) return;
  log::Log::Lock(*context_.log).hurry();
  sessions_.noteStaged(session, unit);
}

ledger::Outcome Answers::apply(const Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count,
                               uint64_t ms) {
  ledger::Ledger& ledger = consumer.queue->ledger;
  switch (verb) {
    case Verb::kNack:
      return ledger.nack(consumer.id, seq, count, ms, context_.now());
    case Verb::kReject:
      return ledger.reject(consumer.id, seq, count);
    case Verb::kRelease:
      return ledger.release(consumer.id, seq, count);
    case Verb::kExtend:
      return ledger.extend(consumer.id, seq, count, ms, context_.now());
  }
  return {};
}

bool Answers::giveBack(Queue& queue, const ledger::Returned& returned, uint64_t& unit) {
  queue.counters.returned++;
  if (!settlements_.stageReturns(queue, {&returned, 1}, unit)) return false;
  if (returned.due_ms == 0) {
    waker_.wake(queue, 1);
  } else {
    waker_.schedule(queue);
  }
  return true;
}

Status Answers::answer(Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms,
                       std::string_view reason, uint64_t& unit) {
  Queue& queue = *consumer.queue;
  std::vector<Doomed> doomed;
  {
    const std::lock_guard lock(queue.mutex);
    const ledger::Outcome outcome = apply(consumer, verb, seq, count, ms);
    switch (outcome.answer) {
      case ledger::Answer::kLeaseLost:
        queue.counters.lease_lost++;
        return Status(Code::kLeaseLost, "this delivery is no longer leased to this consumer");
      case ledger::Answer::kDone:
        waker_.schedule(queue);
        break;
      case ledger::Answer::kReturned:
        if (!giveBack(queue, outcome.returned, unit)) return context_.whyRefused();
        break;
      case ledger::Answer::kDead:
        doomed.push_back({outcome.dead, std::string(reason)});
        break;
    }
  }
  if (doomed.empty()) {
    sessions_.noteStaged(*consumer.session, unit);
    return Status();
  }
  mover_.bury(queue, doomed, unit);
  return mover_.burial(*consumer.session, queue.id, seq, unit);
}

}  // namespace millrace::engine
