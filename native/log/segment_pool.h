// Every segment of the store and what it is for.
//
//   free ──taken by the janitor──► prepared ──opened by the committer──► active ──next one opened──► sealed
//   ──freed──► free
//
// Owns the segments. One mutex for states and for the two positions that the committer and the janitor share;
// it is never held during I/O and never together with the stage's. Finding a segment needs no lock.
//
// Invariants
//  P1 Prepared segments are filled, synced and headed; their sequences follow the active one's without a gap.
//  P2 A segment leaves kSealed only when it holds nothing live, lies before the durable position and is not
//  in
//     the durable checkpoint's table (FORMAT.md, "Checkpoints").
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "log/checkpoint.h"
#include "log/recovery.h"
#include "log/segment.h"

namespace millrace::log {

class SegmentPool {
 public:
  explicit SegmentPool(const StoreId& id, uint64_t segment_bytes) : id_(id), segment_bytes_(segment_bytes) {}

  // Takes over what recovery found, before any thread runs. The number of prepared segments is returned.
  Result<uint32_t> adopt(os::Directory& directory, Recovered& recovered);

  // Any thread, without a lock.
  Segment* find(uint64_t index) const { return index_.find(index); }

  // Committer. Seals the active segment and gives the next one.
  Segment* openNext();
  Segment* active() const;
  // Everything before `position` was handed to the listener.
  void setDelivered(const Position& position);

  // Any thread.
  Position delivered() const;
  struct Counts {
    uint64_t segments = 0;
    uint64_t free = 0;      // free or prepared
    uint64_t in_use = 0;    // active, or sealed and not empty
    uint64_t waiting = 0;   // empty, but not free before the next checkpoint
    uint64_t freeable = 0;  // P2 holds
    int64_t live_bytes = 0;
  };
  Counts counts() const;

  // Janitor.
  Segment* takeFree();                                // a free segment, now the janitor's; null if none
  Result<Segment*> create(os::Directory& directory);  // adds an empty file; kLimit when there are too many
  Status prepare(Segment* segment);                   // writes its header, syncs, makes it prepared
  Status remove(os::Directory& directory, Segment* segment);  // after takeFree or create
  std::vector<SegmentEntry> table(const Position& from) const;
  void setDurable(const Position& position, const std::vector<SegmentEntry>& table);
  void freeEmpty();  // P2
  // Sealed segments of which less than a quarter is live, but for the sequences in `except`.
  Segment* oldestWorthMoving(const std::set<uint64_t>& except) const;
  Segment* cheapestToMove(const std::set<uint64_t>& except, uint64_t live_bytes_max) const;
  std::vector<Segment*> used(uint64_t from_sequence) const;  // for syncing

 private:
  Segment* add(uint32_t index, std::unique_ptr<os::File> file, std::unique_ptr<os::Mapping> mapping);
  bool isFreeable(const Segment& segment) const;
  uint64_t bytesToMove(const Segment& segment) const;  // 0: not worth it

  const StoreId id_;
  const uint64_t segment_bytes_;
  SegmentIndex index_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Segment>> segments_;  // the rest is guarded by mutex_ too
  std::deque<Segment*> prepared_;
  Segment* active_ = nullptr;
  uint64_t last_sequence_ = 0;
  Position delivered_;
  Position durable_;
};

}  // namespace millrace::log
