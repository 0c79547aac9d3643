#include "log/mappings.h"

#include <mutex>

namespace millrace::log {

Status Mappings::read(Segment& segment, uint64_t offset, MutableBytes out) {
  segment.readers.fetch_add(1, std::memory_order_seq_cst);  // M1
  const os::Mapping* mapping = segment.mapping.load(std::memory_order_seq_cst);
  if (mapping == nullptr) {
    const std::lock_guard guard(mutex_);
    const Status mapped = mapLocked(segment);
    if (!mapped.ok()) {
      segment.readers.fetch_sub(1, std::memory_order_release);
      return mapped;
    }
    mapping = segment.mapping.load(std::memory_order_relaxed);
  }
  if (!segment.read_lately.load(std::memory_order_relaxed)) {
    segment.read_lately.store(true, std::memory_order_relaxed);
  }
  const Status copied = mapping->copyOut(offset, out);
  segment.readers.fetch_sub(1, std::memory_order_release);  // M1 pairs with the load in unmapOldestLocked
  return copied;
}

Status Mappings::mapLocked(Segment& segment) {
  if (segment.mapping.load(std::memory_order_relaxed) != nullptr) return Status();
  auto file = directory_.open(segmentName(segment.index));
  if (!file.ok()) return file.status();
  auto mapping = file.value()->map(segment_bytes_);
  if (!mapping.ok()) return mapping.status();
  segment.mapping.store(mapping.take().release(), std::memory_order_seq_cst);
  mapped_.push_front(&segment);
  if (mapped_.size() > kMappedMax) unmapOldestLocked();
  return Status();
}

// The second chance: what was read since the last look goes to the front instead.
void Mappings::unmapOldestLocked() {
  for (size_t looks = 2 * mapped_.size(); looks > 0; --looks) {
    Segment& last = *mapped_.back();
    os::Mapping* mapping = nullptr;
    if (!last.read_lately.exchange(false, std::memory_order_relaxed)) {
      mapping = last.mapping.exchange(nullptr, std::memory_order_seq_cst);
      if (last.readers.load(std::memory_order_seq_cst) == 0) {  // M1
        const std::unique_ptr<os::Mapping> unmapped(mapping);
        mapped_.pop_back();
        return;
      }
      last.mapping.store(mapping, std::memory_order_seq_cst);
    }
    mapped_.splice(mapped_.begin(), mapped_, std::prev(mapped_.end()));
  }
}

void Mappings::forget(Segment& segment) {
  const std::lock_guard guard(mutex_);
  const std::unique_ptr<os::Mapping> unmapped(segment.mapping.exchange(nullptr, std::memory_order_relaxed));
  if (unmapped != nullptr) mapped_.remove(&segment);
}

}  // namespace millrace::log
