#include "engine/mover.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/copy_out.h"
#include "engine/letter.h"

namespace millrace::engine {

void Mover::bury(Queue& queue, std::span<Doomed> doomed, uint64_t& unit) {
  if (doomed.empty()) return;
  bool all = true;
  for (; !doomed.empty(); doomed = doomed.subspan(std::min(doomed.size(), kSliceMessages))) {
    all &= burySlice(queue, doomed.first(std::min(doomed.size(), kSliceMessages)), unit);
  }
  const std::lock_guard lock(queue.mutex);
  queue.doomed_retry_ms = all ? kDoomedRetryMsMin : std::min(2 * queue.doomed_retry_ms, kDoomedRetryMsMax);
  if (!all && !context_.hasFailed()) waker_.schedule(queue);
}

// False: some are kept.
bool Mover::burySlice(Queue& queue, std::span<Doomed> doomed, uint64_t& unit) {
  {
    const std::lock_guard lock(queue.mutex);
    for (const Doomed& one : doomed) queue.unburied.insert(one.dead.seq);
  }
  std::vector<Doomed> kept;
  std::vector<ledger::Seq> moved;
  for (Doomed& one : doomed) {
    if (move(queue, one, unit)) {
      moved.push_back(one.dead.seq);
    } else {
      kept.push_back(std::move(one));
    }
  }
  const std::lock_guard lock(queue.mutex);
  queue.burial_unit = std::max(queue.burial_unit, unit);
  for (const ledger::Seq seq : moved) queue.unburied.erase(seq);
  keep(queue, kept);
  return kept.empty();
}

void Mover::bury(Queue& queue, const std::vector<ledger::Dead>& dead, const char* reason) {
  std::vector<Doomed> doomed;
  doomed.reserve(dead.size());
  for (const ledger::Dead& one : dead) doomed.push_back({one, reason});
  uint64_t unit = 0;
  bury(queue, doomed, unit);
}

// The queue's mutex is held.
void Mover::keep(Queue& queue, std::vector<Doomed>& kept) {
  for (Doomed& one : kept) {
    // The verdict does not wait for a place, or a crash would undo it.
    if (const auto verdict = one.written ? std::nullopt : queue.ledger.verdict(one.dead.seq)) {
      uint64_t written = 0;
      one.written = settlements_.stageReturns(queue, {&*verdict, 1}, written);
    }
    queue.doomed.push_back(std::move(one));
  }
}

// False: try again later; the message stays where it is (never dropped for lack of room). A DYING message is
// touched by nobody else, so its record may be staged without the queue's mutex (B2 holds).
bool Mover::move(Queue& queue, const Doomed& doomed, uint64_t& unit) {
  if (context_.isClosed()) return false;
  std::string origin;
  std::string target;
  {
    const std::lock_guard lock(queue.mutex);
    origin = queue.settings.name;
    target = queue.settings.dead_letter;
  }
  if (target.empty()) return drop(queue, doomed, unit);
  Queue* graveyard = catalogue_.graveyard(target, queue.memory, unit);
  // The catalogue lets no memory queue be the graveyard of a durable one.
  if (graveyard == nullptr || (graveyard->memory && !queue.memory)) return false;

  // Before anything is read: many letters may wait for room in one queue.
  if (graveyard->room.isFull()) return false;
  std::vector<std::byte> original;
  if (!readOne(queue, doomed.dead.seq, original)) return false;
  const log::MessageView message = log::MessageView::parse(original).value();
  std::vector<std::byte> letter = letterOf(message, doomed, origin, graveyard->id);

  const bool placed =
      graveyard->memory ? placeInMemory(*graveyard, letter) : stage(queue, doomed, *graveyard, letter, unit);
  if (!placed) return false;
  const std::lock_guard lock(queue.mutex);
  if (queue.memory) settlements_.forget(queue, doomed.dead.seq, 1);
  queue.counters.dead_lettered++;
  return true;
}

bool Mover::drop(Queue& queue, const Doomed& doomed, uint64_t& unit) {
  const ledger::Range range{doomed.dead.seq, 1};
  const std::lock_guard lock(queue.mutex);
  if (!settlements_.stage(queue, {&range, 1}, log::Purpose::kSettle, unit)) return false;
  queue.counters.dropped++;
  return true;
}

bool Mover::placeInMemory(Queue& graveyard, Bytes letter) {
  const std::lock_guard lock(graveyard.mutex);
  if (graveyard.closed || graveyard.room.isFull()) return false;
  const Ref ref = context_.heap_store.add(letter, graveyard.nextSeq());
  if (ref == 0) return false;
  graveyard.enqueue(ref, static_cast<uint32_t>(letter.size()));
  waker_.wake(graveyard, 1);
  return true;
}

bool Mover::stage(const Queue& queue, const Doomed& doomed, Queue& graveyard, MutableBytes letter,
                  uint64_t& unit) {
  const uint32_t crc = log::MessageView::parse(letter).value().computeCrc();
  store<uint32_t>(letter.data() + log::MessageLayout::kContentCrc, crc);
  const size_t bytes = letter.size() + (queue.memory ? 0 : log::SettleRecord::kRecordBytes);
  // A damaged file may hold what was never sent.
  if (bytes > log::unitBytesMax(context_.options.segment_bytes)) return false;
  log::Log::Lock stage(*context_.log);
  if (graveyard.room.isFull()) return false;
  std::byte* at = nullptr;
  if (stage.reserve(bytes, log::Purpose::kSend, at, unit) != log::StageOutcome::kStaged) return false;
  graveyard.place(at, letter);
  if (!queue.memory) log::SettleRecord{queue.id, 1, doomed.dead.seq}.encode(at + letter.size());
  return true;
}

Status Mover::burial(Session& session, uint32_t queue_id, ledger::Seq seq, uint64_t& unit) {
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  {
    const std::lock_guard lock(queue->mutex);
    if (queue->unburied.contains(seq)) {
      // In a broker that has ended it will not be buried any more: the message comes back.
      if (context_.isClosed() || context_.hasFailed()) return context_.whyRefused();
      unit = kDeferred;
      return Status();
    }
    unit = queue->burial_unit;
  }
  sessions_.noteStaged(session, unit);
  return Status();
}

}  // namespace millrace::engine
