// A bounded lock-free queue of messages over memory it does not own. PROTOCOL.md has the algorithm, the
// memory orders (edges E1 to E5) and the proofs.
//
// A Ring is a view: cheap, copyable, one or more per thread, all over the same memory, which must outlive
// them. Every method may be called by any thread and returns in bounded time. Pushes and pops are
// linearizable; FULL and EMPTY may be answered while another thread is between claim and publication.
//
// Invariants
//  R1 No access leaves the memory given at construction, whatever the memory holds.
//  R2 geometry_ and the offsets are private copies, validated once and never read from the memory again.
//  R3 A claim covers only slots seen ready for exactly the claimed positions.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/status.h"
#include "ring/layout.h"

namespace millrace::ring {

enum class Outcome : uint8_t { kDone, kFull, kEmpty, kClosed, kTooLarge };

struct [[nodiscard]] Pushed {
  Outcome outcome = Outcome::kFull;
  uint32_t count = 0;
  bool wake = false;  // the caller owes JavaScript an Atomics.notify of every message waiter
};

struct [[nodiscard]] Popped {
  Outcome outcome = Outcome::kEmpty;
  uint32_t count = 0;  // messages
  uint64_t bytes = 0;  // written to the destination, all messages together
  bool wake = false;   // the caller owes JavaScript an Atomics.notify of every space waiter
};

enum class Side : uint8_t { kMessages, kSpace };  // what somebody waits for

struct Wait {
  enum class Advice : uint8_t {
    kRetry,  // something changed: try again now
    kSoon,   // another thread is in the middle of a call: try again soon, do not sleep
    kSleep   // Atomics.waitAsync on the side's word with `word`
  };
  Advice advice = Advice::kRetry;
  uint32_t word = 0;
};

class Ring {
 public:
  static constexpr uint32_t kBatchMax = 1024;  // slots claimed at once

  // How much memory a ring needs, or kOutOfRange.
  static Result<uint64_t> sizeFor(Geometry geometry);
  // Writes an empty ring. Nobody else may use the memory meanwhile. `start` is the first position: tests
  // begin shortly before a wrap-around.
  static Result<Ring> create(MutableBytes memory, Geometry geometry, uint64_t start = 0);
  // kIncompatible if the memory does not describe a ring that fits in it.
  static Result<Ring> attach(MutableBytes memory);

  Pushed tryPush(Bytes message);
  // Pushes the longest prefix for which there is room; stops before a message that is too large, which is the
  // outcome only if nothing went before it.
  Pushed tryPushBatch(std::span<const Bytes> messages);

  // kTooLarge if the next message does not fit in `into`; it stays in the ring.
  Popped tryPop(MutableBytes into);
  // Pops up to lengths.size() messages, packed one after the other into `into`.
  Popped tryPopBatch(MutableBytes into, std::span<uint32_t> lengths);

  // Refuses later pushes. What is in the ring can still be popped. The caller notifies both sides.
  void close();
  bool isClosed() const;

  // Whether the side becomes ready within `spins` pauses; then gives the core away once, if asked, and looks
  // again: the thread that would make it ready may be waiting for this core.
  bool spin(Side side, uint32_t spins, bool yields = true) const;
  // Announces a sleeper, then looks again (PROTOCOL.md, "Waiting and waking").
  Wait prepareWait(Side side);
  // Moves the side's word on, so that whoever sleeps on an older value wakes by the caller's notify.
  void release(Side side);

  uint32_t slots() const { return geometry_.slots; }
  uint32_t slotBytes() const { return geometry_.slot_bytes; }
  // A lower bound of what is in the ring at some moment of the call; at most slots().
  uint32_t length() const;
  // Offset in the memory of the 32-bit word that Atomics.waitAsync and Atomics.notify use.
  size_t waiterWordAt(Side side) const;

 private:
  struct Claim {
    uint64_t position = 0;
    uint32_t count = 0;  // 0: see outcome
    Outcome outcome = Outcome::kDone;
    uint32_t waiters = 0;
  };

  Ring(MutableBytes memory, Geometry geometry);

  Claim claimFree(uint32_t count);
  Claim claimReady(std::span<uint32_t> lengths, size_t room);
  bool wake(Side side, uint32_t seen);
  bool isReady(Side side) const;

  uint64_t* pushWord() const { return reinterpret_cast<uint64_t*>(lines_ + kPushWordAt); }
  uint64_t* popPosition() const { return reinterpret_cast<uint64_t*>(lines_ + kPopPositionAt); }
  uint32_t* waiters(Side side) const {
    return reinterpret_cast<uint32_t*>(lines_ +
                                       (side == Side::kMessages ? kMessageWaitersAt : kSpaceWaitersAt));
  }
  std::byte* slot(uint64_t position) const {
    return slots_ + static_cast<size_t>((position & (geometry_.slots - 1)) * stride_);
  }
  uint64_t* wordOf(uint64_t position) const { return reinterpret_cast<uint64_t*>(slot(position)); }

  Geometry geometry_;
  uint64_t stride_;
  std::byte* memory_;
  std::byte* lines_;
  std::byte* slots_;
};

}  // namespace millrace::ring
