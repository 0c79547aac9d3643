#include "log/stage.h"

#include <cstring>
#include <utility>

#include "base/check.h"

namespace millrace::log {

Stage::Stage(uint64_t segment_bytes, uint64_t rest, bool is_new, const Failure& failure)
    : usable_(segment_bytes - kPageBytes),
      body_max_(static_cast<size_t>(unitBytesMax(segment_bytes))),
      failure_(failure),
      rest_(rest),
      young_(is_new) {
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

// What must stay free after a reservation, so that whatever happens next there is a way to get a segment
// back. Only moves may use all of it. It stands on one number: with one segment prepared, at most half of the
// active one is live.
//
//  sends        a segment and a half: half of the active one, and the next. Settlements then go on for ever:
//               they fill the rest of the active one, the next is opened, and what is live in the one just
//               sealed (at most half) is moved behind it, which gives it back with the next checkpoint.
//  settlements  three quarters: half a segment of records takes no more when moved. A block's padding and the
//               end of a segment that is too short for a block cost at most a third of what they hold.
//  lazy ones    an eighth more: nothing is handed out that could not be settled.
//
// Any other segment of which less than three quarters is live is moved out of the way likewise. So sends go
// on once what is live, packed, leaves a segment and a half (README.md, Limits).
uint64_t Stage::keptFrom(Claim claim) const {
  const bool first =
      young_ && prepared_ == 0 && shortage_ == Shortage::kNone;  // the next ones are being prepared
  switch (claim) {
    case Claim::kSend:
      return first ? usable_ / 2 : usable_ / 2 * 3;
    case Claim::kLazy:
      return first ? usable_ / 8 * 3 : usable_ / 8 * 7;
    case Claim::kSettle:
    case Claim::kQuiet:
      return first ? usable_ / 4 : usable_ / 4 * 3;
    case Claim::kMove:
      break;
  }
  return shortage_ == Shortage::kNone ? usable_ / 2 * 3 : 0;
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
  const bool may_wait = claim == Claim::kSettle || claim == Claim::kQuiet;
  const bool room = hasRoom(bytes, keptFrom(claim)) && (!stuck_ || may_wait);
  const bool busy = bytes > body_max_ - used_;  // a commit makes room; otherwise only a segment does
  if (claim == Claim::kMove) {
    if (!room) {
      if (busy) hurry();
      return busy ? StageOutcome::kFull : StageOutcome::kDiskFull;
    }
    at = place(bytes);
    // Moves make the room that the overflow waits for, so they may pass it; without a number of their own.
    unit = overflow_sizes_.empty() ? placed_unit_ = ++last_unit_ : placed_unit_;
    return StageOutcome::kStaged;
  }
  if (!overflow_sizes_.empty() || !room) {
    refuse();
    if (busy) hurry();
    if (!may_wait) {
      if (shortage_ == Shortage::kNone || (busy && !stuck_)) return StageOutcome::kFull;
      return shortage_ == Shortage::kSpace ? StageOutcome::kDiskFull : StageOutcome::kLimit;
    }
    overflow_.resize(overflow_.size() + bytes);
    overflow_sizes_.push_back(static_cast<uint32_t>(bytes));
    at = overflow_.data() + overflow_.size() - bytes;
    unit = ++last_unit_;
    return StageOutcome::kStaged;
  }
  at = place(bytes);
  urgent_ = true;
  unit = placed_unit_ = ++last_unit_;
  if (claim == Claim::kQuiet) {
    if (!wanted_.load(std::memory_order_relaxed) && !quiet_.load(std::memory_order_relaxed)) {
      quiet_.store(true, std::memory_order_release);  // T5
      wake_ = true;                                   // to sleep with a limit
    }
  } else if (claim == Claim::kSend || claim == Claim::kSettle) {
    hurry();
  }
  return StageOutcome::kStaged;
}

// Moves what waits to the active buffer, in order. True: something moved.
bool Stage::refill() {
  bool moved = false;
  while (!overflow_sizes_.empty() && hasRoom(overflow_sizes_.front(), keptFrom(Claim::kSettle))) {
    const size_t bytes = overflow_sizes_.front();
    std::memcpy(place(bytes), overflow_.data() + overflow_taken_, bytes);
    urgent_ = true;
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
  if (urgent_) hurry();  // moves are packed: one in a block would cost a page
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
  const bool sealed = std::exchange(seal_, false) && prepared_ > 0;
  if (used_ == 0 && !sealed) return false;
  wanted_.store(false, std::memory_order_relaxed);
  const uint64_t block_bytes = used_ == 0 ? 0 : alignUp(BlockHeader::kBytes + used_, kPageBytes);
  batch.opens_segment = sealed || block_bytes > rest_;
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
  urgent_ = false;
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
  young_ = young_ && prepared_ < 2;
  return refill();
}

bool Stage::takePrepared() {
  const std::lock_guard guard(mutex_);
  if (prepared_ < 2) return false;
  --prepared_;
  return true;
}

uint32_t Stage::prepared() const {
  const std::lock_guard guard(mutex_);
  return prepared_;
}

bool Stage::refusesSends() const {
  const std::lock_guard guard(mutex_);
  return rest_ + prepared_ * usable_ < keptFrom(Claim::kSend) + used_ + usable_ / 8;
}

bool Stage::seal() {
  const std::lock_guard guard(mutex_);
  if (prepared_ == 0 || rest_ == usable_) return false;
  seal_ = true;
  wanted_.store(true, std::memory_order_release);  // T5
  return true;
}

uint64_t Stage::rest() const {
  const std::lock_guard guard(mutex_);
  return rest_;
}

void Stage::setShortage(Shortage shortage) {
  const std::lock_guard guard(mutex_);
  shortage_ = shortage;
}

bool Stage::isStuck() const {
  const std::lock_guard guard(mutex_);
  return stuck_;
}

void Stage::setStuck(bool stuck) {
  const std::lock_guard guard(mutex_);
  stuck_ = stuck;
}

}  // namespace millrace::log
