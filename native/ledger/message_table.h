// The messages of one queue by seq, in dense chunks of 64: a message costs its 16-byte entry and under a byte
// of index, and finding one costs arithmetic, not hashing.
//
// A chunk lives while it holds a message. The index lists chunks by rising number (seq / 64); numbers that
// hold nothing are not in it, so a gap in the seqs costs nothing, however wide, and a straggler costs one
// chunk. Appending at the end and removing at the front are O(1); removing in the middle leaves a hole that
// is swept when holes outnumber chunks. Until then a look past holes leaves in each of them how far the next
// chunk is (path compression, as in union-find: Tarjan 1975), so that looks cost O(log n) however many there
// are and wherever: a file may settle the same range a million times. Inserting in the middle moves the index
// behind it: only a replay does so, close to the end.
//
// Owned by one ledger, which serialises calls. Chunks never move; a Place is valid until its message is
// removed.
//
// Invariants
//  T1 slots_[head_...] rises strictly by number; its first and last are not holes.
//  T2 An indexed chunk holds at least one message once the call that made it has returned.
//  T3 Between a hole and the slot that it skips to there are only holes.
//  T4 `fresh` and `again` of a chunk are disjoint parts of `live`; the ready order alone writes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ledger/ledger.h"

namespace millrace::ledger {

enum class MessageState : uint8_t { kReady, kDelayed, kSuspect, kInFlight, kSettling, kDying };

constexpr Ref kRefMask = (Ref{1} << 48) - 1;

// Trivial on purpose: a new chunk leaves its entries unwritten until a message comes.
class Entry {
 public:
  void reset(Ref ref, uint32_t bytes) {
    ref_ = ref & kRefMask;
    deliveries_ = 0;
    bytes_ = bytes;
    lease_ = 0;
    remembered_ = 0;
    state_ = 0;
  }
  Ref ref() const { return ref_; }
  void setRef(Ref ref) { ref_ = ref & kRefMask; }
  // The lower half of the delivery count; the upper one is in the history (State::deliveries).
  uint32_t deliveriesLow() const { return deliveries_; }
  void setDeliveriesLow(uint32_t deliveries) { deliveries_ = deliveries & 0xFFFFu; }
  uint32_t bytes() const { return bytes_; }
  MessageState state() const { return static_cast<MessageState>(state_); }
  void setState(MessageState state) { state_ = static_cast<uint32_t>(state) & 7u; }
  // Has a line in the history.
  bool remembered() const { return remembered_ != 0; }
  void setRemembered() { remembered_ = 1; }
  // In flight: the slot of its lease. Otherwise, during a replay: 1 if it was delivered and no return of it
  // was met since.
  uint32_t lease() const { return lease_; }
  void setLease(uint32_t slot) { lease_ = slot & 0xFFF'FFFFu; }
  bool unreturned() const { return lease_ != 0; }
  void setUnreturned(bool unreturned) { lease_ = unreturned ? 1 : 0; }

 private:
  uint64_t ref_ : 48;
  uint64_t deliveries_ : 16;
  uint32_t bytes_;
  uint32_t lease_ : 28;
  uint32_t remembered_ : 1;
  uint32_t state_ : 3;
};
static_assert(sizeof(Entry) == 16, "a backlog of millions is made of these");

struct Chunk {
  static constexpr uint32_t kEntries = 64;

  uint64_t number;
  uint64_t live = 0;   // bit i: entries[i] holds a message
  uint64_t fresh = 0;  // ready, never delivered
  uint64_t again = 0;  // ready, delivered before
  std::array<Entry, kEntries> entries;

  Seq seqOf(uint32_t index) const { return number * kEntries + index; }
};

struct Place {
  Chunk* chunk = nullptr;
  uint32_t index = 0;

  explicit operator bool() const { return chunk != nullptr; }
  Entry& entry() const { return chunk->entries[index]; }
  uint64_t bit() const { return uint64_t{1} << index; }
  Seq seq() const { return chunk->seqOf(index); }
};

class MessageTable {
 public:
  Place find(Seq seq) const {
    const uint64_t number = seq / Chunk::kEntries;
    const auto index = static_cast<uint32_t>(seq % Chunk::kEntries);
    Chunk* chunk = recent_ != nullptr && recent_->number == number ? recent_ : search(number);
    return chunk != nullptr && (chunk->live >> index & 1) != 0 ? Place{chunk, index} : Place{};
  }
  // Makes room for a message that is not in the table; its entry is reset.
  Place add(Seq seq, Ref ref, uint32_t bytes);
  void remove(Place at);
  // First chunk whose number is not below this; null when there is none.
  Chunk* atOrAfter(uint64_t number) const;
  Chunk* last() const { return slots_.empty() ? nullptr : slots_.back().chunk.get(); }
  bool empty() const { return slots_.empty(); }
  // How many holes atOrAfter() has looked at, for tests that measure work in steps.
  uint64_t holesSeen() const { return holes_seen_; }

 private:
  struct Slot {
    uint64_t number : 48;          // of seqs up to 2^53
    uint64_t skip : 16;            // in a hole: so many slots on, or more, is the next chunk
    std::unique_ptr<Chunk> chunk;  // null: a hole
  };
  static constexpr uint64_t kNumberMax = (uint64_t{1} << 48) - 1;
  static constexpr size_t kSkipMax = 65'535;
  static constexpr size_t kSparesMax = 16;
  static constexpr size_t kSweepMin = 64;

  size_t lowerBound(uint64_t number) const;
  Chunk* search(uint64_t number) const;
  Chunk* chunkFor(uint64_t number);
  Slot slotFor(uint64_t number);
  std::unique_ptr<Chunk> makeChunk(uint64_t number);
  void drop(uint64_t number);
  size_t pastHoles(size_t at) const;
  void trim();

  mutable std::vector<Slot> slots_;  // `skip` is learnt by looking
  size_t head_ = 0;                  // slots before it are used up
  size_t holes_ = 0;                 // from head_ on
  // Where the last search ended: batches stay in one chunk for most of their messages.
  mutable Chunk* recent_ = nullptr;
  mutable uint64_t holes_seen_ = 0;
  std::vector<std::unique_ptr<Chunk>> spares_;
};

}  // namespace millrace::ledger
