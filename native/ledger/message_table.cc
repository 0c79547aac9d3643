#include "ledger/message_table.h"

#include <algorithm>
#include <utility>

#include "ledger/shrink.h"

namespace millrace::ledger {

// Index of the first slot whose number is not below `number`. Call only with front <= number <= back.
//
// Numbers rise by at least one a slot, so counting from the front gives an upper bound and counting from the
// back a lower one. Without gaps both are exact; with one gap one of them is, on either side of it.
size_t MessageTable::lowerBound(uint64_t number) const {
  const size_t end = slots_.size();
  const uint64_t from_front = number - slots_[head_].number;
  const size_t high = from_front < end - head_ ? head_ + static_cast<size_t>(from_front) : end - 1;
  if (slots_[high].number == number) return high;
  const uint64_t from_back = slots_[end - 1].number - number;
  const size_t low = from_back < end - head_ ? end - 1 - static_cast<size_t>(from_back) : head_;
  if (slots_[low].number == number) return low;
  const auto begin = slots_.begin();
  const auto found =
      std::lower_bound(begin + static_cast<ptrdiff_t>(low), begin + static_cast<ptrdiff_t>(high), number,
                       [](const Slot& slot, uint64_t n) { return slot.number < n; });
  return static_cast<size_t>(found - begin);
}

Chunk* MessageTable::search(uint64_t number) const {
  if (slots_.empty() || number < slots_[head_].number || number > slots_.back().number) return nullptr;
  const Slot& slot = slots_[lowerBound(number)];
  if (slot.number != number || slot.chunk == nullptr) return nullptr;
  recent_ = slot.chunk.get();
  return recent_;
}

Place MessageTable::add(Seq seq, Ref ref, uint32_t bytes) {
  const Place place{chunkFor(seq / Chunk::kEntries), static_cast<uint32_t>(seq % Chunk::kEntries)};
  place.chunk->live |= place.bit();
  place.entry().reset(ref, bytes);
  return place;
}

void MessageTable::remove(Place at) {
  at.chunk->live &= ~at.bit();
  if (at.chunk->live == 0) drop(at.chunk->number);
}

Chunk* MessageTable::atOrAfter(uint64_t number) const {
  if (slots_.empty() || number > slots_.back().number) return nullptr;
  const size_t at = number <= slots_[head_].number ? head_ : lowerBound(number);
  return slots_[slots_[at].chunk == nullptr ? pastHoles(at) : at].chunk.get();
}

// The first slot behind the hole at `first` that has a chunk: there is one (T1).
size_t MessageTable::pastHoles(size_t first) const {
  size_t found = first;
  for (; slots_[found].chunk == nullptr; found += slots_[found].skip) ++holes_seen_;
  for (size_t at = first; at != found;) {
    Slot& hole = slots_[at];
    at += hole.skip;
    hole.skip = std::min<size_t>(found - static_cast<size_t>(&hole - slots_.data()), kSkipMax) & kSkipMax;
  }
  return found;
}

Chunk* MessageTable::chunkFor(uint64_t number) {
  if (recent_ != nullptr && recent_->number == number) return recent_;
  if (slots_.empty() || number > slots_.back().number) {
    slots_.push_back(slotFor(number));
    return slots_.back().chunk.get();
  }
  if (number < slots_[head_].number) {
    if (head_ == 0) {
      slots_.insert(slots_.begin(), slotFor(number));
    } else {
      slots_[--head_] = slotFor(number);
    }
    return slots_[head_].chunk.get();
  }
  const size_t at = lowerBound(number);
  if (slots_[at].number == number && slots_[at].chunk != nullptr) return slots_[at].chunk.get();
  // T3: holes before it skip over it no more.
  for (size_t before = at; before > head_ && slots_[before - 1].chunk == nullptr; --before) {
    slots_[before - 1].skip = 1;
  }
  if (slots_[at].number != number) {
    slots_.insert(slots_.begin() + static_cast<ptrdiff_t>(at), slotFor(number));
  } else {
    slots_[at].chunk = makeChunk(number);
    --holes_;
  }
  return slots_[at].chunk.get();
}

MessageTable::Slot MessageTable::slotFor(uint64_t number) {
  return Slot{number & kNumberMax, 1, makeChunk(number)};
}

std::unique_ptr<Chunk> MessageTable::makeChunk(uint64_t number) {
  std::unique_ptr<Chunk> chunk;
  if (spares_.empty()) {
    chunk = std::make_unique_for_overwrite<Chunk>();
  } else {
    chunk = std::move(spares_.back());
    spares_.pop_back();
  }
  chunk->number = number;
  return chunk;
}

void MessageTable::drop(uint64_t number) {
  Slot& slot = slots_[lowerBound(number)];
  if (recent_ == slot.chunk.get()) recent_ = nullptr;
  if (spares_.size() < kSparesMax) {
    spares_.push_back(std::move(slot.chunk));
  } else {
    slot.chunk.reset();
  }
  slot.skip = 1;
  ++holes_;
  trim();
}

void MessageTable::trim() {
  for (; head_ < slots_.size() && slots_[head_].chunk == nullptr; --holes_) ++head_;
  for (; slots_.size() > head_ && slots_.back().chunk == nullptr; --holes_) slots_.pop_back();
  if (slots_.size() == head_) {
    slots_.clear();
    head_ = 0;
    if (slots_.capacity() > 16 * kSweepMin) shrinkToSize(slots_);
    return;
  }
  const bool many_holes = holes_ >= kSweepMin && holes_ > (slots_.size() - head_) / 2;
  const bool long_head = head_ >= kSweepMin && head_ > slots_.size() / 2;
  if (!many_holes && !long_head) return;
  // Used-up slots before head_ are null too, so one sweep takes both away.
  std::erase_if(slots_, [](const Slot& slot) { return slot.chunk == nullptr; });
  head_ = 0;
  holes_ = 0;
  // After a long backlog the index would keep its peak size for ever.
  if (slots_.capacity() > 4 * slots_.size() + 4 * kSweepMin) shrinkToSize(slots_);
}

}  // namespace millrace::ledger
