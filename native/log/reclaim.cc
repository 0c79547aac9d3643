#include "log/reclaim.h"

#include <chrono>
#include <thread>

namespace millrace::log {
namespace {

// Two segments of dead weight are none: the oldest of a backlog, which will be empty soon, and one half
// moved.
constexpr uint64_t kSegmentsToSpare = 2;
constexpr uint64_t kSealedBeforeMoving = 4;

// How many live bytes may be moved into `left`: records do not fill their blocks, nor blocks their segment.
// Where sends leave half of the active segment live, settlements leave room for just that (Stage::keptFrom).
uint64_t movable(uint64_t left) { return left / 3 * 2; }

constexpr auto kPause = std::chrono::milliseconds(1);

}  // namespace

// Worth it when less than two thirds of the log is live, so that the disk stays within one and a half of what
// is live (README.md, Limits). A backlog that is being consumed in order never gets there: its segments empty
// by themselves.
bool Reclaimer::pays() const {
  const SegmentPool::Counts counts = pool_.counts();
  return counts.sealed >= kSealedBeforeMoving &&
         3 * counts.sealed_steps < 2 * (counts.sealed - kSegmentsToSpare) * SegmentPool::kLiveSteps;
}

bool Reclaimer::sealPays() const {
  const int64_t live = pool_.active()->live.load(std::memory_order_relaxed);
  const int64_t used = static_cast<int64_t>(segment_bytes_ - stage_.rest());
  const int64_t gained = used - live - live / 2 - static_cast<int64_t>(segment_bytes_ / 8);
  return gained > 0 && stage_.prepared() > 0;
}

Result<bool> Reclaimer::moveOne(bool sends_refused, const std::function<bool()>& go_on) {
  if (!sends_refused && !pays()) return false;
  const uint64_t most = sends_refused ? movable(stage_.left()) : segment_bytes_;
  Segment* segment = pool_.cheapestToMove(looked_at_, most);
  if (segment == nullptr) return false;
  auto done = moveOut(*segment, go_on);
  if (done.ok() && done.value()) looked_at_.insert(segment->sequence);
  return done;
}

// False: interrupted.
Result<bool> Reclaimer::moveOut(Segment& segment, const std::function<bool()>& go_on) {
  for (uint64_t offset = kPageBytes; offset < segment_bytes_;) {
    const auto block = reader_.read(*segment.file, segment_bytes_, segment.sequence, offset);
    if (block.status().isPassing()) return block.status();
    // Unreadable: it stays where it is, and whoever takes a message of it is told.
    if (!block.ok()) return true;
    if (!block.value()) break;  // its end, or damage: what lies behind stays where it is
    RecordReader records(block.value()->body);
    while (records.next()) {
      if (records.kind() != Kind::kMessage && records.kind() != Kind::kMove) continue;
      const auto message = MessageView::parse(records.record());
      const Ref ref = makeRef(segment.index, offset + BlockHeader::kBytes + records.offset());
      if (!message.ok() || !listener_.isLive(message.value().queue(), message.value().seq(), ref)) continue;
      if (!stageMove(records.record(), go_on)) return false;
    }
    offset += block.value()->header.blockBytes();
  }
  if (stage_.want()) committer_.wake();
  // The segment is empty only when the listener has seen the last move.
  while (go_on() && committer_.committedThrough() < last_unit_) std::this_thread::sleep_for(kPause);
  return true;
}

// False: no room that a move may use, or told to stop.
bool Reclaimer::stageMove(Bytes record, const std::function<bool()>& go_on) {
  for (;;) {
    if (!go_on()) return false;
    std::byte* at = nullptr;
    stage_.lock();
    const StageOutcome outcome = stage_.reserve(record.size(), Claim::kMove, at, last_unit_);
    if (outcome == StageOutcome::kStaged) {
      std::memcpy(at, record.data(), record.size());
      at[MessageLayout::kKind] = static_cast<std::byte>(Kind::kMove);
    }
    if (stage_.unlock()) committer_.wake();
    if (outcome == StageOutcome::kStaged) {
      moved_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    // For a commit it waits, but not for a segment: it is this thread that prepares them.
    if (outcome != StageOutcome::kFull) return false;
    std::this_thread::sleep_for(kPause);  // nobody waits for a move: let the senders go first
  }
}

}  // namespace millrace::log
