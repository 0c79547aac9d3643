// Copies the last live messages out of old segments, so that one slow queue cannot pin the log.
//
// A message that is live at a ref of the chosen segment is staged again as a move record. When that is
// committed, the listener takes the new ref and releases the old one; the segment empties and goes with the
// next checkpoint. A crash anywhere leaves the message at the old ref, the new, or both: the records say the
// same.
//
// Janitor thread only, but for moved().
#pragma once

#include <set>

#include "log/block_reader.h"
#include "log/committer.h"
#include "log/segment_pool.h"
#include "log/stage.h"

namespace millrace::log {

class Reclaimer {
 public:
  Reclaimer(const StoreId& id, uint64_t segment_bytes, Listener& listener, Stage& stage, SegmentPool& pool,
            Committer& committer)
      : listener_(listener),
        stage_(stage),
        pool_(pool),
        committer_(committer),
        reader_(id, segment_bytes),
        segment_bytes_(segment_bytes) {}

  // Moves what is live out of one segment. False: nothing is worth moving now, or there is no room for it.
  // When sends are refused everything is worth it that gives space back. `go_on` is asked before every
  // record. Fails only with what passes (Status::isPassing): the segment has its turn again.
  Result<bool> moveOne(bool sends_refused, const std::function<bool()>& go_on);
  // The active segment is worth emptying too: it holds more dead bytes than sealing it wastes.
  bool sealPays() const;
  // All segments may be looked at again.
  void startOver() { looked_at_.clear(); }

  uint64_t moved() const { return moved_.load(std::memory_order_relaxed); }

 private:
  bool pays() const;
  Result<bool> moveOut(Segment& segment, const std::function<bool()>& go_on);
  [[nodiscard]] bool stageMove(Bytes record, const std::function<bool()>& go_on);

  Listener& listener_;
  Stage& stage_;
  SegmentPool& pool_;
  Committer& committer_;
  BlockReader reader_;
  const uint64_t segment_bytes_;
  std::set<uint64_t> looked_at_;  // sequences of segments that had their turn since the last checkpoint
  uint64_t last_unit_ = 0;
  std::atomic<uint64_t> moved_{0};
};

}  // namespace millrace::log
