// The format (FORMAT.md, "Checkpoints"):
//
//   varint version (1), varint next queue id, then for each durable queue
//     varint id + 1 (0 ends the queues), settings (sized), varint last seq, then its live messages
//       varint seq distance to the one before (0 ends the messages), zigzag varint ref distance, varint
//       bytes, varint deliveries, and if deliveries > 0: varint 2 * uncounted + suspect, varint due ms,
//       varint first delivery ms
#include "engine/snapshot.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "log/block.h"
#include "log/format.h"

namespace millrace::engine {
namespace {

constexpr uint64_t kSnapshotVersion = 1;
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

// One queue, in slices: its mutex is given back between them.
Status saveQueue(Queue& queue, ByteWriter& out, log::SnapshotWriter& writer) {
  std::unique_lock lock(queue.mutex);
  const ledger::Seq last = queue.committed_seq;
  ByteWriter settings;
  queue.settings.encode(settings);
  out.varint(uint64_t{queue.id} + 1);
  out.sizedText(textOf(settings.view()));
  out.varint(last);
  Previous previous;
  std::vector<ledger::Saved> saved;
  ledger::Seq from = 1;
  while (from != 0 && from <= last) {
    saved.clear();
    from = queue.ledger.save(from, kSliceMessages, saved);
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
  return Status();
}

Status loadQueue(ByteReader& in, uint32_t id, Places& places, Catalogue& catalogue) {
  Result<QueueSettings> settings = QueueSettings::decode(bytesOf(in.sizedText()));
  if (!settings.ok()) return settings.status();
  Queue& queue = catalogue.restore(id, settings.value());
  queue.last_seq = queue.committed_seq = in.varint();
  if (queue.last_seq > ledger::kSeqMax) return corrupt("seq out of range");
  Previous previous;
  ledger::Saved saved;
  ledger::Seq before = 0;
  while (decodeMessage(in, saved, previous)) {
    // Rising, too: a distance that wraps around would give a lower one.
    if (!in.ok() || saved.seq > queue.last_seq || saved.seq <= before) return corrupt("message out of range");
    if (!places.take(saved.ref, saved.bytes)) return corrupt("no message can be where this one should be");
    before = saved.seq;
    queue.ledger.restore(saved);
  }
  return in.ok() ? Status() : corrupt("ends early");
}

}  // namespace

Status saveSnapshot(const Catalogue& catalogue, log::SnapshotWriter& writer) {
  const Catalogue::Listing listing = catalogue.list();
  ByteWriter out;
  out.varint(kSnapshotVersion);
  out.varint(listing.next_id);
  for (Queue* queue : listing.queues) {
    if (!queue->memory) MILLRACE_RETURN_IF_ERROR(saveQueue(*queue, out, writer));
  }
  out.varint(0);
  return writer.append(out.view());
}

Status loadSnapshot(ByteReader& in, uint64_t segment_bytes, Catalogue& catalogue) {
  if (in.varint() != kSnapshotVersion)
    return Status(Code::kIncompatible, "checkpoint: unknown snapshot version");
  const uint64_t next_queue = in.varint();
  if (next_queue > kQueuesMax) return corrupt("queue id out of range");
  Places places(segment_bytes);
  for (uint64_t coded = in.varint(); coded != 0; coded = in.varint()) {
    const uint64_t id = coded - 1;
    if (id == 0 || id >= next_queue || catalogue.at(static_cast<uint32_t>(id)) != nullptr) {
      return corrupt("queue id out of range");
    }
    MILLRACE_RETURN_IF_ERROR(loadQueue(in, static_cast<uint32_t>(id), places, catalogue));
  }
  if (!in.ok()) return corrupt("ends early");
  catalogue.skipTo(static_cast<uint32_t>(next_queue));
  return Status();
}

}  // namespace millrace::engine
