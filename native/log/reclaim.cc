#include "log/reclaim.h"

#include <chrono>
#include <thread>

namespace millrace::log {
namespace {

constexpr uint64_t kSegmentsBeforeMoving = 4;
// How many live bytes may be moved into `left`: records do not fill their blocks.
uint64_t movable(uint64_t left) { return left / 4 * 3; }

constexpr auto kPause = std::chrono::milliseconds(1);

}  // namespace

// Worth it when most of the log is dead weight: less than half of what its segments could hold is live. A
// backlog that is being consumed in order never gets there: its segments empty by themselves.
bool Reclaimer::pays(bool disk_full) const {
  const SegmentPool::Counts counts = pool_.counts();
  if (disk_full) return counts.in_use > 1;
  return counts.in_use > kSegmentsBeforeMoving &&
         static_cast<uint64_t>(counts.live_bytes) < counts.in_use * segment_bytes_ / 2;
}

Result<bool> Reclaimer::moveOne(bool disk_full, const std::function<bool()>& go_on) {
  if (!pays(disk_full)) return false;
  Segment* segment = disk_full ? pool_.cheapestToMove(looked_at_, movable(stage_.left()))
                               : pool_.oldestWorthMoving(looked_at_);
  if (segment == nullptr) return false;
  auto done = moveOut(*segment, go_on);
  if (done.ok() && done.value()) looked_at_.insert(segment->sequence);
  return done;
}

// False: interrupted.
Result<bool> Reclaimer::moveOut(Segment& segment, const std::function<bool()>& go_on) {
  for (uint64_t offset = kPageBytes; offset < segment_bytes_;) {
    const auto block = reader_.read(*segment.file, segment_bytes_, segment.sequence, offset);
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
    // Waiting for a segment here would be for ever: it is this thread that prepares them.
    if (outcome != StageOutcome::kFull || stage_.prepared() < kPreparedAhead) return false;
    std::this_thread::sleep_for(kPause);  // nobody waits for a move: let the senders go first
  }
}

}  // namespace millrace::log
