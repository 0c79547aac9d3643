#include "engine/recovery.h"

#include <utility>

#include "engine/snapshot.h"
#include "log/format.h"

namespace millrace::engine {
namespace {

// No consumer was ever handed more at once (the largest prefetch): a longer run is damage. Each message that
// a run names is a suspect afterwards, with a record of its own.
constexpr uint32_t kDeliveredRunMax = 65'536;

Status corrupt(const std::string& what) { return Status(Code::kCorrupt, what); }

}  // namespace

Status Recovery::onSnapshot(Bytes piece, bool last, const log::SnapshotSource& source) {
  snapshot_.insert(snapshot_.end(), piece.begin(), piece.end());
  if (!last) return Status();
  const std::vector<std::byte> whole = std::exchange(snapshot_, {});
  ByteReader in(whole);
  const Status loaded = loadSnapshot(in, source.segment_bytes, catalogue_);
  if (loaded.code() != Code::kCorrupt) return loaded;
  return log::corruptAt(source.file, log::kSnapshotAt + whole.size() - in.remaining(), loaded.detail());
}

Status Recovery::onRecord(const log::RecordReader& record, log::Ref ref) {
  if (record.kind() == log::Kind::kQueue) return declare(record.queue());
  const uint32_t id = load<uint32_t>(record.record().data() + log::MessageLayout::kQueue);
  Queue* queue = catalogue_.at(id);
  if (queue == nullptr) return corrupt("a record of queue " + std::to_string(id) + ", which is unknown");
  switch (record.kind()) {
    case log::Kind::kMessage:
    case log::Kind::kMove:
      return enter(*queue, record, ref);
    case log::Kind::kSettle:
      return settle(*queue, record.settle());
    case log::Kind::kDeliver:
      return deliver(*queue, record.deliver());
    case log::Kind::kReturn: {
      const log::ReturnRecord returned = record.returned();
      queue->ledger.replayReturned({returned.seq, returned.deliveries, returned.uncounted, returned.due_ms,
                                    returned.first_delivery_ms});
      return Status();
    }
    default:
      return Status(Code::kIncompatible, "a record of an unknown kind");
  }
}

Status Recovery::declare(const log::QueueRecord& declared) {
  Result<QueueSettings> settings = QueueSettings::decode(declared.settings);
  if (!settings.ok()) return settings.status();
  if (declared.queue == 0 || declared.queue >= kQueuesMax) return corrupt("queue id out of range");
  (void)catalogue_.restore(declared.queue, settings.value());
  return Status();
}

Status Recovery::enter(Queue& queue, const log::RecordReader& record, log::Ref ref) {
  const auto bytes = static_cast<uint32_t>(record.record().size());
  const uint64_t seq = load<uint64_t>(record.record().data() + log::MessageLayout::kSeq);
  if (record.kind() == log::Kind::kMove) {
    (void)queue.ledger.relocate(seq, ref);
  } else if (seq > ledger::kSeqMax) {
    return corrupt("seq out of range");
  } else if (seq > queue.committed_seq) {  // others are in the snapshot, or settled
    queue.ledger.enqueue(seq, ref, bytes);
    queue.committed_seq = queue.last_seq = seq;
  }
  return Status();
}

Status Recovery::settle(Queue& queue, const log::SettleRecord& settled) {
  // A range of the future is damage, and would take its time; one of the past is bounded by what was sent.
  if (settled.first > queue.committed_seq || settled.count > queue.committed_seq - settled.first + 1) {
    return corrupt("a settlement of messages that were never sent");
  }
  // It may be as long as a file says; each message that is there is visited once, since it goes.
  const ledger::Seq end = settled.first + settled.count;
  for (ledger::Seq seq = queue.ledger.nextLive(settled.first); seq != 0 && seq < end;
       seq = queue.ledger.nextLive(seq + 1)) {
    (void)queue.ledger.forget(seq);
  }
  return Status();
}

Status Recovery::deliver(Queue& queue, const log::DeliverRecord& delivered) {
  if (!collect(delivered, 0)) {
    return corrupt("a delivery of more messages than are handed out at once, or of none");
  }
  if (delivered_[queue.id].isLong()) applyDelivered(queue, [](uint32_t) {});
  return Status();
}

// False for what was never written by a store.
bool Recovery::collect(const log::DeliverRecord& delivered, uint32_t tag) {
  if (delivered.count == 0 || delivered.count > kDeliveredRunMax || delivered.first > ledger::kSeqMax)
    return false;
  delivered_[delivered.queue].add(
      {delivered.first, delivered.first + delivered.count - 1, delivered.delivery_count, tag});
  return true;
}

// Raises the counts that the collected deliveries raise; gives the tags of those that did.
void Recovery::applyDelivered(Queue& queue, const std::function<void(uint32_t tag)>& raised) {
  delivered_[queue.id].sweep([&](ledger::Seq from) { return queue.ledger.nextLive(from); },
                             [&](ledger::Seq seq, const ledger::DeliveredRun& run) {
                               if (queue.ledger.replayDelivered(seq, 1, run.deliveries)) raised(run.tag);
                             });
}

// Entry i has the tag i + 1: what records say counts before what entries repeat.
std::vector<bool> Recovery::onJournal(const std::vector<log::DeliverRecord>& entries) {
  std::vector<bool> needed(entries.size());
  for (uint32_t i = 0; i < entries.size(); ++i) {
    const log::DeliverRecord& delivered = entries[i];
    Queue* queue = catalogue_.at(delivered.queue);
    if (queue == nullptr || !collect(delivered, i + 1)) continue;
    // A power cut may keep the journal's entry and lose the message (level `process`). Its seq is not used
    // again, or a new message would inherit the count.
    const uint64_t last = delivered.first + delivered.count - 1;
    const bool plausible = last <= ledger::kSeqMax && last - queue->last_seq <= queue->settings.capacity;
    if (last <= queue->last_seq || !plausible) continue;
    queue->last_seq = queue->committed_seq = last;
    needed[i] = true;
  }
  for (Queue* queue : catalogue_.list().queues) {
    applyDelivered(*queue, [&](uint32_t tag) {
      if (tag != 0) needed[tag - 1] = true;
    });
  }
  return needed;
}

Status Recovery::finish() {
  std::vector<ledger::Saved> saved;
  for (Queue* queue : catalogue_.list().queues) {
    uint64_t live = 0;
    for (ledger::Seq from = 1; from != 0;) {
      saved.clear();
      from = queue->ledger.save(from, kSliceMessages, saved);
      for (const ledger::Saved& one : saved) {
        MILLRACE_RETURN_IF_ERROR(context_.log->checkPlace(one.ref, one.bytes));
        context_.log->retain(one.ref, one.bytes);
      }
      live += saved.size();
    }
    queue->room.restore(live);
  }
  return Status();
}

}  // namespace millrace::engine
