// Every segment of the store and what it is for.
//
//   free ──taken by the janitor──► prepared ──opened by the committer──► active ──next one opened──► sealed
//    ▲                                                                                                 │
//    └───────────────────────────────────────────── freed ─────────────────────────────────────────────┘
//
// Owns the segments. One mutex for states and for the two positions that the committer and the janitor share;
// it is never held during I/O and never together with the stage's. Finding a segment needs no lock.
//
// Invariants
//  P1 Prepared segments are filled, synced and headed; their sequences follow the active one's without a gap.
//  P2 A segment leaves kSealed only when it holds nothing live, lies before the durable position and is not
//     in the durable checkpoint's table (FORMAT.md, "Checkpoints").
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "base/mutex.h"
#include "log/checkpoint.h"
#include "log/mappings.h"
#include "log/open_files.h"
#include "log/recovery.h"
#include "log/segment.h"

namespace millrace::log {

class SegmentPool {
 public:
  // `directory` outlives it.
  SegmentPool(os::Directory& directory, const StoreId& id, uint64_t segment_bytes)
      : directory_(directory),
        id_(id),
        segment_bytes_(segment_bytes),
        files_(directory),
        mappings_(directory, segment_bytes) {}

  // Takes over what recovery found, before any thread runs. The number of prepared segments is returned.
  Result<uint32_t> adopt(Recovered& recovered);

  // Any thread, without a lock.
  Segment* find(uint64_t index) const { return index_.find(index); }
  // Any thread; see Mappings.
  Status read(Segment& segment, uint64_t offset, MutableBytes out) {
    return mappings_.read(segment, offset, out);
  }

  // Committer. Seals the active segment and gives the next one.
  Segment* openNext();
  Segment* active() const;
  // Everything before `position` was handed to the listener.
  void setDelivered(const Position& position);

  // Any thread.
  Position delivered() const;
  struct Counts {
    uint64_t segments = 0;
    uint64_t free = 0;          // free or prepared
    uint64_t waiting = 0;       // empty, but not free before the next checkpoint
    uint64_t freeable = 0;      // P2 holds
    uint64_t sealed = 0;        // and not empty
    uint64_t sealed_steps = 0;  // what is live in those, in eighths of a segment, each rounded down
  };
  Counts counts() const;

  // Live bytes of a segment in eighths of it, rounded down: decisions are made of these, so that whoever
  // changes one knows that it is time for another look.
  uint64_t liveSteps(int64_t live_bytes) const {
    return live_bytes <= 0 ? 0 : static_cast<uint64_t>(live_bytes) / (segment_bytes_ / kLiveSteps);
  }
  static constexpr uint64_t kLiveSteps = 8;

  // Janitor.
  Segment* takeFree();               // a free segment, now the janitor's; null if none
  Result<Segment*> create();         // adds an empty file; kLimit when there are too many
  Status prepare(Segment* segment);  // writes its header, syncs, makes it prepared
  Status remove(Segment* segment);   // after takeFree, takeNewestPrepared or create
  // The committer is done with what is sealed: those files may be closed.
  Status letGo();
  // kIo naming the file unless every segment is still the file of its name.
  Status checkFiles() const;
  std::vector<SegmentEntry> table(const Position& from) const;
  void setDurable(const Position& position, const std::vector<SegmentEntry>& table);
  void freeEmpty();  // P2
  // Likewise, after Stage::takePrepared gave it: the committer, which takes one there first and opens it here
  // later, never gets this one, though it may be the last.
  Segment* takeNewestPrepared();
  void giveBack(Segment* segment);  // what takeFree gave: free again
  // The sealed segment of which the least is live, less than three quarters and at most `live_bytes_max`; but
  // for the sequences in `except`.
  Segment* cheapestToMove(const std::set<uint64_t>& except, uint64_t live_bytes_max) const;
  std::vector<Segment*> used(uint64_t from_sequence) const;  // for syncing

 private:
  Segment* add(uint32_t index, uint64_t number, std::unique_ptr<OpenFiles::Lent> file);
  void drop(Segment* segment);
  bool isFreeable(const Segment& segment) const;

  os::Directory& directory_;
  const StoreId id_;
  const uint64_t segment_bytes_;
  OpenFiles files_;  // prepared and active segments are held
  Mappings mappings_;
  SegmentIndex index_;
  mutable Mutex mutex_{LockRank::kSegmentPool};
  std::vector<std::unique_ptr<Segment>> segments_;  // the rest is guarded by mutex_ too
  std::deque<Segment*> prepared_;
  Segment* active_ = nullptr;
  uint64_t last_sequence_ = 0;
  Position delivered_;
  Position durable_;
};

}  // namespace millrace::log
