// Where units wait for their commit: two block buffers under one mutex. One is filled by any thread while the
// committer writes the other.
//
// Invariants
//  T1 A unit lies in one buffer, and so in one block.
//  T2 What is staged always fits on the disk: `rest_` and `prepared_` are exactly what the committer may use,
//     and every reservation is checked against them (L7), so the committer never waits for a segment.
//  T3 Only the committer takes; it takes no second buffer before it is done with the first.
//  T4 A settlement is never refused for lack of room: what does not fit now waits in `overflow_`, with its
//     number, and goes first when there is room. Until then everything else is refused, so numbers stay in
//     order. It is bounded by the messages in flight, because each is settled once.
//
// Waking: `wanted_` says that something waits that asks for a commit, `quiet_` that something waits which
// asks for one after a while. Both are set inside the mutex and read by the committer without it.
#pragma once

#include <atomic>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "log/block.h"
#include "log/failure.h"
#include "log/log.h"

namespace millrace::log {

// How many segments stand prepared when the janitor has caught up: what sends leave free (L7), rounded up,
// and one for the committer.
constexpr uint32_t kPreparedAhead = 3;
static_assert(kPreparedAhead <= kPreparedAheadMax, "recovery takes it for proof (FORMAT.md)");

// What is lacking for a new segment, or for a block: then sends that find no room are told so instead of
// waiting.
enum class Shortage : uint8_t { kNone, kSpace, kResources };  // resources: descriptors, memory, segments

// Who reserves: the callers of the log, or the janitor copying forward (which leaves room for acks).
enum class Claim : uint8_t { kSend, kSettle, kQuiet, kLazy, kMove };

class Stage {
 public:
  // What one block takes. `block` has room for the header in front of the body and for the padding behind.
  struct Batch {
    std::byte* block = nullptr;
    size_t body_bytes = 0;
    uint32_t units = 0;
    uint64_t through = 0;  // the last unit
    uint64_t journal_through =
        0;                       // entries of the delivery journal whose records are in this block or before
    bool opens_segment = false;  // it goes to the next prepared segment
    bool refused = false;        // somebody was refused since the last take
  };

  // `rest` bytes are left in the active segment. In a store that is `new`, sends need not wait until the
  // first segments are prepared.
  Stage(uint64_t segment_bytes, uint64_t rest, bool is_new, const Failure& failure);

  void lock() { mutex_.lock(); }
  // True: the committer should be woken.
  bool unlock();

  // The mutex is held for these.
  [[nodiscard]] StageOutcome reserve(size_t bytes, Claim claim, std::byte*& at, uint64_t& unit);
  void refuse();  // a caller found no room elsewhere: commit what is here, tell when something moved
  void hurry();   // commit what is here
  void setJournalThrough(uint64_t entry) { journal_through_ = entry; }

  // Committer.
  bool wanted() const { return wanted_.load(std::memory_order_acquire); }  // T5 pairs with reserve()
  bool quiet() const { return quiet_.load(std::memory_order_acquire); }    // T5
  [[nodiscard]] bool take(Batch& batch);                                   // false: nothing is staged

  // Any thread.
  bool takeRefused();
  void close();
  bool overflows() const;  // settlements wait for room (T4)

  // Janitor.
  bool want();  // commit whatever is staged; true: wake the committer
  uint64_t left() const;
  // True: the committer should be woken.
  bool addPrepared(uint32_t count);
  bool takePrepared();  // one less; false: the last one is the committer's
  uint32_t prepared() const;
  void setShortage(Shortage shortage);
  // The committer holds a block that it cannot write for now: sends are told so, settlements wait with it.
  void setStuck(bool stuck);
  bool isStuck() const;
  bool refusesSends() const;  // or nearly
  // The next block goes to the next segment, so that this one can be emptied. Wake the committer. False:
  // there is none, or this one holds no block yet (recovery looks for the chain's next block in the segment
  // that follows, and not behind one that was passed over).
  [[nodiscard]] bool seal();
  uint64_t rest() const;  // of the active segment

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  using Buffer = std::unique_ptr<std::byte[], Free>;
  bool fits(uint64_t block_bytes, uint64_t keep) const;
  bool hasRoom(size_t bytes, uint64_t keep) const;
  std::byte* place(size_t bytes);
  bool refill();
  uint64_t keptFrom(Claim claim) const;

  const uint64_t usable_;  // of a segment
  const size_t body_max_;
  const Failure& failure_;
  mutable Mutex mutex_{LockRank::kStage};
  // Full size from the start; pages that were never used cost address space only.
  Buffer buffers_[2];
  size_t active_ = 0;
  size_t used_ = 0;
  uint32_t units_ = 0;
  uint64_t last_unit_ = 0;
  uint64_t placed_unit_ =
      0;  // the last one in the active buffer; behind last_unit_ while overflow_ holds some
  std::vector<std::byte> overflow_;
  std::deque<uint32_t> overflow_sizes_;
  size_t overflow_taken_ = 0;  // bytes of overflow_ that were placed already
  uint64_t journal_through_ = 0;
  uint64_t rest_;
  uint32_t prepared_ = 0;
  bool young_;  // new, and never more than one segment prepared
  Shortage shortage_ = Shortage::kNone;
  bool stuck_ = false;
  bool seal_ = false;
  bool urgent_ = false;  // the active buffer holds more than moves
  bool closed_ = false;
  bool refused_ = false;
  bool wake_ = false;  // set by reserve, taken by unlock
  std::atomic<bool> wanted_{false};
  std::atomic<bool> quiet_{false};
};

}  // namespace millrace::log
