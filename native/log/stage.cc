#include "log/stage.h"

#include <cstring>

#include "base/check.h"

namespace millrace::log {

Stage::Stage(uint64_t segment_bytes, uint64_t rest, const Failure& failure)
    : usable_(segment_bytes - kPageBytes),
      body_max_(static_cast<size_t>(unitBytesMax(segment_bytes))),
      failure_(failure),
      rest_(rest) {
  for (Buffer& buffer : buffers_) {
    const size_t bytes = static_cast<size_t>(segment_bytes / 8);
    buffer.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes)));
    MILLRACE_CHECK(buffer != nullptr);
  }
}

bool Stage::unlock() {
  const bool wake = wake_;
  wake_ = false;
  mutex_.unlock();
  return wake;
}

// What must stay free after a reservation. Sends leave two segments (half of one in a new store, whose next
// segments are still being prepared). Lazy records, without which nothing is handed out, leave three eighths
// of one, settlements a quarter: on a full disk that is for moves, the only way to get a segment back that is
// not quite empty, and each costs less than a quarter of the segment it frees.
//
// Two, because a full disk must not stop those who drain it: what lazy records and settlements fill holds
// nothing live, so it is free again with the next checkpoint, but only once it is sealed, and sealing it
// takes another segment to go on in. With one of them deliveries ended after some thousand commits.
//
// With nothing live there is nothing to drain, but the active segment, used up and empty, needs one more
// block to be sealed and freed: one send may pass (setDrained).
uint64_t Stage::keptFrom(Claim claim) const {
  switch (claim) {
    case Claim::kSend:
      if (disk_full_ && drained_) return usable_ / 2;
      return disk_full_ || was_prepared_ ? kReservedSegments * usable_ : usable_ / 2;
    case Claim::kLazy:
      return usable_ / 8 * 3;
    case Claim::kSettle:
    case Claim::kQuiet:
      return usable_ / 4;
    case Claim::kMove:
      break;
  }
  return disk_full_ ? 0 : usable_ / 2;
}

bool Stage::fits(uint64_t block_bytes, uint64_t keep) const {
  const uint64_t prepared = prepared_ * usable_;
  if (block_bytes <= rest_) return rest_ - block_bytes + prepared >= keep;
  return prepared_ > 0 && prepared - block_bytes >= keep;
}

// Room in the active buffer and on the disk for a unit of `bytes`.
bool Stage::hasRoom(size_t bytes, uint64_t keep) const {
  return bytes <= body_max_ - used_ && fits(alignUp(BlockHeader::kBytes + used_ + bytes, kPageBytes), keep);
}

std::byte* Stage::place(size_t bytes) {
  std::byte* at = buffers_[active_].get() + BlockHeader::kBytes + used_;
  used_ += bytes;
  ++units_;
  return at;
}

StageOutcome Stage::reserve(size_t bytes, Claim claim, std::byte*& at, uint64_t& unit) {
  MILLRACE_CHECK(bytes > 0 && bytes % kRecordAlign == 0 && bytes <= body_max_);
  if (failure_.failed()) return StageOutcome::kFailed;
  if (closed_) return StageOutcome::kClosed;
  const bool room = hasRoom(bytes, keptFrom(claim));
  if (claim == Claim::kMove && room && !overflow_sizes_.empty()) {
    // Moves make the room that the overflow waits for, so they may pass it; without a number of their own.
    at = place(bytes);
    unit = placed_unit_;
    return StageOutcome::kStaged;
  }
  if (!overflow_sizes_.empty() || !room) {
    refuse();
    if (claim != Claim::kSettle && claim != Claim::kQuiet) {
      const bool busy = bytes > body_max_ - used_;  // a commit makes room; otherwise only a segment does
      return disk_full_ && !busy ? StageOutcome::kDiskFull : StageOutcome::kFull;
    }
    overflow_.resize(overflow_.size() + bytes);
    overflow_sizes_.push_back(static_cast<uint32_t>(bytes));
    at = overflow_.data() + overflow_.size() - bytes;
    unit = ++last_unit_;
    return StageOutcome::kStaged;
  }
  at = place(bytes);
  unit = placed_unit_ = ++last_unit_;
  if (claim == Claim::kQuiet) {
    if (!wanted_.load(std::memory_order_relaxed) && !quiet_.load(std::memory_order_relaxed)) {
      quiet_.store(true, std::memory_order_release);  // T5
      wake_ = true;                                   // to sleep with a limit
    }
  } else if (claim == Claim::kSend || claim == Claim::kSettle) {
    hurry();
  }
  if (claim == Claim::kSend) drained_ = false;
  return StageOutcome::kStaged;
}

// Moves what waits to the active buffer, in order. True: something moved.
bool Stage::refill() {
  bool moved = false;
  while (!overflow_sizes_.empty() && hasRoom(overflow_sizes_.front(), keptFrom(Claim::kSettle))) {
    const size_t bytes = overflow_sizes_.front();
    std::memcpy(place(bytes), overflow_.data() + overflow_taken_, bytes);
    ++placed_unit_;
    overflow_taken_ += bytes;
    overflow_sizes_.pop_front();
    moved = true;
  }
  if (overflow_taken_ > overflow_.size() / 2) {
    overflow_.erase(overflow_.begin(), overflow_.begin() + static_cast<ptrdiff_t>(overflow_taken_));
    overflow_taken_ = 0;
  }
  if (moved) wanted_.store(true, std::memory_order_release);  // T5
  return moved;
}

void Stage::refuse() {
  refused_ = true;
  hurry();
}

void Stage::hurry() {
  if (used_ == 0 || wanted_.load(std::memory_order_relaxed)) return;
  wanted_.store(true, std::memory_order_release);  // T5
  wake_ = true;
}

bool Stage::take(Batch& batch) {
  const std::lock_guard guard(mutex_);
  wanted_.store(false, std::memory_order_relaxed);
  if (used_ == 0) (void)refill();
  quiet_.store(false, std::memory_order_relaxed);
  if (used_ == 0) return false;
  wanted_.store(false, std::memory_order_relaxed);
  const uint64_t block_bytes = alignUp(BlockHeader::kBytes + used_, kPageBytes);
  batch.opens_segment = block_bytes > rest_;
  if (batch.opens_segment) {
    MILLRACE_CHECK(prepared_ > 0);  // T2
    --prepared_;
    rest_ = usable_;
  }
  rest_ -= block_bytes;
  batch.block = buffers_[active_].get();
  batch.body_bytes = used_;
  batch.units = units_;
  batch.through = placed_unit_;
  batch.journal_through = journal_through_;
  batch.refused = refused_;
  active_ = 1 - active_;
  used_ = 0;
  units_ = 0;
  refused_ = false;
  (void)refill();
  return true;
}

bool Stage::takeRefused() {
  const std::lock_guard guard(mutex_);
  const bool refused = refused_;
  refused_ = false;
  return refused;
}

bool Stage::overflows() const {
  const std::lock_guard guard(mutex_);
  return !overflow_sizes_.empty();
}

bool Stage::want() {
  const std::lock_guard guard(mutex_);
  if (used_ == 0 || wanted_.load(std::memory_order_relaxed)) return false;
  wanted_.store(true, std::memory_order_release);  // T5
  return true;
}

uint64_t Stage::left() const {
  const std::lock_guard guard(mutex_);
  return rest_ + prepared_ * usable_ - used_;
}

void Stage::close() {
  const std::lock_guard guard(mutex_);
  closed_ = true;
}

bool Stage::addPrepared(uint32_t count) {
  const std::lock_guard guard(mutex_);
  prepared_ += count;
  was_prepared_ = was_prepared_ || prepared_ >= kReservedSegments;
  return refill();
}

uint32_t Stage::prepared() const {
  const std::lock_guard guard(mutex_);
  return prepared_;
}

void Stage::setDrained() {
  const std::lock_guard guard(mutex_);
  drained_ = true;
}

void Stage::setDiskFull(bool full) {
  const std::lock_guard guard(mutex_);
  disk_full_ = full;
}

}  // namespace millrace::log
