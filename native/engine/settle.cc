// What consumers say of their deliveries, and what that leaves in the log.
#include "base/number.h"
#include "engine/broker.h"

namespace millrace::engine {

// One record a range; the log never refuses settlements for lack of room, only when it failed or is closed.
// Then the messages stay SETTLING here and are redelivered after the next open.
bool Broker::stageSettleLocked(Queue& queue, std::span<const ledger::Range> ranges, log::Purpose purpose,
                               uint64_t& unit) {
  if (ranges.empty()) return true;
  if (queue.memory) {
    for (const ledger::Range& range : ranges) forgetLocked(queue, range.first, range.count);
    return true;
  }
  log::Log::Lock stage(*log_);
  for (const ledger::Range& range : ranges) {
    std::byte* at = nullptr;
    if (stage.reserve(log::SettleRecord::kRecordBytes, purpose, at, unit) != log::StageOutcome::kStaged) {
      return false;
    }
    log::SettleRecord{queue.id, range.count, range.first}.encode(at);
  }
  return true;
}

bool Broker::stageReturnsLocked(Queue& queue, std::span<const ledger::Returned> returned, uint64_t& unit) {
  if (queue.memory || returned.empty()) return true;
  log::Log::Lock stage(*log_);
  for (const ledger::Returned& one : returned) {
    std::byte* at = nullptr;
    if (stage.reserve(log::ReturnRecord::kRecordBytes, log::Purpose::kSettle, at, unit) !=
        log::StageOutcome::kStaged) {
      return false;
    }
    log::ReturnRecord{queue.id, one.deliveries, one.seq, one.uncounted, one.due_ms, one.first_delivery_ms}
        .encode(at);
  }
  return true;
}

// Why the log took nothing.
Status Broker::whyRefused() const {
  if (log_ != nullptr && log_->failed()) return Status(Code::kStoreFailed, "the store refuses writes");
  return Status(Code::kClosed, "the broker is closed");
}

void Broker::forgetLocked(Queue& queue, ledger::Seq first, uint64_t count) {
  uint64_t gone = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const std::optional<ledger::Stored> stored = queue.ledger.forget(first + i);
    if (!stored.has_value()) continue;
    queue.store.unpin(stored->ref, stored->bytes);
    gone++;
  }
  if (gone == 0) return;
  queue.admitted.fetch_sub(gone);
  tellRoom(queue);
}

Result<uint64_t> Broker::ack(Consumer& consumer, std::span<const double> seqs,
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
    // A sender that found the queue full waits for these too, and for those that are staged already: see
    // send().
    // And so does the next suspect for this one.
    const bool quiet = !awaited && !queue.refused_sender.load() && !holding_.load();
    const log::Purpose purpose = quiet ? log::Purpose::kQuiet : log::Purpose::kSettle;
    if (!stageSettleLocked(queue, ranges, purpose, unit)) return whyRefused();
  }
  if (awaited) noteStagedLate(*consumer.session, unit);
  return unit;
}

void Broker::hurry(Session& session, uint64_t unit) {
  if (log_ == nullptr) return;
  log::Log::Lock(*log_).hurry();
  noteStagedLate(session, unit);
}

Status Broker::answer(Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms,
                      std::string_view reason, uint64_t& unit) {
  Queue& queue = *consumer.queue;
  std::vector<Doomed> doomed;
  {
    const std::lock_guard lock(queue.mutex);
    ledger::Outcome outcome;
    switch (verb) {
      case Verb::kNack:
        outcome = queue.ledger.nack(consumer.id, seq, count, ms, now());
        break;
      case Verb::kReject:
        outcome = queue.ledger.reject(consumer.id, seq, count);
        break;
      case Verb::kRelease:
        outcome = queue.ledger.release(consumer.id, seq, count);
        break;
      case Verb::kExtend:
        outcome = queue.ledger.extend(consumer.id, seq, count, ms, now());
        break;
    }
    switch (outcome.answer) {
      case ledger::Answer::kLeaseLost:
        queue.counters.lease_lost++;
        return Status(Code::kLeaseLost, "this delivery is no longer leased to this consumer");
      case ledger::Answer::kDone:
        scheduleLocked(queue);
        break;
      case ledger::Answer::kReturned:
        queue.counters.returned++;
        if (!stageReturnsLocked(queue, {&outcome.returned, 1}, unit)) return whyRefused();
        if (outcome.returned.due_ms == 0) {
          wakeLocked(queue, 1);
        } else {
          scheduleLocked(queue);
        }
        break;
      case ledger::Answer::kDead:
        doomed.push_back({outcome.dead, std::string(reason)});
        break;
    }
  }
  if (doomed.empty()) {
    noteStagedLate(*consumer.session, unit);
    return Status();
  }
  bury(queue, doomed, unit);
  return burial(*consumer.session, queue.id, seq, unit);
}

}  // namespace millrace::engine
