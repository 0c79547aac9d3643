// The write-ahead log of one broker: every queue's records, one order, one sync for all (group commit).
//
//   any thread ── Stage (mutex, two buffers) ──► committer thread ── pwrite + fdatasync ──► onCommitted
//   janitor thread: prepares segments ahead (zero-written, synced, recycled), takes checkpoints, frees and
//   copies forward.
//
// Invariants
//  L1 A unit (what one Stage::Lock::reserve returned) is recovered whole or not at all: it lies in one block.
//  L2 Blocks are written one after the other; at level sync, block n + 1 is not written before n is synced.
//  L3 A durable 4 KiB page is not written again until its segment is recycled (but for recovery's hardening,
//     which writes equal bytes).
//  L4 A segment is freed only when nothing live is in it, nothing pins it, and the durable checkpoint is past
//     its end and does not name it.
//  L5 After the first failed write or sync nothing more is written (kStoreFailed), ever, until reopened.
//  L6 Every record about a message lies after the message's first record, and replaying from a checkpoint's
//     position over its snapshot is idempotent (the snapshot is taken while the log goes on). A move of a
//     message that is not known is ignored: it was settled.
//  L7 Sends leave a segment and a half free. On a full disk settlements and delivery counts go on in them,
//     and take turns in them for ever: what they fill holds little that is live. Three quarters of a segment
//     are for moves, which free segments (Stage::keptFrom has the sums). When all that is used up settlements
//     wait (stage.h, T4).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "log/record.h"
#include "os/file.h"

namespace millrace::log {

struct Options {
  uint64_t segment_bytes = 64ull << 20;      // power of two, 256 KiB to 1 GiB
  bool sync = true;                          // level `sync`; false: level `process` (written, not synced)
  uint64_t checkpoint_bytes = 256ull << 20;  // log written between two checkpoints, at least
};

// "file:offset" of a record.
std::string placeOf(Ref ref);
// Whether retain() and release() count both in one place.
bool inOneSegment(Ref a, Ref b);

// A commit block's body may be at most segment_bytes / 8; so may one unit.
constexpr uint64_t unitBytesMax(uint64_t segment_bytes) { return segment_bytes / 8 - 4096; }

// Where a snapshot comes from.
struct SnapshotSource {
  std::string file;  // it begins at kSnapshotAt of this file
  uint64_t segment_bytes = 0;
};
constexpr uint64_t kSnapshotAt = 4096;

// What to do about damage, for the end of every kCorrupt that a user sees.
constexpr const char* kDamageAdvice =
    "; keep a copy of the whole directory before anything else: there is no repair yet";

// Receives what recovery finds, in order: the snapshot of the checkpoint (if any) in pieces of any size as
// they were written, then every record after it. An error ends it; to kCorrupt of a record the log adds the
// place.
class RecoverySink {
 public:
  virtual ~RecoverySink() = default;
  virtual Status onSnapshot(Bytes piece, bool last, const SnapshotSource& source) = 0;
  virtual Status onRecord(const RecordReader& record, Ref ref) = 0;
  // The entries of the delivery journal, in any order, after all records: a hint that only raises counts.
  // Gives for each whether it told what nothing else did: such an entry is kept until a checkpoint has it.
  virtual std::vector<bool> onJournal(const std::vector<DeliverRecord>& entries) = 0;
};

struct RecoveryReport {
  bool created = false;     // the directory held no store
  uint64_t blocks = 0;      // replayed after the checkpoint
  uint64_t torn_bytes = 0;  // unsynced bytes cut off at the end (0: clean end)
  std::string torn_at;      // "file:offset" of the cut, empty when clean
};

class SnapshotWriter {
 public:
  virtual ~SnapshotWriter() = default;
  virtual Status append(Bytes piece) = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  // Committer thread: these records are now durable at the log's level, in order. `records` stays valid
  // during the call; refOf(offset) gives the ref of the record at that offset.
  virtual void onCommitted(Bytes records, const std::function<Ref(size_t)>& refOf) = 0;
  // Committer thread, after that: committedThrough() has risen to `through`. So whoever learns that a unit is
  // committed finds what it did.
  virtual void onConfirmed(uint64_t through) = 0;
  // Committer or janitor thread: staging that was refused may succeed now, or get another answer (kFull
  // becomes kDiskFull when the janitor meets the full disk). Every kFull is followed by this or by onFailed.
  virtual void onRoom() = 0;
  // Once. Units after `through` will never be durable.
  virtual void onFailed(const Status& status, uint64_t through) = 0;
  // Janitor thread. Is this message still owned by its queue at this very ref?
  virtual bool isLive(uint32_t queue, Seq seq, Ref ref) = 0;
  // Janitor thread. Writes the state of everything committed so far (it may run ahead while writing, see L6).
  virtual Status writeSnapshot(SnapshotWriter& writer) = 0;
};

// So long a quiet unit waits for another one's commit before it gets its own. Where acks follow sends and
// sends follow acks, as between a few senders and their consumers, that halves the number of commits.
constexpr uint64_t kQuietNsMax = 1'000'000;

// kFull: soon (onRoom follows). kDiskFull, kLimit: nobody knows when, for want of space, or of descriptors,
// memory or segments.
enum class StageOutcome : uint8_t { kStaged, kFull, kDiskFull, kLimit, kFailed, kClosed };

// What a unit is for decides whether it may use the reserve (L7) and whether it wakes the committer.
enum class Purpose : uint8_t {
  kSend,    // new messages: refused when the disk is full
  kSettle,  // acks, returns, queue settings, dead letters' settlement: may use the reserve
  kQuiet,  // acks that nobody waits for: as kSettle, but they ride along with the next commit for kQuietNsMax
  kLazy,   // delivery counts: ride along with the next commit
};

struct Stats {
  uint64_t commits = 0;
  uint64_t committed_units = 0;
  uint64_t committed_bytes = 0;  // block bytes written, padding and headers included
  uint64_t syncs = 0;
  uint64_t segments = 0;
  uint64_t segments_free = 0;
  uint64_t checkpoints = 0;
  uint64_t moved_messages = 0;  // copied forward
  uint64_t disk_bytes = 0;
  uint64_t sync_ns_total = 0;
  bool disk_full = false;
  bool failed = false;
};

class Log {
 public:
  // Opens or creates the store in `directory` (already locked by the caller) and replays it into `sink`.
  // Blocks; starts no thread. kCorrupt, kIncompatible, kIo, kDiskFull. `listener` outlives the log.
  static Result<std::unique_ptr<Log>> open(std::unique_ptr<os::Directory> directory, const Options& options,
                                           Listener& listener, RecoverySink& sink, RecoveryReport& report);
  virtual ~Log() = default;

  // Starts the committer and the janitor; kLimit when the system has no thread to give (then it can only be
  // closed). Between open() and start() the owner calls retain() for what is live.
  virtual Status start() = 0;

  // Holds the stage's mutex. Keep it short: reserve, fill, leave.
  class Lock {
   public:
    explicit Lock(Log& log) : log_(log) { log_.lockStage(); }
    ~Lock() { log_.unlockStage(); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    // Space for one unit of `bytes` (a multiple of 8, at most unitBytesMax) to be filled with whole records
    // before the lock is released. Sets `unit` to its number, from 1, rising by one.
    [[nodiscard]] StageOutcome reserve(size_t bytes, Purpose purpose, std::byte*& at, uint64_t& unit) {
      return log_.reserveStage(bytes, purpose, at, unit);
    }
    // Somebody waits for what is staged quietly.
    void hurry() { log_.hurryStage(); }

   private:
    Log& log_;
  };

  // Newest unit that is durable at the log's level and was handed to the listener. Units are durable in
  // order.
  virtual uint64_t committedThrough() const = 0;
  virtual bool failed() const = 0;

  // The store's own segment size: Options::segment_bytes only counts when a store is created. It bounds a
  // unit (unitBytesMax).
  virtual uint64_t segmentBytes() const = 0;

  // Any thread. Records in the delivery journal (written to the kernel before this returns, so that a crash
  // that the delivery causes counts) and stages the same lazily. False: the journal is full until the next
  // commit (one is on its way; onRoom follows) or the store failed; hand nothing out.
  [[nodiscard]] virtual bool noteDelivered(const DeliverRecord& delivered) = 0;

  // After open(), before start(): kCorrupt unless a record of that size can lie at `ref`, in a segment in
  // use.
  virtual Status checkPlace(Ref ref, uint32_t bytes) const = 0;

  // Any thread; copies the record at `ref`, exactly out.size() bytes, after bounds checks. The caller pinned
  // it. kLimit: there is no descriptor or memory for it at the moment.
  virtual Status read(Ref ref, MutableBytes out) const = 0;

  // Live bytes of the segment under `ref`; a segment with any is never freed. Also used as a pin. A message
  // is retained inside onCommitted at the latest, and released only after the record that ended or moved it
  // was committed.
  virtual void retain(Ref ref, uint32_t bytes) = 0;
  virtual void release(Ref ref, uint32_t bytes) = 0;

  // Asks the janitor for a checkpoint now (tests, and close). Does not wait.
  virtual void requestCheckpoint() = 0;

  // Commits what is staged, takes a final checkpoint, stops and joins both threads. Blocks. Returns the
  // failure that the store ended with, if any (one of the final checkpoint comes only here). Later calls of
  // reserve give kClosed. Destroying a log that was not closed ends its threads and writes nothing: as a
  // kill.
  virtual Status close() = 0;

  virtual Stats stats() const = 0;

 protected:
  virtual void lockStage() = 0;
  virtual void unlockStage() = 0;  // wakes the committer if a unit that wants it was staged
  virtual void hurryStage() = 0;
  [[nodiscard]] virtual StageOutcome reserveStage(size_t bytes, Purpose purpose, std::byte*& at,
                                                  uint64_t& unit) = 0;
};

}  // namespace millrace::log
