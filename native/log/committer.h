// The committer thread: takes what is staged, writes it as one block, syncs it, tells the listener.
//
// Invariants
//  K1 Blocks are written one after the other, each synced (level sync) before the next is written (L2).
//  K2 The listener has seen every block before the pool's delivered position.
//  K3 After a failure nothing is written; onFailed comes once, from this thread.
//  K5 A write that finds no space or memory (a file system that copies on write) is no failure: the block is
//     held and written again to the same place until there is, or the log is closed. Nothing of it was told,
//     and it was never synced, so what a crash leaves of it is a torn tail. Settlements may be in it: it
//     cannot be refused.
//
// Waiting: waking a parked thread on an idle core costs 21-50 us (brief, section 5), half of a commit. So the
// committer looks for work for a short time before it parks, but only while work has lately arrived that
// soon.
#pragma once

#include <atomic>

#include "base/mutex.h"
#include "log/failure.h"
#include "log/journal.h"
#include "log/segment_pool.h"
#include "log/stage.h"
#include "log/witness.h"
#include "os/thread.h"

namespace millrace::log {

// At least so long between two looks at the files of the store (J4).
constexpr uint64_t kFilesLookNs = 1'000'000'000;

// Sleeps until somebody wakes it. A wake before the sleep is not lost.
class Parking {
 public:
  static constexpr uint64_t kForever = UINT64_MAX;
  // One thread. Returns after the next wake(), at once if there was one since the last call, or after
  // `ns_max`: then false.
  bool park(uint64_t ns_max);
  // Any thread; a system call only if the other side sleeps.
  void wake();

 private:
  enum State : uint32_t { kAwake, kParked, kWoken };
  std::atomic<uint32_t> state_{kAwake};
  Mutex mutex_{LockRank::kParking};  // held from kParked until the sleep, so that a wake() in between waits
                                     // for the sleep
  Condition woken_;
};

class Committer {
 public:
  struct Tools {
    os::Directory& directory;
    const StoreId& id;
    bool sync;
    uint64_t epoch;
    Listener& listener;
    Stage& stage;
    SegmentPool& pool;
    Journal& journal;
    Witness& witness;
    Failure& failure;
    std::function<void()> wakeJanitor;
    std::function<void(const Status& why)> noteRefusedWrite;  // for want of space or memory: tried again
    uint64_t checkpoint_bytes;
  };

  Committer(Tools tools, const Position& tail, uint64_t bytes_since_checkpoint);

  Status start();
  // After the stage was closed: commits what is staged, ends and joins the thread.
  void finish();
  // Ends and joins the thread as it is: what is staged is lost, as in a crash.
  void abandon();

  void wake() { parking_.wake(); }
  uint64_t committedThrough() const { return committed_.load(std::memory_order_seq_cst); }  // K4

  // Level process: the janitor has synced every block below `commit_sequence`.
  void setSyncedThrough(uint64_t commit_sequence) {
    synced_through_.store(commit_sequence, std::memory_order_relaxed);
  }

  // Log written since the janitor last asked to count anew.
  uint64_t bytesSinceCheckpoint() const { return bytes_since_checkpoint_.load(std::memory_order_relaxed); }
  void forgetBytes(uint64_t bytes) { bytes_since_checkpoint_.fetch_sub(bytes, std::memory_order_relaxed); }

  struct Counters {
    std::atomic<uint64_t> commits{0}, units{0}, bytes{0}, syncs{0}, sync_ns{0};
  };
  const Counters& counters() const { return counters_; }

 private:
  enum class Stop : uint8_t { kNo, kDrain, kAbandon };
  void run();
  [[nodiscard]] bool awaitWork();  // false: stop
  bool hasReason() const;
  void commit(const Stage::Batch& batch);
  Status openSegment();
  Status writeWhenPossible(uint64_t offset, Bytes block);
  Status writeBlock(const Stage::Batch& batch, uint64_t& offset);
  void tell(const Stage::Batch& batch, uint64_t offset);
  void noteGap(uint64_t gap_ns);
  void reportFailure();
  void join(Stop how);

  Tools tools_;
  Parking parking_;
  os::Thread thread_;
  std::atomic<Stop> stop_{Stop::kNo};
  std::atomic<uint64_t> committed_{0};
  std::atomic<uint64_t> synced_through_;
  std::atomic<uint64_t> bytes_since_checkpoint_;
  Counters counters_;

  // The committer thread's own.
  Position next_;
  Segment* segment_;
  bool failure_reported_ = false;
  uint64_t look_at_files_ns_ = 0;
  uint64_t gap_ns_;  // running mean of how soon work came after the last commit
};

}  // namespace millrace::log
