// Memory for a ring under test, with canaries around it, and verbs to craft its state directly.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/shared_atomic.h"
#include "harness/test.h"
#include "ring/ring.h"

namespace millrace::test {

class RingMemory {
 public:
  // `skew` moves the first byte away from a cache line, as V8 may: a multiple of 8.
  explicit RingMemory(ring::Geometry geometry, uint64_t start = 0, size_t skew = 16)
      : size_(ring::Ring::sizeFor(geometry).value()),
        skew_(skew),
        storage_((size_ + 2 * kGuard + skew) / 8 + 1, kCanary) {
    CHECK(ring::Ring::create(memory(), geometry, start).ok());
  }

  MutableBytes memory() { return {reinterpret_cast<std::byte*>(storage_.data()) + kGuard + skew_, size_}; }
  ring::Ring attach() {
    auto ring = ring::Ring::attach(memory());
    CHECK_OK(ring.status());
    return ring.value();
  }
  std::byte* lines() {
    return memory().data() + ring::linesStart(reinterpret_cast<uintptr_t>(memory().data()));
  }
  uint64_t* word64(size_t line_offset) { return reinterpret_cast<uint64_t*>(lines() + line_offset); }
  uint64_t* slotWord(uint32_t slot, uint32_t slot_bytes) {
    return word64(ring::kSlotsStartAt + slot * ring::slotStride(slot_bytes));
  }
  // Every word of the ring, descriptor included.
  std::span<uint64_t> words() { return {reinterpret_cast<uint64_t*>(memory().data()), size_ / 8}; }

  void checkGuards() {
    const auto* all = reinterpret_cast<const std::byte*>(storage_.data());
    for (size_t i = 0; i < kGuard / 8; ++i) CHECK_EQ(load<uint64_t>(all + i * 8), kCanary);
    CHECK_EQ(storage_.back(), kCanary);
  }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr uint64_t kCanary = 0xc0ffee11c0ffee11;
  size_t size_;
  size_t skew_;
  std::vector<uint64_t> storage_;
};

inline bool push(ring::Ring& ring, std::string_view text) {
  return ring.tryPush(bytesOf(text)).outcome == ring::Outcome::kDone;
}

// "-" for empty, "!" for closed, "<" for too large.
inline std::string pop(ring::Ring& ring, size_t room = ring::kSlotBytesMax) {
  std::vector<std::byte> into(room);
  const ring::Popped popped = ring.tryPop(into);
  if (popped.outcome == ring::Outcome::kEmpty) return "-";
  if (popped.outcome == ring::Outcome::kClosed) return "!";
  if (popped.outcome == ring::Outcome::kTooLarge) return "<";
  return std::string(textOf(Bytes(into).first(static_cast<size_t>(popped.bytes))));
}

// The answers of that many pops, one after the other.
inline std::string popped(ring::Ring& ring, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += pop(ring);
  return all;
}

}  // namespace millrace::test
