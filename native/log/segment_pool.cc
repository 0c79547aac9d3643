#include "log/segment_pool.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"

namespace millrace::log {

using Guard = std::lock_guard<Mutex>;

Segment* SegmentPool::add(uint32_t index, uint64_t number, std::unique_ptr<OpenFiles::Lent> file) {
  segments_.push_back(std::make_unique<Segment>(index, number, std::move(file)));
  index_.set(index, segments_.back().get());
  return segments_.back().get();
}

void SegmentPool::drop(Segment* segment) {
  index_.set(segment->index, nullptr);
  mappings_.forget(*segment);
  std::erase_if(segments_, [&](const auto& owned) { return owned.get() == segment; });
}

Result<uint32_t> SegmentPool::adopt(Recovered& recovered) {
  const Guard guard(mutex_);
  bool removed = false;
  delivered_ = recovered.tail;
  durable_ = recovered.checkpoint.position;
  last_sequence_ = recovered.tail.segment_sequence;
  std::vector<Segment*> ahead;
  std::set<uint64_t> named;
  for (const SegmentEntry& entry : recovered.checkpoint_table) named.insert(entry.sequence);
  for (FoundSegment& found : recovered.segments) {
    if (found.bytes != segment_bytes_ || !found.prepared) {
      // Half made when the power went, or rubbish; recovery has checked that it cannot matter. Made anew when
      // one is needed, so that a full disk does not keep a store from opening.
      MILLRACE_RETURN_IF_ERROR(directory_.remove(segmentName(found.index)));
      removed = true;
      continue;
    }
    const std::string name = segmentName(found.index);
    const auto number = directory_.numberOf(name);
    MILLRACE_RETURN_IF_ERROR(number.status());
    if (!number.value()) return Status(Code::kIo, name + " was deleted while the store was being opened");
    Segment* segment = add(found.index, *number.value(), files_.lend(name));
    segment->sequence = found.sequence;
    segment->in_checkpoint = named.count(segment->sequence) != 0;
    if (found.sequence == recovered.tail.segment_sequence) {
      segment->state = SegmentState::kActive;
      active_ = segment;
      MILLRACE_RETURN_IF_ERROR(segment->file->hold());
    } else if (found.sequence > recovered.tail.segment_sequence) {
      ahead.push_back(segment);
    } else if (segment->in_checkpoint || found.sequence >= durable_.segment_sequence) {
      segment->state = SegmentState::kSealed;
      segment->sealed.store(true, std::memory_order_relaxed);
    }
  }
  MILLRACE_CHECK(active_ != nullptr);
  std::sort(ahead.begin(), ahead.end(), [](auto* a, auto* b) { return a->sequence < b->sequence; });
  for (Segment* segment : ahead) {
    if (segment->sequence == last_sequence_ + 1) {
      MILLRACE_RETURN_IF_ERROR(segment->file->hold());
      segment->state = SegmentState::kPrepared;
      prepared_.push_back(segment);
      last_sequence_ = segment->sequence;
      continue;
    }
    // Behind a gap (P1): it holds nothing, and its sequence will be another's.
    MILLRACE_RETURN_IF_ERROR(directory_.remove(segmentName(segment->index)));
    removed = true;
    drop(segment);
  }
  if (removed) MILLRACE_RETURN_IF_ERROR(directory_.sync());
  return static_cast<uint32_t>(prepared_.size());
}

Segment* SegmentPool::openNext() {
  const Guard guard(mutex_);
  MILLRACE_CHECK(!prepared_.empty());
  active_->state = SegmentState::kSealed;
  active_->sealed.store(true, std::memory_order_release);
  active_ = prepared_.front();
  prepared_.pop_front();
  active_->state = SegmentState::kActive;
  return active_;
}

Segment* SegmentPool::active() const {
  const Guard guard(mutex_);
  return active_;
}

void SegmentPool::setDelivered(const Position& position) {
  const Guard guard(mutex_);
  delivered_ = position;
}

Position SegmentPool::delivered() const {
  const Guard guard(mutex_);
  return delivered_;
}

bool SegmentPool::isFreeable(const Segment& segment) const {
  return segment.sequence < durable_.segment_sequence && !segment.in_checkpoint;
}

SegmentPool::Counts SegmentPool::counts() const {
  const Guard guard(mutex_);
  Counts counts;
  for (const auto& segment : segments_) {
    ++counts.segments;
    const int64_t live = segment->live.load(std::memory_order_relaxed);
    const bool empty_sealed = segment->state == SegmentState::kSealed && live == 0;
    if (empty_sealed) ++(isFreeable(*segment) ? counts.freeable : counts.waiting);
    if (segment->state == SegmentState::kFree || segment->state == SegmentState::kPrepared) ++counts.free;
    if (segment->state == SegmentState::kSealed && live != 0) {
      ++counts.sealed;
      counts.sealed_steps += liveSteps(live);
    }
  }
  return counts;
}

Segment* SegmentPool::takeFree() {
  const Guard guard(mutex_);
  for (const auto& segment : segments_) {
    if (segment->state != SegmentState::kFree) continue;
    segment->state = SegmentState::kTaken;
    return segment.get();
  }
  return nullptr;
}

Segment* SegmentPool::takeNewestPrepared() {
  const Guard guard(mutex_);
  MILLRACE_CHECK(!prepared_.empty());
  Segment* segment = prepared_.back();
  prepared_.pop_back();
  segment->state = SegmentState::kTaken;
  last_sequence_ = segment->sequence - 1;  // P1: the next one gets its sequence
  return segment;
}

void SegmentPool::giveBack(Segment* segment) {
  const Guard guard(mutex_);
  segment->state = SegmentState::kFree;
}

Result<Segment*> SegmentPool::create() {
  uint32_t index = 0;
  const auto taken = [&] { return find(index) != nullptr || directory_.exists(segmentName(index)); };
  while (index < kSegmentsMax && taken()) ++index;
  if (index == kSegmentsMax) return Status(Code::kLimit, "65536 segments are in use");
  auto file = directory_.create(segmentName(index));
  if (!file.ok()) return file.status();
  const auto number = file.value()->number();
  if (!number.ok()) {
    MILLRACE_RETURN_IF_ERROR(directory_.remove(segmentName(index)));
    return number.status();
  }
  const Guard guard(mutex_);
  Segment* segment = add(index, number.value(), files_.adopt(segmentName(index), file.take()));
  segment->state = SegmentState::kTaken;
  return segment;
}

Status SegmentPool::prepare(Segment* segment) {
  uint64_t sequence = 0;
  {
    const Guard guard(mutex_);
    sequence = last_sequence_ + 1;
  }
  // A crash before the sync inside leaves the old header (the segment is free again: its sequence is before
  // the checkpoint, or it has none) or the new one (it is prepared). Blocks follow only after the sync.
  MILLRACE_RETURN_IF_ERROR(segment->file->hold());
  MILLRACE_RETURN_IF_ERROR(
      writeSegmentHeader(*segment->file, {segment->index, id_, sequence, segment_bytes_}));
  const Guard guard(mutex_);
  segment->sequence = sequence;
  segment->in_checkpoint = false;
  last_sequence_ = sequence;
  segment->state = SegmentState::kPrepared;
  prepared_.push_back(segment);
  return Status();
}

// A crash before the directory's sync leaves the file: free as before.
Status SegmentPool::remove(Segment* segment) {
  MILLRACE_RETURN_IF_ERROR(directory_.remove(segmentName(segment->index)));
  MILLRACE_RETURN_IF_ERROR(directory_.sync());
  const Guard guard(mutex_);
  drop(segment);
  return Status();
}

Status SegmentPool::letGo() {
  std::vector<Segment*> done;
  {
    const Guard guard(mutex_);
    for (const auto& segment : segments_) {
      const bool is_done = segment->state == SegmentState::kSealed || segment->state == SegmentState::kFree;
      if (is_done && segment->file->isHeld()) done.push_back(segment.get());
    }
  }
  for (Segment* segment : done) MILLRACE_RETURN_IF_ERROR(segment->file->release());
  return Status();
}

Status SegmentPool::checkFiles() const {
  std::vector<Segment*> all;
  {
    const Guard guard(mutex_);
    for (const auto& segment : segments_) all.push_back(segment.get());
  }
  for (Segment* segment : all) {
    MILLRACE_RETURN_IF_ERROR(checkNamed(directory_, segmentName(segment->index), segment->number));
  }
  return Status();
}

std::vector<SegmentEntry> SegmentPool::table(const Position& from) const {
  const Guard guard(mutex_);
  std::vector<SegmentEntry> table;
  for (const auto& segment : segments_) {
    if (segment->state != SegmentState::kActive && segment->state != SegmentState::kSealed) continue;
    const bool live = segment->live.load(std::memory_order_relaxed) != 0;
    if (live || segment->sequence >= from.segment_sequence) {
      table.push_back({segment->index, segment->sequence});
    }
  }
  return table;
}

void SegmentPool::setDurable(const Position& position, const std::vector<SegmentEntry>& table) {
  const Guard guard(mutex_);
  durable_ = position;
  for (const auto& segment : segments_) segment->in_checkpoint = false;
  for (const SegmentEntry& entry : table) index_.find(entry.index)->in_checkpoint = true;
}

void SegmentPool::freeEmpty() {
  const Guard guard(mutex_);
  for (const auto& segment : segments_) {
    if (segment->state == SegmentState::kSealed && segment->live.load(std::memory_order_relaxed) == 0 &&
        isFreeable(*segment)) {
      segment->state = SegmentState::kFree;
      segment->sealed.store(false, std::memory_order_relaxed);
    }
  }
}

// Three quarters: what is moved lies denser than that afterwards, or it would be moved for ever.
Segment* SegmentPool::cheapestToMove(const std::set<uint64_t>& except, uint64_t live_bytes_max) const {
  const Guard guard(mutex_);
  Segment* cheapest = nullptr;
  int64_t least = static_cast<int64_t>(std::min(live_bytes_max, segment_bytes_));
  for (const auto& segment : segments_) {
    const int64_t live = segment->live.load(std::memory_order_relaxed);
    if (segment->state != SegmentState::kSealed || live <= 0 || live > least) continue;
    if (liveSteps(live) >= kLiveSteps / 4 * 3 || except.count(segment->sequence) != 0) continue;
    least = live - 1;
    cheapest = segment.get();
  }
  return cheapest;
}

std::vector<Segment*> SegmentPool::used(uint64_t from_sequence) const {
  const Guard guard(mutex_);
  std::vector<Segment*> used;
  for (const auto& segment : segments_) {
    const bool holds_blocks =
        segment->state == SegmentState::kActive || segment->state == SegmentState::kSealed;
    if (holds_blocks && segment->sequence >= from_sequence) {
      used.push_back(segment.get());
    }
  }
  return used;
}

}  // namespace millrace::log
