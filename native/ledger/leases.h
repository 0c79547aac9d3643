// Who holds which message, since when and until when: a slab of leases with a free list. Each consumer's
// leases form a ring through the slab, so that its death visits only its own; deadlines are timers.
//
// Invariants
//  X1 An open lease is in exactly one ring, that of its consumer, and has a timer with its deadline.
//  X2 The k-th delivery a consumer ever took has ordinal k, from 0; an undone one has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "ledger/ledger.h"
#include "ledger/timer_queue.h"

namespace millrace::ledger {

struct Lease {
  Seq seq = 0;
  uint64_t ends_ms = 0;            // monotonic
  uint64_t ordinal = 0;            // of this delivery among its consumer's
  uint64_t first_delivery_ms = 0;  // wall, of the message
  uint64_t delivered_ms = 0;       // wall, of this delivery
  ConsumerId consumer = 0;
  uint32_t generation = 0;  // of the slot: rises whenever its timer is cancelled
  uint32_t previous = 0;
  uint32_t next = 0;  // in the ring; of a free slot: the next free one
};

class Leases {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Holder {
    uint32_t ring;       // a slot that stands for the consumer and is no lease
    uint64_t taken = 0;  // deliveries it ever took
  };

  // The consumer's record, made at its first take; null when the slab is full. Valid until returned.
  Holder* holder(ConsumerId consumer);
  // kNone when the slab is full (2^28 slots).
  uint32_t open(Holder& holder, const Lease& lease);
  void close(uint32_t slot);
  // The newest delivery to this consumer is to be as if it had not happened. Its lease is closed apart.
  void uncount(ConsumerId consumer);
  void extend(uint32_t slot, uint64_t ends_ms);
  const Lease& at(uint32_t slot) const { return slab_[slot]; }

  // A lease of this consumer, kNone when it has none left.
  uint32_t anyOf(ConsumerId consumer) const;
  size_t countOf(ConsumerId consumer) const;
  std::vector<ConsumerId> consumers() const;
  // The consumer is gone and holds nothing any more.
  void drop(ConsumerId consumer);

  // A lease that has ended by now and is still open; kNone: there is none.
  uint32_t popExpired(uint64_t now_ms);
  uint64_t nextEnd();

 private:
  static constexpr uint32_t kSlotsMax = 1u << 28;

  uint32_t allocate();
  void free(uint32_t slot);
  bool isLive(const Timer& timer) const {
    return slab_[static_cast<size_t>(timer.key)].generation == timer.generation;
  }
  void setTimer(uint32_t slot);

  std::vector<Lease> slab_;
  uint32_t free_ = kNone;
  size_t open_ = 0;
  TimerQueue deadlines_;
  std::unordered_map<ConsumerId, Holder> holders_;
};

}  // namespace millrace::ledger
