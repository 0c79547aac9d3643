#include "engine/applier.h"

#include <algorithm>
#include <optional>

#include "base/clock.h"
#include "engine/snapshot.h"

namespace millrace::engine {

namespace {

constexpr uint64_t kHoldNsMax = 1'000'000;
// The clock is read so often.
constexpr uint64_t kForgottenPerLook = 1024;

}  // namespace

void Applier::Hold::enter(Queue* next) {
  leave();
  queue = next;
  if (queue != nullptr) lock = std::unique_lock(queue->mutex);
}

void Applier::Hold::leave() {
  if (lock.owns_lock()) lock.unlock();
  arrived = forgotten = since_ns = 0;
}

bool Applier::Hold::noteForgotten(uint64_t messages) {
  forgotten += messages;
  if (forgotten % kForgottenPerLook != 0) return false;
  const uint64_t now_ns = monotonicNs();
  if (since_ns == 0) since_ns = now_ns;
  return now_ns - since_ns >= kHoldNsMax;
}

void Applier::onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) {
  log::RecordReader reader(records);
  Hold hold;
  const bool holding = hold_keeper_.holding();
  while (reader.next()) {
    const log::Kind kind = reader.kind();
    const uint32_t id = load<uint32_t>(reader.record().data() + log::MessageLayout::kQueue);
    if (holding) hold_keeper_.noteCommitted(id, reader);
    if (kind == log::Kind::kQueue || kind == log::Kind::kDeliver || kind == log::Kind::kReturn) continue;
    if (hold.queue == nullptr || hold.queue->id != id) {
      wakeFor(hold);
      hold.enter(catalogue_.at(id));
      if (hold.queue == nullptr) continue;
    }
    apply(hold, reader, refOf);
  }
  wakeFor(hold);
}

// Before its lock is given back: nobody waits then while there is something ready (B5).
void Applier::wakeFor(Hold& hold) {
  if (hold.arrived > 0) waker_.wake(*hold.queue, hold.arrived);
  hold.arrived = 0;
}

// A message, a move or a settlement.
void Applier::apply(Hold& hold, const log::RecordReader& record,
                    const std::function<log::Ref(size_t)>& refOf) {
  Queue& queue = *hold.queue;
  if (record.kind() == log::Kind::kSettle) {
    forget(hold, record.settle());
    return;
  }
  const auto bytes = static_cast<uint32_t>(record.record().size());
  const uint64_t seq = load<uint64_t>(record.record().data() + log::MessageLayout::kSeq);
  const Ref ref = refOf(record.offset());
  queue.store.pin(ref, bytes);
  if (record.kind() == log::Kind::kMove) {
    move(queue, seq, ref, bytes);
    return;
  }
  queue.ledger.enqueue(seq, ref, bytes);
  queue.committed_seq = seq;
  queue.counters.sent++;
  hold.arrived++;
}

void Applier::forget(Hold& hold, const log::SettleRecord& settled) {
  for (uint64_t done = 0; done < settled.count;) {
    const uint64_t until_look = kForgottenPerLook - hold.forgotten % kForgottenPerLook;
    const uint64_t messages = std::min(until_look, settled.count - done);
    settlements_.forget(*hold.queue, settled.first + done, messages);
    done += messages;
    if (!hold.noteForgotten(messages)) continue;
    wakeFor(hold);
    giveWay(hold.lock);
    hold.since_ns = monotonicNs();
  }
}

// The new place is pinned; the one that is not needed any more is let go.
void Applier::move(Queue& queue, ledger::Seq seq, Ref ref, uint32_t bytes) {
  const std::optional<ledger::Stored> before = queue.ledger.relocate(seq, ref);
  if (before.has_value()) {
    queue.store.unpin(before->ref, before->bytes);
  } else {
    queue.store.unpin(ref, bytes);
  }
}

void Applier::onConfirmed(uint64_t through) { sessions_.confirm(through); }

void Applier::onRoom() {
  sessions_.tellRoom();
  deliveries_.wakeUnjournaled();
}

void Applier::onFailed(const Status& status, uint64_t) { sessions_.fail(status); }

bool Applier::isLive(uint32_t queue_id, log::Seq seq, log::Ref ref) {
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return false;
  const std::lock_guard lock(queue->mutex);
  return queue->ledger.holds(seq, ref);
}

Status Applier::writeSnapshot(log::SnapshotWriter& writer) { return saveSnapshot(catalogue_, writer); }

}  // namespace millrace::engine
