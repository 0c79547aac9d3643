#include "log/committer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/shared_atomic.h"

namespace millrace::log {
namespace {

// The longest look for work, and the pause between two looks. Measured on the 2-core machine of the brief: a
// wake costs 21-50 us, so looking for longer than about two wakes cannot pay.
constexpr uint64_t kLookNsMax = 100'000;
constexpr int kPausesPerLook = 40;

constexpr uint64_t kWriteAgainNs = 100'000'000;  // K5

}  // namespace

// W1 Both sides exchange: whatever was written before a wake() is seen after the park() that it ends, or
// after the one that it forestalls, so the reasons to wake need no order of their own.
bool Parking::park(uint64_t ns_max) {
  std::unique_lock lock(mutex_);
  uint32_t expected = kAwake;
  if (state_.compare_exchange_strong(expected, kParked, std::memory_order_acq_rel)) {
    const auto woken = [this] { return state_.load(std::memory_order_acquire) != kParked; };
    if (ns_max == kForever) {
      woken_.wait(lock, woken);
    } else {
      woken_.waitFor(lock, std::chrono::nanoseconds(ns_max), woken);
    }
  }
  return state_.exchange(kAwake, std::memory_order_acq_rel) == kWoken;  // W1
}

void Parking::wake() {
  if (state_.exchange(kWoken, std::memory_order_acq_rel) != kParked) return;  // W1
  { const std::lock_guard lock(mutex_); }
  woken_.notifyOne();
}

Committer::Committer(Tools tools, const Position& tail, uint64_t bytes_since_checkpoint)
    : tools_(std::move(tools)),
      synced_through_(tail.commit_sequence - 1),
      bytes_since_checkpoint_(bytes_since_checkpoint),
      next_(tail),
      segment_(tools_.pool.active()),
      gap_ns_(kLookNsMax) {}

Status Committer::start() {
  return thread_.start([this] { run(); });
}

void Committer::join(Stop how) {
  if (!thread_.joinable()) return;
  stop_.store(how, std::memory_order_release);
  parking_.wake();
  thread_.join();
}

void Committer::finish() { join(Stop::kDrain); }
void Committer::abandon() { join(Stop::kAbandon); }

void Committer::run() {
  while (awaitWork()) {
    if (tools_.failure.failed()) {
      reportFailure();
      continue;
    }
    Stage::Batch batch;
    if (!tools_.stage.take(batch)) {
      if (stop_.load(std::memory_order_acquire) == Stop::kDrain) return;
      continue;
    }
    if (batch.refused) tools_.listener.onRoom();  // the other buffer is empty now
    commit(batch);
  }
}

// Once the failure was reported nothing is a reason but the end: what is staged stays where it is.
bool Committer::hasReason() const {
  if (stop_.load(std::memory_order_acquire) != Stop::kNo) return true;
  return tools_.failure.failed() ? !failure_reported_ : tools_.stage.wanted();
}

// True: there may be something to take.
bool Committer::awaitWork() {
  const uint64_t since = monotonicNs();
  const uint64_t look_ns = gap_ns_ < kLookNsMax ? std::min(kLookNsMax, 2 * gap_ns_ + 5'000) : 0;
  uint64_t now = since;
  while (!hasReason() && now - since < look_ns) {
    for (int i = 0; i < kPausesPerLook && !tools_.stage.wanted(); ++i) spinPause();
    if (!tools_.stage.wanted()) std::this_thread::yield();
    now = monotonicNs();
  }
  while (!hasReason()) {
    const bool quiet = tools_.stage.quiet() && !tools_.failure.failed();
    if (!parking_.park(quiet ? kQuietNsMax : Parking::kForever) && quiet) break;
  }
  noteGap(monotonicNs() - since);
  const Stop stop = stop_.load(std::memory_order_acquire);
  if (stop == Stop::kAbandon) return false;
  if (stop == Stop::kDrain && tools_.failure.failed()) {
    reportFailure();
    return false;
  }
  return true;
}

// One long pause parks the committer for the next commits; three or four short ones bring the looking back.
void Committer::noteGap(uint64_t gap_ns) { gap_ns_ = (gap_ns_ * 3 + std::min(gap_ns, 4 * kLookNsMax)) / 4; }

void Committer::reportFailure() {
  if (failure_reported_) return;
  failure_reported_ = true;
  tools_.listener.onFailed(tools_.failure.status(), committedThrough());
}

void Committer::commit(const Stage::Batch& batch) {
  uint64_t offset = 0;
  Status written = batch.opens_segment ? openSegment() : Status();
  if (written.ok() && batch.body_bytes == 0) {  // sealed (Stage::seal), and nothing to write yet
    tools_.pool.setDelivered(next_);
    tools_.wakeJanitor();
    return;
  }
  if (written.ok()) written = writeBlock(batch, offset);
  if (!written.ok()) {
    tools_.failure.set(written);
    reportFailure();
    return;
  }
  tools_.journal.covered(batch.journal_through);
  tell(batch, offset);
  tools_.pool.setDelivered(next_);  // K2
  // After the listener saw the records: whoever sees this and looks at a queue finds them there.
  committed_.store(batch.through, std::memory_order_seq_cst);  // K4 pairs with committedThrough()
  tools_.listener.onConfirmed(batch.through);
  const uint64_t bytes = alignUp(BlockHeader::kBytes + batch.body_bytes, kPageBytes);
  counters_.commits.fetch_add(1, std::memory_order_relaxed);
  counters_.units.fetch_add(batch.units, std::memory_order_relaxed);
  counters_.bytes.fetch_add(bytes, std::memory_order_relaxed);
  const uint64_t before = bytes_since_checkpoint_.fetch_add(bytes, std::memory_order_relaxed);
  const bool due = before < tools_.checkpoint_bytes && before + bytes >= tools_.checkpoint_bytes;
  const uint64_t now = monotonicNs();
  const bool files = now >= look_at_files_ns_;
  if (files) look_at_files_ns_ = now + kFilesLookNs;
  if (due || files || offset == kPageBytes) tools_.wakeJanitor();
  if (tools_.stage.takeRefused()) tools_.listener.onRoom();  // the delivery journal has room again
}

// Every block of the old segment is synced (K1, level sync) and told (K2): a crash here leaves the chain's
// end there, or at the next block if it makes it to the disk. What lies in a directory or a file that nobody
// can open again is not confirmed: not more than the segment that is being written, and what the janitor
// finds later.
Status Committer::openSegment() {
  segment_ = tools_.pool.openNext();
  MILLRACE_RETURN_IF_ERROR(tools_.directory.checkInPlace());
  const Status in_place = checkNamed(tools_.directory, segmentName(segment_->index), segment_->number);
  if (!in_place.ok() && !in_place.isPassing())
    return in_place;  // a look that was refused is the janitor's to repeat
  next_.segment_sequence = segment_->sequence;
  next_.segment_index = segment_->index;
  next_.offset = kPageBytes;
  return Status();
}

Status Committer::writeWhenPossible(uint64_t offset, Bytes block) {
  for (bool held = false;; held = true) {
    const Status written = segment_->file->write(offset, block);
    if (!written.isPassing() || stop_.load(std::memory_order_acquire) != Stop::kNo) {
      if (held) tools_.stage.setStuck(false);
      if (held) tools_.wakeJanitor();
      return written;
    }
    tools_.stage.setStuck(true);  // K5
    tools_.noteRefusedWrite(written);
    const uint64_t again_ns = monotonicNs() + kWriteAgainNs;
    for (uint64_t now = monotonicNs(); now < again_ns; now = monotonicNs()) {
      if (stop_.load(std::memory_order_acquire) != Stop::kNo || tools_.failure.failed()) break;
      (void)parking_.park(again_ns - now);
    }
    if (tools_.failure.failed()) return tools_.failure.status();
  }
}

Status Committer::writeBlock(const Stage::Batch& batch, uint64_t& offset) {
  BlockHeader header;
  header.segment_sequence = next_.segment_sequence;
  header.commit_sequence = next_.commit_sequence;
  header.epoch = tools_.epoch;
  header.synced_through = synced_through_.load(std::memory_order_relaxed);
  header.body_bytes = static_cast<uint32_t>(batch.body_bytes);
  header.units = batch.units;
  header.previous_crc = next_.chain_crc;
  std::byte* body = batch.block + BlockHeader::kBytes;
  header.body_crc = saltedCrc(tools_.id, {body, batch.body_bytes});
  header.encode(tools_.id, batch.block);
  const size_t bytes = static_cast<size_t>(header.blockBytes());
  std::memset(body + batch.body_bytes, 0, bytes - BlockHeader::kBytes - batch.body_bytes);

  offset = next_.offset;
  // A crash from here to the end of the sync leaves any part of the block. Whole, it is recovered although
  // nobody was told; torn, it is cut off. Nobody was told either way.
  MILLRACE_RETURN_IF_ERROR(writeWhenPossible(offset, {batch.block, bytes}));
  // A kill before this leaves the word of the block before, a power cut any earlier one: all are true (V1).
  MILLRACE_RETURN_IF_ERROR(
      tools_.witness.note({next_.segment_sequence, next_.segment_index, offset + bytes,
                           header.commit_sequence, header.synced_through, header.epoch}));
  if (tools_.sync) {
    const uint64_t start = monotonicNs();
    MILLRACE_RETURN_IF_ERROR(segment_->file->sync());
    counters_.sync_ns.fetch_add(monotonicNs() - start, std::memory_order_relaxed);
    counters_.syncs.fetch_add(1, std::memory_order_relaxed);
    synced_through_.store(next_.commit_sequence, std::memory_order_relaxed);
  }
  next_.offset += bytes;
  ++next_.commit_sequence;
  next_.chain_crc = header.crc;
  next_.epoch = tools_.epoch;
  return Status();
}

void Committer::tell(const Stage::Batch& batch, uint64_t offset) {
  const uint32_t index = segment_->index;
  const uint64_t base = offset + BlockHeader::kBytes;
  const std::function<Ref(size_t)> refOf = [index, base](size_t at) { return makeRef(index, base + at); };
  tools_.listener.onCommitted({batch.block + BlockHeader::kBytes, batch.body_bytes}, refOf);
}

}  // namespace millrace::log
