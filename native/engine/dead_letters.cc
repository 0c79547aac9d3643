// Dead letters: a message that used up its deliveries, or was rejected, moves to its dead-letter queue with
// the story of its death as one unit of the log: the new message and the settlement of the old one, or
// neither.
#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/crc32c.h"
#include "engine/broker.h"

namespace millrace::engine {
namespace {

using Layout = log::MessageLayout;
constexpr size_t kReasonBytesMax = 1024;

// The extension of a dead letter: FORMAT.md, "dead letter".
std::vector<std::byte> story(const Doomed& doomed, std::string_view origin) {
  const std::string_view reason = textCut(doomed.reason, kReasonBytesMax);
  ByteWriter entry;
  entry.fixed<uint64_t>(doomed.dead.seq);
  entry.fixed<uint64_t>(doomed.dead.first_delivery_ms);
  entry.fixed<uint64_t>(doomed.dead.last_delivery_ms);
  entry.fixed<uint32_t>(doomed.dead.deliveries);
  entry.fixed<uint16_t>(static_cast<uint16_t>(origin.size()));
  entry.bytes(bytesOf(origin));
  entry.bytes(bytesOf(reason));
  ByteWriter extension;
  extension.fixed(log::Tag::kDeadLetter);
  extension.fixed<uint16_t>(static_cast<uint16_t>(entry.size()));
  extension.bytes(entry.view());
  return extension.buffer();
}

// The same headers, body and timestamp in another queue; seq is filled in when the place is known.
std::vector<std::byte> rewrite(const log::MessageView& message, uint32_t queue, Bytes extension) {
  const size_t bytes = log::messageRecordBytes(message.headerBytes(), extension.size(), message.bodyBytes());
  std::vector<std::byte> record(bytes);
  std::byte* at = record.data();
  store<uint32_t>(at + Layout::kBytes, static_cast<uint32_t>(bytes));
  store(at + Layout::kKind, log::Kind::kMessage);
  store<uint16_t>(at + Layout::kHeaderBytes, static_cast<uint16_t>(message.headerBytes()));
  store<uint32_t>(at + Layout::kQueue, queue);
  store<uint32_t>(at + Layout::kBodyBytes, message.bodyBytes());
  store<uint64_t>(at + Layout::kTimestamp, message.timestampMs());
  store<uint32_t>(at + Layout::kExtensionBytes, static_cast<uint32_t>(extension.size()));
  at += Layout::kContent;
  for (const Bytes part : {message.headers(), extension, message.body()}) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  return record;
}

}  // namespace

// What a durable queue owes does not end in memory: its dead letters go to a durable queue, whichever of the
// two is declared first.
Status Broker::checkGraveyard(const QueueSettings& settings) {
  const auto refuse = [](const std::string& queue, const std::string& graveyard) {
    return Status(Code::kInvalidArgument, "the dead letters of durable queue \"" + queue +
                                              "\" cannot go to memory queue \"" + graveyard + "\"");
  };
  if (!settings.memory) {
    const auto found = queue_by_name_.find(settings.dead_letter);
    const bool lost = found != queue_by_name_.end() && queueAt(found->second)->memory;
    return lost ? refuse(settings.name, settings.dead_letter) : Status();
  }
  // Only for a new queue that was ever named: a look at all of them for each would take minutes.
  if (queue_by_name_.contains(settings.name) || !graveyard_names_.contains(settings.name)) return Status();
  for (const auto& other : owned_queues_) {
    if (other->memory) continue;
    const std::lock_guard lock(other->mutex);
    if (other->settings.dead_letter == settings.name) return refuse(other->settings.name, settings.name);
  }
  return Status();
}

// The queue that `queue`'s dead letters go to, created with default settings if nobody declared it; null:
// none is wanted, or (unit unchanged) it cannot be created now.
Queue* Broker::deadQueueOf(const std::string& name, bool memory, uint64_t& unit) {
  const std::lock_guard lock(catalogue_mutex_);
  const auto found = queue_by_name_.find(name);
  if (found != queue_by_name_.end()) return queueAt(found->second);
  SettingsPatch patch;
  patch.memory = memory;
  const auto declared = declareLocked(name, patch, unit);
  return declared.ok() ? queueAt(declared.value().first) : nullptr;
}

void Broker::bury(Queue& queue, std::vector<Doomed>& doomed, uint64_t& unit) {
  if (doomed.empty()) return;
  {
    const std::lock_guard lock(queue.mutex);
    for (const Doomed& one : doomed) queue.unburied.insert(one.dead.seq);
  }
  std::vector<Doomed> kept;
  for (Doomed& one : doomed) {
    if (!buryOne(queue, one, unit)) kept.push_back(std::move(one));
  }
  const std::lock_guard lock(queue.mutex);
  queue.burial_unit = std::max(queue.burial_unit, unit);
  for (const Doomed& one : doomed) queue.unburied.erase(one.dead.seq);
  if (kept.empty()) {
    queue.doomed_retry_ms = kDoomedRetryMsMin;
    return;
  }
  queue.doomed_retry_ms = std::min(2 * queue.doomed_retry_ms, kDoomedRetryMsMax);
  for (Doomed& one : kept) {
    queue.unburied.insert(one.dead.seq);
    // The verdict does not wait for a place, or a crash would undo it.
    if (const auto verdict = one.written ? std::nullopt : queue.ledger.verdict(one.dead.seq)) {
      uint64_t written = 0;
      one.written = stageReturnsLocked(queue, {&*verdict, 1}, written);
    }
    queue.doomed.push_back(std::move(one));
  }
  if (log_ == nullptr || !log_->failed()) scheduleLocked(queue);
}

// Reads the record of a DYING message from where it lies now: it may have been copied forward since it died.
// Pinned meanwhile, and checked to be that message. False: it cannot be read.
bool Broker::readDying(Queue& queue, ledger::Seq seq, std::vector<std::byte>& record) {
  ledger::Stored stored{};
  {
    const std::lock_guard lock(queue.mutex);
    std::vector<ledger::Saved> saved;
    (void)queue.ledger.save(seq, 1, saved);
    if (saved.empty() || saved[0].seq != seq) return false;
    stored = {saved[0].ref, saved[0].bytes};
    queue.store.pin(stored.ref, stored.bytes);
  }
  record.resize(stored.bytes);
  const Status read = queue.store.read(stored.ref, record);
  queue.store.unpin(stored.ref, stored.bytes);
  if (!read.ok()) return false;
  const Result<log::MessageView> parsed = log::MessageView::parse(record);
  if (!parsed.ok() || parsed.value().seq() != seq || parsed.value().queue() != queue.id) return false;
  return queue.memory || parsed.value().computeCrc() == parsed.value().storedCrc();
}

// False: try again later; the message stays where it is (never dropped for lack of room). A DYING message is
// touched by nobody else, so its record may be staged without the queue's mutex (B2 holds).
bool Broker::buryOne(Queue& queue, const Doomed& doomed, uint64_t& unit) {
  if (closed()) return false;
  std::string origin;
  std::string target;
  {
    const std::lock_guard lock(queue.mutex);
    origin = queue.settings.name;
    target = queue.settings.dead_letter;
  }
  const ledger::Range range{doomed.dead.seq, 1};
  if (target.empty()) {
    const std::lock_guard lock(queue.mutex);
    if (!stageSettleLocked(queue, {&range, 1}, log::Purpose::kSettle, unit)) return false;
    queue.counters.dropped++;
    return true;
  }
  Queue* graveyard = deadQueueOf(target, queue.memory, unit);
  // declareLocked() lets no memory queue be the graveyard of a durable one.
  if (graveyard == nullptr || (graveyard->memory && !queue.memory)) return false;

  // Before anything is read: many letters may wait for room in one queue.
  if (graveyard->admitted.load() >= graveyard->capacity.load()) return false;
  std::vector<std::byte> original;
  if (!readDying(queue, doomed.dead.seq, original)) return false;
  const log::MessageView message = log::MessageView::parse(original).value();
  std::vector<std::byte> letter = rewrite(message, graveyard->id, story(doomed, origin));

  if (graveyard->memory) {
    {
      const std::lock_guard lock(graveyard->mutex);
      if (graveyard->closed || graveyard->admitted.load() >= graveyard->capacity.load()) return false;
      if (!enqueueMemoryLocked(*graveyard, letter)) return false;
      wakeLocked(*graveyard, 1);
    }
    const std::lock_guard lock(queue.mutex);
    forgetLocked(queue, doomed.dead.seq, 1);
    queue.counters.dead_lettered++;
    return true;
  }

  store<uint32_t>(letter.data() + Layout::kContentCrc, log::MessageView::parse(letter).value().computeCrc());
  {
    log::Log::Lock stage(*log_);
    if (graveyard->admitted.load() >= graveyard->capacity.load()) return false;
    std::byte* at = nullptr;
    const size_t bytes = letter.size() + (queue.memory ? 0 : log::SettleRecord::kRecordBytes);
    // A damaged file may hold what was never sent.
    if (bytes > log::unitBytesMax(options_.segment_bytes)) return false;
    if (stage.reserve(bytes, log::Purpose::kSend, at, unit) != log::StageOutcome::kStaged) return false;
    placeMessage(*graveyard, at, letter);
    if (!queue.memory) log::SettleRecord{queue.id, 1, doomed.dead.seq}.encode(at + letter.size());
  }
  const std::lock_guard lock(queue.mutex);
  if (queue.memory) forgetLocked(queue, doomed.dead.seq, 1);
  queue.counters.dead_lettered++;
  return true;
}

Status Broker::burial(Session& session, uint32_t queue_id, ledger::Seq seq, uint64_t& unit) {
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  {
    const std::lock_guard lock(queue->mutex);
    if (queue->unburied.contains(seq)) {
      // In a broker that has ended it will not be buried any more: the message comes back.
      if (closed() || (log_ != nullptr && log_->failed())) return whyRefused();
      unit = kDeferred;
      return Status();
    }
    unit = queue->burial_unit;
  }
  noteStagedLate(session, unit);
  return Status();
}

}  // namespace millrace::engine
