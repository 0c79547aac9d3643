#include "log/janitor.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace millrace::log {
namespace {

constexpr uint64_t kSpareMax = 2;         // free files kept beyond those; more are removed
constexpr uint64_t kWaitingEmptyMax = 2;  // empty segments that are worth a checkpoint of their own
constexpr uint64_t kRetryMsMin = 100;     // in a shortage, doubling
constexpr uint64_t kRetryMsMax = 2'000;

// A look at the files may take no more than a fiftieth of the time: a large backlog has many.
constexpr uint64_t kFilesLookShare = 50;

Shortage shortageOf(const Status& refused) {
  return refused.code() == Code::kDiskFull ? Shortage::kSpace : Shortage::kResources;
}

}  // namespace

Janitor::Janitor(Tools tools, Checkpointer checkpointer, const Position& tail, uint64_t checkpointed_through)
    : tools_(tools),
      checkpointer_(std::move(checkpointer)),
      reclaimer_(tools.id, tools.segment_bytes, tools.listener, tools.stage, tools.pool, tools.committer),
      requested_(tools.journal.hasStaleEntries()),
      retry_ms_(kRetryMsMin),
      unsynced_sequence_(tail.segment_sequence),
      witnessed_sequence_(tail.segment_sequence),
      checkpointed_through_(checkpointed_through) {}

Status Janitor::start() {
  return thread_.start([this] { run(); });
}

void Janitor::wake() {
  {
    const std::lock_guard guard(mutex_);
    if (woken_) return;
    woken_ = true;
  }
  changed_.notifyOne();
}

void Janitor::requestCheckpoint() {
  {
    const std::lock_guard guard(mutex_);
    requested_ = true;
    woken_ = true;
  }
  changed_.notifyOne();
}

void Janitor::noteRefusedWrite(const Status& why) {
  write_refused_.store(shortageOf(why), std::memory_order_relaxed);  // the mutex of wake() orders it
  wake();
}

void Janitor::hurry() { hurry_.store(true, std::memory_order_relaxed); }

void Janitor::finish(bool with_checkpoint) {
  if (!thread_.joinable()) return;
  hurry();
  {
    const std::lock_guard guard(mutex_);
    finishing_ = true;
    last_checkpoint_ = with_checkpoint;
    woken_ = true;
  }
  changed_.notifyOne();
  thread_.join();
}

void Janitor::run() {
  while (waitForWork()) {
    if (mayGoOn()) work();
  }
  if (last_checkpoint_ && !tools_.failure.failed()) checkFiles();
  const bool anything_new = tools_.pool.delivered().commit_sequence != checkpointed_through_;
  if (last_checkpoint_ && anything_new && !tools_.failure.failed()) checkpoint();
}

bool Janitor::waitForWork() {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return woken_; };
  if (isShort() && mayGoOn()) {
    // The only timer, and only in a shortage: nothing tells when somebody else made room.
    may_create_ = !changed_.waitFor(lock, std::chrono::milliseconds(retry_ms_), ready);
    if (may_create_) retry_ms_ = std::min(2 * retry_ms_, kRetryMsMax);
  } else {
    changed_.wait(lock, ready);
    may_create_ = true;
  }
  woken_ = false;
  return !finishing_;
}

bool Janitor::mayGoOn() const { return !hurry_.load(std::memory_order_relaxed) && !tools_.failure.failed(); }

void Janitor::work() {
  lookAtFiles();
  letGo();
  const Shortage held = write_refused_.exchange(Shortage::kNone, std::memory_order_relaxed);
  if (held != Shortage::kNone) {
    setShortage(held);
    tellRoom();  // a full block buffer was to be waited for, and now it is stuck
  }
  if (held == Shortage::kSpace) (void)giveUpPrepared();
  prepareAhead();
  keepWitness();
  do {
    if (mayGoOn() && checkpointDue()) {
      checkpoint();
      reclaimer_.startOver();
    }
    tools_.pool.freeEmpty();
    prepareAhead();
  } while (mayGoOn() && makeRoom());
  // Only now: what a checkpoint gave back may have been enough.
  const Shortage lacking = std::exchange(lacking_, Shortage::kNone);
  if (lacking != Shortage::kNone && lacking != shortage()) {
    setShortage(lacking);
    // To free what is only worth it then; and while there is a segment to give up for the checkpoint's file.
    requestCheckpoint();
  }
  const bool refused = lacking != Shortage::kNone || somethingWaits();
  if (isShort() && !refused && tools_.stage.prepared() >= kPreparedAhead) setShortage(Shortage::kNone);
  dropSpare();
}

bool Janitor::makeRoom() {
  const bool sends_refused = isShort() && tools_.stage.refusesSends();
  const auto moved = reclaimer_.moveOne(sends_refused, [this] { return mayGoOn(); });
  if (!moved.ok()) {
    // Nothing tells when it passes, so it is a shortage, which has a timer.
    if (lacking_ == Shortage::kNone) lacking_ = shortageOf(moved.status());
    return false;
  }
  if (moved.value()) return true;
  // The committer wakes this thread when it has opened the next one.
  if (sends_refused && reclaimer_.sealPays() && tools_.stage.seal()) tools_.committer.wake();
  return false;
}

void Janitor::fail(const Status& status) {
  if (tools_.failure.set(status)) tools_.committer.wake();  // which tells the listener (K3)
}

// J4
void Janitor::lookAtFiles() {
  const uint64_t began = monotonicNs();
  if (began < look_at_files_ns_) return;
  checkFiles();
  look_at_files_ns_ = began + std::max(kFilesLookNs, kFilesLookShare * (monotonicNs() - began));
}

void Janitor::checkFiles() {
  const Status found = findFiles();
  if (!found.ok() && !found.isPassing()) fail(found);
}

Status Janitor::findFiles() {
  MILLRACE_RETURN_IF_ERROR(tools_.directory.checkInPlace());
  MILLRACE_RETURN_IF_ERROR(checkNamed(tools_.directory, kStoreName, std::nullopt));
  MILLRACE_RETURN_IF_ERROR(checkpointer_.checkFiles());
  MILLRACE_RETURN_IF_ERROR(tools_.journal.checkFile(tools_.directory));
  MILLRACE_RETURN_IF_ERROR(tools_.witness.checkFile(tools_.directory));
  return tools_.pool.checkFiles();
}

// Closes what the committer is done with.
void Janitor::letGo() {
  const Status let_go = tools_.pool.letGo();
  if (!let_go.ok()) fail(let_go);
}

void Janitor::prepareAhead() {
  while (mayGoOn() && tools_.stage.prepared() < kPreparedAhead) {
    // A committer that is faster than this loop keeps it going, and seals a segment for each that it
    // prepares.
    letGo();
    if (!prepareOne()) return;
    if (tools_.stage.addPrepared(1)) tools_.committer.wake();
    if (tools_.stage.prepared() >= kPreparedAhead && !somethingWaits()) setShortage(Shortage::kNone);
    tellRoom();
  }
}

bool Janitor::somethingWaits() const {
  return checkpoint_lacks_ != Shortage::kNone || tools_.stage.isStuck();
}

bool Janitor::prepareOne() {
  Status prepared;
  if (Segment* segment = tools_.pool.takeFree()) {
    prepared = tools_.pool.prepare(segment);
    if (!prepared.ok()) tools_.pool.giveBack(segment);
  } else if (may_create_ && checkpoint_lacks_ != Shortage::kSpace && !tools_.stage.isStuck()) {
    prepared = prepareNew();
  } else {
    return false;
  }
  if (prepared.ok()) {
    lacking_ = Shortage::kNone;
    return may_create_ = true;
  }
  if (prepared.isPassing()) {
    may_create_ = false;
    lacking_ = shortageOf(prepared);
  } else if (prepared.code() != Code::kClosed) {
    fail(prepared);
  }
  return false;
}

// A crash anywhere before the header is durable leaves a file that recovery removes.
Status Janitor::prepareNew() {
  auto created = tools_.pool.create();
  if (!created.ok()) return created.status();
  Segment* segment = created.value();
  Status filled = fillWithZeros(*segment->file, 0, tools_.segment_bytes, hurry_);
  if (filled.ok()) filled = tools_.directory.sync();
  if (filled.ok()) filled = tools_.pool.prepare(segment);
  if (!filled.isPassing() && filled.code() != Code::kClosed) return filled;
  MILLRACE_RETURN_IF_ERROR(tools_.pool.remove(segment));  // gives its part back
  return filled;
}

void Janitor::dropSpare() {
  while (mayGoOn() && tools_.pool.counts().free > kPreparedAhead + kSpareMax) {
    Segment* spare = tools_.pool.takeFree();
    if (spare == nullptr) return;
    const Status removed = tools_.pool.remove(spare);
    if (!removed.ok()) fail(removed);
  }
}

void Janitor::setShortage(Shortage shortage) {
  if (shortage == Shortage::kNone) retry_ms_ = kRetryMsMin;
  const Shortage before = shortage_.exchange(shortage, std::memory_order_relaxed);
  tools_.stage.setShortage(shortage);
  // Those who were told kFull would wait for ever: now they are told why.
  if (before == Shortage::kNone) tellRoom();
}

// Senders that were refused may try again.
void Janitor::tellRoom() {
  if (tools_.stage.takeRefused()) tools_.listener.onRoom();
}

bool Janitor::checkpointDue() {
  {
    const std::lock_guard guard(mutex_);
    if (std::exchange(requested_, false)) return true;
  }
  if (checkpoint_lacks_ != Shortage::kNone) return true;
  if (tools_.committer.bytesSinceCheckpoint() >= tools_.options.checkpoint_bytes) return true;
  const uint64_t waiting = tools_.pool.counts().waiting;
  return waiting >= (isShort() || lacking_ != Shortage::kNone ? 1 : kWaitingEmptyMax);
}

void Janitor::checkpoint() {
  const Position from = tools_.pool.delivered();  // J3
  const uint64_t bytes = tools_.committer.bytesSinceCheckpoint();
  std::vector<SegmentEntry> table;
  Status written;
  do {
    written = checkpointer_.write(
        from, [&](SnapshotWriter& writer) { return tools_.listener.writeSnapshot(writer); },
        [&] {
          auto entries = finishCheckpoint(from);
          if (entries.ok()) table = entries.value();
          return entries;
        });
  } while (written.code() == Code::kDiskFull && giveUpPrepared());
  checkpoint_lacks_ = written.isPassing() ? shortageOf(written) : Shortage::kNone;
  if (written.isPassing()) return setShortage(checkpoint_lacks_);
  if (!written.ok()) return fail(written);
  tools_.pool.setDurable(from, table);
  tools_.committer.forgetBytes(bytes);
  checkpointed_through_ = from.commit_sequence;
  checkpoints_.fetch_add(1, std::memory_order_relaxed);
  eraseStaleJournal();
}

// Without a checkpoint nothing comes back: its file grows where a segment lay that nobody needs yet. A crash
// leaves the segment or not; it holds nothing.
bool Janitor::giveUpPrepared() {
  Segment* segment = tools_.pool.takeFree();
  if (segment == nullptr && tools_.stage.takePrepared()) segment = tools_.pool.takeNewestPrepared();
  if (segment == nullptr) return false;
  const Status removed = tools_.pool.remove(segment);
  if (!removed.ok()) fail(removed);
  return removed.ok();
}

// The snapshot may have run ahead of `from`, and the table leaves out what records behind `from` emptied:
// those records must survive whatever this checkpoint survives. At level sync they are synced already.
Result<std::vector<SegmentEntry>> Janitor::finishCheckpoint(const Position& from) {
  std::vector<SegmentEntry> table = tools_.pool.table(from);
  if (!tools_.options.sync) MILLRACE_RETURN_IF_ERROR(syncLog());
  if (tools_.failure.failed()) return tools_.failure.status();
  return table;
}

Status Janitor::syncLog() {
  const Position through = tools_.pool.delivered();
  // Up to the active segment: the listener may have seen a block that `through` does not know of yet.
  for (Segment* segment : tools_.pool.used(unsynced_sequence_)) {
    MILLRACE_RETURN_IF_ERROR(segment->file->sync());
  }
  unsynced_sequence_ = through.segment_sequence;
  tools_.committer.setSyncedThrough(through.commit_sequence - 1);
  return Status();
}

// Once for each segment that was opened: a power cut must not take back all that tells of it.
void Janitor::keepWitness() {
  const Position through = tools_.pool.delivered();
  if (through.segment_sequence == witnessed_sequence_ || through.offset == kPageBytes)
    return;  // no word of it yet
  witnessed_sequence_ = through.segment_sequence;
  const Status synced = tools_.witness.sync();
  if (!synced.ok()) fail(synced);
}

// Their counts are in the snapshot that was just made durable. Kept for longer they could meet another
// message: at level process a power cut takes back sequence numbers.
void Janitor::eraseStaleJournal() {
  if (!tools_.journal.hasStaleEntries()) return;
  for (uint64_t page = 0; page < Journal::kPages; ++page) {
    tools_.stage.lock();
    const Status erased = tools_.journal.eraseStale(page);
    if (tools_.stage.unlock()) tools_.committer.wake();
    if (erased.isPassing()) return;  // with the next checkpoint
    if (!erased.ok()) return fail(erased);
  }
  tools_.journal.forgetStale();
  tellRoom();  // they may have filled it
}

}  // namespace millrace::log
