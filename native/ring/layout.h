// Where things are in a ring's memory (PROTOCOL.md has the tables), and pure accessors. No algorithm here.
//
// The memory is a SharedArrayBuffer: any thread, JavaScript included, may write any byte of it at any time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace millrace::ring {

// Descriptor, at offset 0.
constexpr uint64_t kMagic = 0x474e49524c4c494dull;  // "MILLRING"
constexpr uint32_t kVersion = 1;
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 8;
constexpr size_t kSlotsAt = 12;
constexpr size_t kSlotBytesAt = 16;
constexpr size_t kDescriptorBytes = 64;

// Lines, relative to the first cache line after the descriptor. x86 prefetches lines in pairs.
constexpr size_t kCacheLineBytes = 64;
constexpr size_t kLineStride = 128;
constexpr size_t kPushWordAt = 0;
constexpr size_t kPopPositionAt = kLineStride;
constexpr size_t kMessageWaitersAt = 2 * kLineStride;
constexpr size_t kSpaceWaitersAt = 3 * kLineStride;
constexpr size_t kSlotsStartAt = 4 * kLineStride;

constexpr uint32_t kSlotsMin = 2;  // with one slot, "holds p" and "free for p + 1" are the same sequence
constexpr uint32_t kSlotsMax = 1u << 24;
constexpr uint32_t kSlotBytesMax = 65'536;
constexpr uint64_t kMemoryBytesMax = 1ull << 30;
constexpr size_t kSlotHeaderBytes = 8;

constexpr uint64_t kClosedBit = 1ull << 63;
constexpr uint64_t kPositionMask = kClosedBit - 1;
constexpr uint32_t kWaitingBit = 1;

static_assert(kSlotBytesAt + sizeof(uint32_t) <= kDescriptorBytes);
static_assert(kLineStride % kCacheLineBytes == 0);
static_assert(kSlotsStartAt % kCacheLineBytes == 0);
static_assert(kSlotHeaderBytes == sizeof(uint64_t), "sequence and length are one word");
static_assert(kSlotsMax <= (1u << 30), "sequences of one round must be far apart modulo 2^32");

struct Geometry {
  uint32_t slots = 0;
  uint32_t slot_bytes = 0;
};

constexpr bool isValid(Geometry geometry) {
  return geometry.slots >= kSlotsMin && geometry.slots <= kSlotsMax &&
         (geometry.slots & (geometry.slots - 1)) == 0 && geometry.slot_bytes >= 1 &&
         geometry.slot_bytes <= kSlotBytesMax;
}

constexpr uint64_t slotStride(uint32_t slot_bytes) { return alignUp(kSlotHeaderBytes + slot_bytes, 8); }

constexpr uint64_t linesStart(uintptr_t address) {
  return alignUp(address + kDescriptorBytes, kCacheLineBytes) - address;
}

// Enough for any alignment of the first byte.
constexpr uint64_t memoryBytes(Geometry geometry) {
  return kDescriptorBytes + kCacheLineBytes + kSlotsStartAt +
         geometry.slots * slotStride(geometry.slot_bytes);
}
static_assert(memoryBytes({kSlotsMax, kSlotBytesMax}) > kMemoryBytesMax,
              "no overflow on the way to the limit");

constexpr uint64_t slotWord(uint32_t sequence, uint32_t length) {
  return static_cast<uint64_t>(length) << 32 | sequence;
}
constexpr uint32_t sequenceOf(uint64_t slot_word) { return static_cast<uint32_t>(slot_word); }
constexpr uint32_t lengthOf(uint64_t slot_word) { return static_cast<uint32_t>(slot_word >> 32); }

}  // namespace millrace::ring
