#include "log/log.h"

#include <chrono>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/mutex.h"
#include "log/committer.h"
#include "log/identity.h"
#include "log/janitor.h"
#include "log/journal.h"
#include "log/recovery.h"
#include "log/witness.h"

namespace millrace::log {
namespace {

class StoreLog final : public Log {
 public:
  StoreLog(std::unique_ptr<os::Directory> directory, const Options& options, Listener& listener, bool is_new,
           Recovered& recovered, std::unique_ptr<SegmentPool> pool, std::unique_ptr<Journal> journal,
           std::unique_ptr<Witness> witness, Checkpointer checkpointer)
      : directory_(std::move(directory)),
        identity_(recovered.identity),
        active_at_open_(recovered.tail.segment_index),
        pool_(std::move(pool)),
        journal_(std::move(journal)),
        witness_(std::move(witness)),
        stage_(identity_.segment_bytes, identity_.segment_bytes - recovered.tail.offset, is_new, failure_),
        committer_({*directory_, identity_.id, options.sync, recovered.epoch, listener, stage_, *pool_,
                    *journal_, *witness_, failure_, [this] { janitor_.wake(); },
                    [this](const Status& why) { janitor_.noteRefusedWrite(why); }, options.checkpoint_bytes},
                   recovered.tail, recovered.replayed_bytes),
        janitor_({*directory_, identity_.id, identity_.segment_bytes, options, listener, stage_, *pool_,
                  *journal_, *witness_, failure_, committer_},
                 std::move(checkpointer), recovered.tail, recovered.checkpoint.position.commit_sequence) {}

  // Without close(): as a crash, but the threads are gone.
  ~StoreLog() override {
    stage_.close();
    janitor_.hurry();
    committer_.abandon();
    janitor_.finish(false);
  }

  void setPrepared(uint32_t count) { stage_.addPrepared(count); }

  Status start() override {
    MILLRACE_RETURN_IF_ERROR(committer_.start());
    return janitor_.start();
  }

  uint64_t committedThrough() const override { return committer_.committedThrough(); }
  bool failed() const override { return failure_.failed(); }
  uint64_t segmentBytes() const override { return identity_.segment_bytes; }

  bool noteDelivered(const DeliverRecord& delivered) override {
    stage_.lock();
    const bool room = journal_->hasRoom();
    std::byte* at = nullptr;
    uint64_t unit = 0;
    Journal::Claimed claimed;
    bool staged = false;
    if (!room) {
      stage_.refuse();
    } else if (stage_.reserve(DeliverRecord::kRecordBytes, Claim::kLazy, at, unit) == StageOutcome::kStaged) {
      delivered.encode(at);
      claimed = journal_->claim();
      stage_.setJournalThrough(journal_->claimed());
      staged = true;
    }
    unlockStage();
    if (!staged) return false;
    // A kill before this write: the message was not handed out. After it: the count is there.
    const Status written = journal_->write(claimed, delivered);
    if (written.ok()) return true;
    if (written.isPassing()) {
      stage_.lock();
      stage_.refuse();
      unlockStage();
    } else if (failure_.set(written)) {
      committer_.wake();
    }
    return false;
  }

  Status read(Ref ref, MutableBytes out) const override {
    Segment* segment = pool_->find(segmentIndexOf(ref));
    const uint64_t offset = offsetOf(ref);
    if (segment == nullptr || offset < kPageBytes || offset > identity_.segment_bytes ||
        out.size() > identity_.segment_bytes - offset) {
      return Status(Code::kCorrupt, "no record can be there");
    }
    return pool_->read(*segment, offset, out);
  }

  Status checkPlace(Ref ref, uint32_t bytes) const override {
    const Segment* segment = pool_->find(segmentIndexOf(ref));
    const uint64_t offset = offsetOf(ref);
    const uint64_t end = identity_.segment_bytes;
    const bool used = segment != nullptr &&
                      (segment->sealed.load(std::memory_order_relaxed) || segment->index == active_at_open_);
    if (used && bytes >= MessageLayout::kContent && bytes <= unitBytesMax(end) &&
        offset >= kPageBytes + BlockHeader::kBytes && offset <= end && bytes <= end - offset) {
      return Status();
    }
    return corruptAt(segmentName(static_cast<uint32_t>(segmentIndexOf(ref))), offset,
                     "no message can be here, where the checkpoint says that one is");
  }

  // A ref that names no segment is input (a snapshot may hold anything): nothing to count.
  void retain(Ref ref, uint32_t bytes) override {
    Segment* segment = pool_->find(segmentIndexOf(ref));
    if (segment != nullptr) segment->live.fetch_add(bytes, std::memory_order_relaxed);
  }

  void release(Ref ref, uint32_t bytes) override {
    Segment* segment = pool_->find(segmentIndexOf(ref));
    if (segment == nullptr) return;
    // Looked at first: without its last live byte the segment may be gone. One that is sealed only after this
    // look is found by the janitor, which each sealing wakes.
    const bool sealed = segment->sealed.load(std::memory_order_acquire);
    const int64_t before = segment->live.fetch_sub(bytes, std::memory_order_acq_rel);
    const int64_t after = before - bytes;
    // In a shortage the active one may be worth sealing.
    const bool tells = after == 0 || pool_->liveSteps(before) != pool_->liveSteps(after);
    if (sealed ? tells : janitor_.isShort()) janitor_.wake();
  }

  void requestCheckpoint() override { janitor_.requestCheckpoint(); }

  Status close() override {
    const std::lock_guard guard(close_mutex_);
    stage_.close();
    waitForOverflow();
    janitor_.hurry();
    committer_.finish();
    janitor_.finish(true);
    directory_->unlock();  // sessions that still read keep the files open, not the store
    return failure_.status();
  }

  Stats stats() const override {
    const Committer::Counters& counters = committer_.counters();
    const SegmentPool::Counts segments = pool_->counts();
    Stats stats;
    stats.commits = counters.commits.load(std::memory_order_relaxed);
    stats.committed_units = counters.units.load(std::memory_order_relaxed);
    stats.committed_bytes = counters.bytes.load(std::memory_order_relaxed);
    stats.syncs = counters.syncs.load(std::memory_order_relaxed);
    stats.sync_ns_total = counters.sync_ns.load(std::memory_order_relaxed);
    stats.segments = segments.segments;
    stats.segments_free = segments.free;
    stats.disk_bytes = segments.segments * identity_.segment_bytes;
    stats.checkpoints = janitor_.checkpoints();
    stats.moved_messages = janitor_.moved();
    stats.disk_full = janitor_.shortage() == Shortage::kSpace;
    stats.failed = failure_.failed();
    return stats;
  }

  // Settlements that wait for a segment are committed if the janitor can make one. On a full disk, or after
  // ten seconds, they are not: their messages come back, and nobody was told otherwise.
  void waitForOverflow() {
    for (int look = 0; look < 10'000; ++look) {
      if (!stage_.overflows() || failure_.failed() || janitor_.isShort()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 protected:
  void lockStage() override { stage_.lock(); }
  void unlockStage() override {
    if (stage_.unlock()) committer_.wake();
  }
  void hurryStage() override { stage_.hurry(); }
  StageOutcome reserveStage(size_t bytes, Purpose purpose, std::byte*& at, uint64_t& unit) override {
    const Claim claim = purpose == Purpose::kSend     ? Claim::kSend
                        : purpose == Purpose::kSettle ? Claim::kSettle
                        : purpose == Purpose::kQuiet  ? Claim::kQuiet
                                                      : Claim::kLazy;
    const StageOutcome outcome = stage_.reserve(bytes, claim, at, unit);
    // Not for sends, which may ask all the time: they are told when there is room.
    const bool is_short = outcome == StageOutcome::kDiskFull || outcome == StageOutcome::kLimit;
    if (is_short && purpose != Purpose::kSend) janitor_.wake();
    return outcome;
  }

 private:
  const std::unique_ptr<os::Directory> directory_;  // destroyed last
  const Identity identity_;
  const uint32_t active_at_open_;
  Failure failure_;
  const std::unique_ptr<SegmentPool> pool_;
  const std::unique_ptr<Journal> journal_;
  const std::unique_ptr<Witness> witness_;
  Stage stage_;
  Committer committer_;
  Janitor janitor_;
  Mutex close_mutex_{LockRank::kLogEnd};
};

// What recovery accepted is synced.
Word wordOf(const Position& tail) {
  const uint64_t through = tail.commit_sequence - 1;
  return {tail.segment_sequence, tail.segment_index, tail.offset, through, through, tail.epoch};
}

}  // namespace

bool inOneSegment(Ref a, Ref b) { return segmentIndexOf(a) == segmentIndexOf(b); }

std::string placeOf(Ref ref) {
  return placeOf(segmentName(static_cast<uint32_t>(segmentIndexOf(ref))), offsetOf(ref));
}

Result<std::unique_ptr<Log>> Log::open(std::unique_ptr<os::Directory> directory, const Options& options,
                                       Listener& listener, RecoverySink& sink, RecoveryReport& report) {
  report = RecoveryReport();
  report.created = !directory->exists(kStoreName);
  auto identity = report.created ? createStore(*directory, options.segment_bytes) : readIdentity(*directory);
  if (!identity.ok()) return identity.status();
  auto recovered = recover(*directory, identity.value(), sink, report);
  if (!recovered.ok()) return recovered.status();
  auto journal = Journal::open(*directory, identity.value().id, sink);
  if (!journal.ok()) return journal.status();
  auto witness = Witness::open(*directory, identity.value().id, wordOf(recovered.value().tail));
  if (!witness.ok()) return witness.status();
  auto pool = std::make_unique<SegmentPool>(*directory, identity.value().id, identity.value().segment_bytes);
  const auto prepared = pool->adopt(recovered.value());
  if (!prepared.ok()) return prepared.status();
  Checkpointer checkpointer(*directory, identity.value().id, recovered.value().checkpoint.serial,
                            recovered.value().checkpoint_slot);
  MILLRACE_RETURN_IF_ERROR(checkpointer.open());
  auto log =
      std::make_unique<StoreLog>(std::move(directory), options, listener, report.created, recovered.value(),
                                 std::move(pool), journal.take(), witness.take(), std::move(checkpointer));
  log->setPrepared(prepared.value());
  return std::unique_ptr<Log>(std::move(log));
}

}  // namespace millrace::log
