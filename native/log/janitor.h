// The janitor thread: segments ahead of need, checkpoints, freed space. Everything slow that no commit should
// wait for.
//
// Invariants
//  J1 Three segments stand prepared: one ahead of the committer and the reserve of L7, rounded up.
//  J2 A full disk is met here, while zeros are written (but for K5), and so is a process that has no
//     descriptors or memory to give: both are states and no failures. Whatever is refused is tried again.
//  J3 A checkpoint's position is one where the listener has seen every block before it (K2).
//  J4 The files of the store are looked at every second in which something was committed, and when it is
//     closed: one that somebody deleted, moved or replaced fails the store. A look that is refused for want of
//     memory is repeated.
//  J5 While a block (K5) or a checkpoint is held up the shortage lasts, and with it the timer; no new segment
//     takes the room that they wait for.
#pragma once

#include "base/mutex.h"
#include "log/checkpoint.h"
#include "log/committer.h"
#include "log/reclaim.h"
#include "os/thread.h"

namespace millrace::log {

class Janitor {
 public:
  struct Tools {
    os::Directory& directory;
    const StoreId& id;
    uint64_t segment_bytes;
    Options options;
    Listener& listener;
    Stage& stage;
    SegmentPool& pool;
    Journal& journal;
    Witness& witness;
    Failure& failure;
    Committer& committer;
  };

  Janitor(Tools tools, Checkpointer checkpointer, const Position& tail, uint64_t checkpointed_through);

  Status start();
  // Any thread: look whether there is something to do.
  void wake();
  void requestCheckpoint();
  // Ends what takes long. The committer still runs.
  void hurry();
  // After the committer ended: a last checkpoint if `checkpoint`, then ends and joins the thread.
  void finish(bool checkpoint);

  uint64_t checkpoints() const { return checkpoints_.load(std::memory_order_relaxed); }
  uint64_t moved() const { return reclaimer_.moved(); }
  Shortage shortage() const { return shortage_.load(std::memory_order_relaxed); }
  bool isShort() const { return shortage() != Shortage::kNone; }
  // Committer: it holds a block (K5).
  void noteRefusedWrite(const Status& why);

 private:
  void run();
  [[nodiscard]] bool waitForWork();  // false: finish
  void work();
  bool makeRoom();  // true: look again
  void fail(const Status& status);
  bool mayGoOn() const;
  void letGo();
  void prepareAhead();
  [[nodiscard]] bool prepareOne();  // false: the disk is full, or it failed
  Status prepareNew();
  bool somethingWaits() const;  // J5
  void dropSpare();
  void setShortage(Shortage shortage);
  void lookAtFiles();
  void checkFiles();
  Status findFiles();
  bool checkpointDue();
  void checkpoint();
  bool giveUpPrepared();
  Result<std::vector<SegmentEntry>> finishCheckpoint(const Position& from);
  Status syncLog();
  void eraseStaleJournal();
  void keepWitness();
  void tellRoom();

  Tools tools_;
  Checkpointer checkpointer_;
  Reclaimer reclaimer_;
  os::Thread thread_;

  Mutex mutex_{LockRank::kJanitor};
  Condition changed_;
  bool woken_ = true;  // the four flags are guarded by mutex_
  bool requested_ = false;
  bool finishing_ = false;
  bool last_checkpoint_ = false;
  std::atomic<bool> hurry_{false};
  std::atomic<Shortage> shortage_{Shortage::kNone};
  std::atomic<Shortage> write_refused_{Shortage::kNone};
  std::atomic<uint64_t> checkpoints_{0};

  // The janitor thread's own.
  Shortage checkpoint_lacks_ = Shortage::kNone;  // the last one was refused: tried again with the next look
  uint64_t retry_ms_;
  Shortage lacking_ = Shortage::kNone;  // no segment to be had, unless a checkpoint frees one
  bool may_create_ = true;              // in a shortage: the timer ran out, so a new file may be tried
  uint64_t look_at_files_ns_ = 0;
  uint64_t unsynced_sequence_;     // level process: segments below this are synced
  uint64_t witnessed_sequence_;    // the segment that the synced word names
  uint64_t checkpointed_through_;  // commit sequence of the last checkpoint's position
};

}  // namespace millrace::log
