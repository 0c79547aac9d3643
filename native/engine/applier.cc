#include "engine/applier.h"

#include <algorithm>
#include <optional>

#include "engine/snapshot.h"

namespace millrace::engine {

void Applier::onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) {
  log::RecordReader reader(records);
  Queue* queue = nullptr;
  std::unique_lock<Mutex> lock;
  uint64_t arrived = 0;
  const bool holding = hold_keeper_.holding();
  const auto leave = [&] {
    if (queue != nullptr && arrived > 0) waker_.wake(*queue, arrived);
    arrived = 0;
    if (lock.owns_lock()) lock.unlock();
  };
  while (reader.next()) {
    const log::Kind kind = reader.kind();
    const uint32_t id = load<uint32_t>(reader.record().data() + log::MessageLayout::kQueue);
    if (holding) hold_keeper_.noteCommitted(id, reader);
    if (kind == log::Kind::kQueue || kind == log::Kind::kDeliver || kind == log::Kind::kReturn) continue;
    if (queue == nullptr || queue->id != id) {
      leave();
      queue = catalogue_.at(id);
      if (queue == nullptr) continue;
      lock = std::unique_lock(queue->mutex);
    }
    apply(*queue, lock, reader, refOf, arrived);
  }
  leave();
}

// A message, a move or a settlement.
void Applier::apply(Queue& queue, std::unique_lock<Mutex>& lock, const log::RecordReader& record,
                    const std::function<log::Ref(size_t)>& refOf, uint64_t& arrived) {
  if (record.kind() == log::Kind::kSettle) {
    forget(queue, lock, record.settle());
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
  arrived++;
}

void Applier::forget(Queue& queue, std::unique_lock<Mutex>& lock, const log::SettleRecord& settled) {
  for (uint64_t done = 0; done < settled.count; done += kSliceMessages) {
    if (done > 0) giveWay(lock);
    settlements_.forget(queue, settled.first + done, std::min(kSliceMessages, settled.count - done));
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
