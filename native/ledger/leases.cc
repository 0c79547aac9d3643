#include "ledger/leases.h"

namespace millrace::ledger {

Leases::Holder* Leases::holder(ConsumerId consumer) {
  const auto found = holders_.find(consumer);
  if (found != holders_.end()) return &found->second;
  const uint32_t ring = allocate();
  if (ring == kNone) return nullptr;
  slab_[ring].consumer = consumer;
  slab_[ring].previous = ring;
  slab_[ring].next = ring;
  return &holders_.emplace(consumer, Holder{ring}).first->second;
}

uint32_t Leases::open(Holder& holder, const Lease& lease) {
  const uint32_t slot = allocate();
  if (slot == kNone) return kNone;
  Lease& head = slab_[holder.ring];
  Lease& mine = slab_[slot];
  const uint32_t generation = mine.generation;
  mine = lease;
  mine.generation = generation;
  mine.ordinal = holder.taken++;
  mine.consumer = head.consumer;
  mine.previous = head.previous;
  mine.next = holder.ring;
  slab_[head.previous].next = slot;
  head.previous = slot;
  ++open_;
  setTimer(slot);
  return slot;
}

void Leases::close(uint32_t slot) {
  const Lease& lease = slab_[slot];
  slab_[lease.previous].next = lease.next;
  slab_[lease.next].previous = lease.previous;
  free(slot);
  --open_;
  if (open_ == 0) deadlines_.clear();
}

void Leases::uncount(ConsumerId consumer) {
  const auto found = holders_.find(consumer);
  if (found != holders_.end() && found->second.taken > 0) --found->second.taken;
}

void Leases::extend(uint32_t slot, uint64_t ends_ms) {
  if (slab_[slot].ends_ms == ends_ms) return;
  slab_[slot].ends_ms = ends_ms;
  ++slab_[slot].generation;
  setTimer(slot);
}

uint32_t Leases::anyOf(ConsumerId consumer) const {
  const auto found = holders_.find(consumer);
  if (found == holders_.end()) return kNone;
  const uint32_t slot = slab_[found->second.ring].next;
  return slot == found->second.ring ? kNone : slot;
}

size_t Leases::countOf(ConsumerId consumer) const {
  const auto found = holders_.find(consumer);
  if (found == holders_.end()) return 0;
  size_t count = 0;
  for (uint32_t slot = slab_[found->second.ring].next; slot != found->second.ring; slot = slab_[slot].next)
    ++count;
  return count;
}

std::vector<ConsumerId> Leases::consumers() const {
  std::vector<ConsumerId> all;
  all.reserve(holders_.size());
  for (const auto& [consumer, holder] : holders_) all.push_back(consumer);
  return all;
}

void Leases::drop(ConsumerId consumer) {
  const auto found = holders_.find(consumer);
  if (found == holders_.end()) return;
  free(found->second.ring);
  holders_.erase(found);
}

uint32_t Leases::popExpired(uint64_t now_ms) {
  Timer timer{};
  const bool due = deadlines_.popDue(now_ms, timer, [this](const Timer& t) { return isLive(t); });
  return due ? static_cast<uint32_t>(timer.key) : kNone;
}

uint64_t Leases::nextEnd() {
  return deadlines_.next([this](const Timer& timer) { return isLive(timer); });
}

uint32_t Leases::allocate() {
  if (free_ != kNone) {
    const uint32_t slot = free_;
    free_ = slab_[slot].next;
    return slot;
  }
  if (slab_.size() >= kSlotsMax) return kNone;
  slab_.push_back(Lease{});
  return static_cast<uint32_t>(slab_.size() - 1);
}

void Leases::free(uint32_t slot) {
  Lease& lease = slab_[slot];
  ++lease.generation;
  lease.next = free_;
  free_ = slot;
}

void Leases::setTimer(uint32_t slot) {
  const Lease& lease = slab_[slot];
  deadlines_.push({lease.ends_ms, slot, lease.generation}, open_,
                  [this](const Timer& timer) { return isLive(timer); });
}

}  // namespace millrace::ledger
