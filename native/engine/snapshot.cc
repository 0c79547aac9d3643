// The engine's part of a checkpoint, and what recovery makes of it and of the records after it.
//
//   varint version (1), varint next queue id, then for each durable queue
//     varint id + 1 (0 ends the queues), settings (sized), varint last seq, then its live messages
//       varint seq distance to the one before (0 ends the messages), zigzag varint ref distance, varint
//       bytes, varint deliveries, and if deliveries > 0: varint 2 * uncounted + suspect, varint due ms,
//       varint first delivery ms
//
// It is written while the broker works: a queue's `last seq` is read first, so what is sent later is left to
// the replay; everything else a replay can repeat without harm (log.h, L6).
#include <algorithm>
#include <functional>
#include <unordered_map>

#include "engine/broker.h"
#include "log/block.h"
#include "log/format.h"

namespace millrace::engine {
namespace {

constexpr uint64_t kSnapshotVersion = 1;
constexpr size_t kEntriesAtOnce = 4096;      // messages written under one hold of a queue's mutex
constexpr ledger::Seq kSeqMax = 1ull << 53;  // a seq travels through JavaScript as a number
// No consumer was ever handed more at once (the largest prefetch): a longer run is damage. Each message that
// a run names is a suspect afterwards, with a record of its own.
constexpr uint32_t kDeliveredRunMax = 65'536;
constexpr size_t kPieceBytes = 256 << 10;

uint64_t zigzag(uint64_t from, uint64_t to) {
  const auto distance = static_cast<int64_t>(to - from);
  return (static_cast<uint64_t>(distance) << 1) ^ static_cast<uint64_t>(distance >> 63);
}
uint64_t unzigzag(uint64_t from, uint64_t coded) { return from + ((coded >> 1) ^ (~(coded & 1) + 1)); }

Status corrupt(const char* what) { return Status(Code::kCorrupt, what); }

struct Previous {
  ledger::Seq seq = 0;
  Ref ref = 0;
};

void encodeMessage(ByteWriter& out, const ledger::Saved& saved, Previous& previous) {
  out.varint(saved.seq - previous.seq);
  out.varint(zigzag(previous.ref, saved.ref));
  out.varint(saved.bytes);
  out.varint(saved.deliveries);
  if (saved.deliveries > 0) {
    out.varint(uint64_t{saved.uncounted} << 1 | (saved.suspect ? 1 : 0));
    out.varint(saved.due_ms);
    out.varint(saved.first_delivery_ms);
  }
  previous = {saved.seq, saved.ref};
}

// A range may be as long as a file says; each message that is there is visited once, since it goes.
void forgetReplayed(Queue& queue, ledger::Seq first, uint32_t count) {
  const ledger::Seq end = first + count;
  for (ledger::Seq seq = queue.ledger.nextLive(first); seq != 0 && seq < end;
       seq = queue.ledger.nextLive(seq + 1)) {
    (void)queue.ledger.forget(seq);
  }
}

// Raises the counts that the collected deliveries raise; gives the tags of those that did.
void applyDelivered(
    Queue& queue, const std::function<void(uint32_t tag)>& raised = [](uint32_t) {}) {
  queue.replayed.sweep([&](ledger::Seq from) { return queue.ledger.nextLive(from); },
                       [&](ledger::Seq seq, const ledger::DeliveredRun& run) {
                         if (queue.ledger.replayDelivered(seq, 1, run.deliveries)) raised(run.tag);
                       });
}

// False for what was never written by a store.
bool collectDelivered(Queue& queue, const log::DeliverRecord& delivered, uint32_t tag) {
  if (delivered.count == 0 || delivered.count > kDeliveredRunMax || delivered.first > kSeqMax) return false;
  queue.replayed.add({delivered.first, delivered.first + delivered.count - 1, delivered.delivery_count, tag});
  return true;
}

// Where the messages of a snapshot say that they lie. Two cannot share a place, so what a segment holds
// bounds how many there may be, whatever a file says, before memory is spent on them.
class Places {
 public:
  explicit Places(uint64_t segment_bytes) : segment_bytes_(segment_bytes) {}
  bool take(Ref ref, uint64_t bytes) {
    const uint64_t index = log::segmentIndexOf(ref);
    const uint64_t offset = log::offsetOf(ref);
    if (index >= log::kSegmentsMax || bytes < log::MessageLayout::kContent ||
        bytes > log::unitBytesMax(segment_bytes_) || offset < log::kPageBytes + log::BlockHeader::kBytes ||
        offset > segment_bytes_ - bytes) {
      return false;
    }
    if (taken_ == nullptr || index != index_) taken_ = &taken_by_index_[index_ = index];
    *taken_ += bytes;
    return *taken_ <= segment_bytes_;
  }

 private:
  const uint64_t segment_bytes_;
  std::unordered_map<uint64_t, uint64_t> taken_by_index_;
  uint64_t index_ = 0;
  uint64_t* taken_ = nullptr;
};

// False at the end of the queue's messages.
bool decodeMessage(ByteReader& in, ledger::Saved& saved, Previous& previous) {
  const uint64_t distance = in.varint();
  if (distance == 0) return false;
  saved = {};
  saved.seq = previous.seq + distance;
  saved.ref = unzigzag(previous.ref, in.varint());
  saved.bytes = static_cast<uint32_t>(in.varint());
  saved.deliveries = static_cast<uint32_t>(std::min<uint64_t>(in.varint(), UINT32_MAX));
  if (saved.deliveries > 0) {
    const uint64_t uncounted = in.varint();
    saved.uncounted = static_cast<uint32_t>(std::min<uint64_t>(uncounted >> 1, UINT32_MAX));
    saved.suspect = (uncounted & 1) != 0;
    saved.due_ms = in.varint();
    saved.first_delivery_ms = in.varint();
  }
  previous = {saved.seq, saved.ref};
  return true;
}

}  // namespace

Status Broker::writeSnapshot(log::SnapshotWriter& writer) {
  std::vector<Queue*> queues;
  ByteWriter out;
  {
    const std::lock_guard lock(catalogue_mutex_);
    out.varint(kSnapshotVersion);
    out.varint(next_queue_);
    for (const auto& queue : owned_queues_) {
      if (!queue->memory) queues.push_back(queue.get());
    }
  }
  std::vector<ledger::Saved> saved;
  for (Queue* queue : queues) {
    std::unique_lock lock(queue->mutex);
    const ledger::Seq last = queue->committed_seq;
    ByteWriter settings;
    queue->settings.encode(settings);
    out.varint(uint64_t{queue->id} + 1);
    out.sizedText(textOf(settings.view()));
    out.varint(last);
    Previous previous;
    ledger::Seq from = 1;
    while (from != 0 && from <= last) {
      saved.clear();
      from = queue->ledger.save(from, kEntriesAtOnce, saved);
      lock.unlock();
      for (const ledger::Saved& one : saved) {
        if (one.seq <= last) encodeMessage(out, one, previous);
      }
      if (out.size() >= kPieceBytes) {
        MILLRACE_RETURN_IF_ERROR(writer.append(out.view()));
        out.clear();
      }
      lock.lock();
    }
    out.varint(0);
  }
  out.varint(0);
  return writer.append(out.view());
}

Status Broker::onSnapshot(Bytes piece, bool last, const log::SnapshotSource& source) {
  snapshot_.insert(snapshot_.end(), piece.begin(), piece.end());
  if (!last) return Status();
  const std::vector<std::byte> whole = std::move(snapshot_);
  snapshot_ = {};
  ByteReader in(whole);
  const Status loaded = loadSnapshot(in, source.segment_bytes);
  if (loaded.code() != Code::kCorrupt) return loaded;
  return log::corruptAt(source.file, log::kSnapshotAt + whole.size() - in.remaining(), loaded.detail());
}

Status Broker::loadSnapshot(ByteReader& in, uint64_t segment_bytes) {
  if (in.varint() != kSnapshotVersion)
    return Status(Code::kIncompatible, "checkpoint: unknown snapshot version");
  const uint64_t next_queue = in.varint();
  if (next_queue > kQueuesMax) return corrupt("queue id out of range");
  Places places(segment_bytes);
  for (;;) {
    const uint64_t id = in.varint();
    if (id == 0) break;
    if (id - 1 == 0 || id - 1 >= next_queue || queueAt(static_cast<uint32_t>(id - 1)) != nullptr) {
      return corrupt("queue id out of range");
    }
    Result<QueueSettings> settings = QueueSettings::decode(bytesOf(in.sizedText()));
    if (!settings.ok()) return settings.status();
    Queue& queue = addQueue(static_cast<uint32_t>(id - 1), settings.value());
    queue.last_seq = queue.committed_seq = in.varint();
    if (queue.last_seq > kSeqMax) return corrupt("seq out of range");
    Previous previous;
    ledger::Saved saved;
    ledger::Seq before = 0;
    while (decodeMessage(in, saved, previous)) {
      // Rising, too: a distance that wraps around would give a lower one.
      if (!in.ok() || saved.seq > queue.last_seq || saved.seq <= before)
        return corrupt("message out of range");
      if (!places.take(saved.ref, saved.bytes)) return corrupt("no message can be where this one should be");
      before = saved.seq;
      queue.ledger.restore(saved);
    }
    if (!in.ok()) return corrupt("ends early");
  }
  if (!in.ok()) return corrupt("ends early");
  next_queue_ = std::max(next_queue_, static_cast<uint32_t>(next_queue));
  return Status();
}

Status Broker::onRecord(const log::RecordReader& record, log::Ref ref) {
  if (record.kind() == log::Kind::kQueue) {
    const log::QueueRecord declared = record.queue();
    Result<QueueSettings> settings = QueueSettings::decode(declared.settings);
    if (!settings.ok()) return settings.status();
    if (declared.queue == 0 || declared.queue >= kQueuesMax)
      return Status(Code::kCorrupt, "queue id out of range");
    Queue* queue = queueAt(declared.queue);
    if (queue == nullptr) queue = &addQueue(declared.queue, settings.value());
    applySettings(*queue, settings.value());
    return Status();
  }
  const uint32_t id = load<uint32_t>(record.record().data() + log::MessageLayout::kQueue);
  Queue* queue = queueAt(id);
  if (queue == nullptr)
    return Status(Code::kCorrupt, "a record of queue " + std::to_string(id) + ", which is unknown");
  switch (record.kind()) {
    case log::Kind::kMessage:
    case log::Kind::kMove: {
      const auto bytes = static_cast<uint32_t>(record.record().size());
      const uint64_t seq = load<uint64_t>(record.record().data() + log::MessageLayout::kSeq);
      if (record.kind() == log::Kind::kMove) {
        (void)queue->ledger.relocate(seq, ref);
      } else if (seq > kSeqMax) {
        return Status(Code::kCorrupt, "seq out of range");
      } else if (seq > queue->committed_seq) {  // others are in the snapshot, or settled
        queue->ledger.enqueue(seq, ref, bytes);
        queue->committed_seq = queue->last_seq = seq;
      }
      break;
    }
    case log::Kind::kSettle: {
      const log::SettleRecord settled = record.settle();
      // A range of the future is damage, and would take its time; one of the past is bounded by what was
      // sent.
      if (settled.first > queue->committed_seq || settled.count > queue->committed_seq - settled.first + 1) {
        return Status(Code::kCorrupt, "a settlement of messages that were never sent");
      }
      forgetReplayed(*queue, settled.first, settled.count);
      break;
    }
    case log::Kind::kDeliver: {
      const log::DeliverRecord delivered = record.deliver();
      if (!collectDelivered(*queue, delivered, 0)) {
        return Status(Code::kCorrupt, "a delivery of more messages than are handed out at once, or of none");
      }
      if (queue->replayed.isLong()) applyDelivered(*queue);
      break;
    }
    case log::Kind::kReturn: {
      const log::ReturnRecord returned = record.returned();
      queue->ledger.replayReturned({returned.seq, returned.deliveries, returned.uncounted, returned.due_ms,
                                    returned.first_delivery_ms});
      break;
    }
    default:
      return Status(Code::kIncompatible, "a record of an unknown kind");
  }
  return Status();
}

// Entry i has the tag i + 1: what records say counts before what entries repeat.
std::vector<bool> Broker::onJournal(const std::vector<log::DeliverRecord>& entries) {
  std::vector<bool> needed(entries.size());
  for (uint32_t i = 0; i < entries.size(); ++i) {
    const log::DeliverRecord& delivered = entries[i];
    Queue* queue = queueAt(delivered.queue);
    if (queue == nullptr || !collectDelivered(*queue, delivered, i + 1)) continue;
    // A power cut may keep the journal's entry and lose the message (level `process`). Its seq is not used
    // again, or a new message would inherit the count.
    const uint64_t last = delivered.first + delivered.count - 1;
    const bool plausible = last <= kSeqMax && last - queue->last_seq <= queue->settings.capacity;
    if (last <= queue->last_seq || !plausible) continue;
    queue->last_seq = queue->committed_seq = last;
    needed[i] = true;
  }
  for (const auto& queue : owned_queues_) {
    applyDelivered(*queue, [&](uint32_t tag) {
      if (tag != 0) needed[tag - 1] = true;
    });
  }
  return needed;
}

// Before the log's threads start: pins what is live.
Status Broker::finishRecovery() {
  std::vector<ledger::Saved> saved;
  for (const auto& queue : owned_queues_) {
    ledger::Seq from = 1;
    uint64_t live = 0;
    while (from != 0) {
      saved.clear();
      from = queue->ledger.save(from, kEntriesAtOnce, saved);
      for (const ledger::Saved& one : saved) {
        MILLRACE_RETURN_IF_ERROR(log_->checkPlace(one.ref, one.bytes));
        log_->retain(one.ref, one.bytes);
      }
      live += saved.size();
    }
    queue->admitted.store(live);
  }
  return Status();
}

}  // namespace millrace::engine
