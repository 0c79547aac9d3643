#include "ring/ring.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "base/shared_atomic.h"

namespace millrace::ring {
namespace {

// A lost race means that another thread got on; this many in a row happen to nobody but a scribbled ring.
constexpr int kTriesMax = 256;

uint64_t advance(uint64_t position, uint64_t by) { return (position + by) & kPositionMask; }

bool isBehind(uint32_t sequence, uint32_t wanted) { return static_cast<int32_t>(sequence - wanted) < 0; }

void copyIn(std::byte* to, Bytes from) {
  // The caller's bytes may themselves lie in the ring's memory.
  if (!from.empty()) std::memmove(to, from.data(), from.size());
}

}  // namespace

Ring::Ring(MutableBytes memory, Geometry geometry)
    : geometry_(geometry),
      stride_(slotStride(geometry.slot_bytes)),
      memory_(memory.data()),
      lines_(memory.data() + linesStart(reinterpret_cast<uintptr_t>(memory.data()))),
      slots_(lines_ + kSlotsStartAt) {}

Result<uint64_t> Ring::sizeFor(Geometry geometry) {
  if (!isValid(geometry)) {
    return Status(Code::kOutOfRange, "slots must be a power of two from 2 to " + std::to_string(kSlotsMax) +
                                         " and slotBytes from 1 to " + std::to_string(kSlotBytesMax));
  }
  const uint64_t size = memoryBytes(geometry);
  if (size > kMemoryBytesMax) return Status(Code::kOutOfRange, "a ring may take at most 1 GiB");
  return size;
}

Result<Ring> Ring::create(MutableBytes memory, Geometry geometry, uint64_t start) {
  const Result<uint64_t> size = sizeFor(geometry);
  if (!size.ok()) return size.status();
  if (memory.size() < size.value()) return Status(Code::kOutOfRange, "the memory is too small for the ring");
  if (reinterpret_cast<uintptr_t>(memory.data()) % 8 != 0) {
    return Status(Code::kInvalidArgument, "the memory is not aligned");
  }
  Ring ring(memory, geometry);
  start &= kPositionMask;
  storeRelaxed(ring.pushWord(), start);
  storeRelaxed(ring.popPosition(), start);
  storeRelaxed(ring.waiters(Side::kMessages), 0u);
  storeRelaxed(ring.waiters(Side::kSpace), 0u);
  for (uint64_t i = 0; i < geometry.slots; ++i) {
    const uint64_t position = advance(start, i);
    storeRelaxed(ring.wordOf(position), slotWord(static_cast<uint32_t>(position), 0));
  }
  // The buffer reaches other threads by postMessage, which orders all of this before their attach.
  store(memory.data() + kVersionAt, kVersion);
  store(memory.data() + kSlotsAt, geometry.slots);
  store(memory.data() + kSlotBytesAt, geometry.slot_bytes);
  store(memory.data() + kMagicAt, kMagic);
  return ring;
}

Result<Ring> Ring::attach(MutableBytes memory) {
  const Status incompatible(Code::kIncompatible, "the buffer holds no ring of this version");
  if (memory.size() < kDescriptorBytes || reinterpret_cast<uintptr_t>(memory.data()) % 8 != 0) {
    return incompatible;
  }
  if (load<uint64_t>(memory.data() + kMagicAt) != kMagic) return incompatible;
  if (load<uint32_t>(memory.data() + kVersionAt) != kVersion) return incompatible;
  const Geometry geometry{load<uint32_t>(memory.data() + kSlotsAt),
                          load<uint32_t>(memory.data() + kSlotBytesAt)};
  const Result<uint64_t> size = sizeFor(geometry);
  if (!size.ok() || memory.size() < size.value()) return incompatible;
  return Ring(memory, geometry);
}

Ring::Claim Ring::claimFree(uint32_t count) {
  const uint32_t wanted = std::min(count, std::min(kBatchMax, geometry_.slots));
  uint64_t word = loadRelaxed(pushWord());
  for (int tries = 0; tries < kTriesMax; ++tries) {
    if ((word & kClosedBit) != 0) return {.outcome = Outcome::kClosed};
    uint32_t free = 0;
    uint32_t sequence = 0;
    while (free < wanted) {
      const uint64_t position = advance(word, free);
      sequence = sequenceOf(loadAcquire(wordOf(position)));  // E2
      if (sequence != static_cast<uint32_t>(position)) break;
      ++free;
    }
    if (free == 0) {
      if (isBehind(sequence, static_cast<uint32_t>(word))) return {.outcome = Outcome::kFull};
      word = loadRelaxed(pushWord());
      continue;
    }
    const uint64_t position = word;
    // E3: the load of the waiters follows the claim in the one order of seq_cst operations.
    if (casSeqCst(pushWord(), word, advance(position, free))) {
      return {.position = position, .count = free, .waiters = loadSeqCst(waiters(Side::kMessages))};
    }
  }
  return {.outcome = Outcome::kFull};
}

Ring::Claim Ring::claimReady(std::span<uint32_t> lengths, size_t room) {
  const size_t wanted = std::min<size_t>(lengths.size(), std::min(kBatchMax, geometry_.slots));
  uint64_t start = loadRelaxed(popPosition()) & kPositionMask;
  for (int tries = 0; tries < kTriesMax; ++tries) {
    uint32_t ready = 0;
    uint32_t sequence = 0;
    uint32_t sequence_wanted = 0;
    bool fits = true;
    size_t left = room;
    while (ready < wanted) {
      const uint64_t position = advance(start, ready);
      const uint64_t word = loadAcquire(wordOf(position));  // E1
      sequence = sequenceOf(word);
      sequence_wanted = static_cast<uint32_t>(position) + 1;
      if (sequence != sequence_wanted) break;
      const uint32_t length = std::min(lengthOf(word), geometry_.slot_bytes);
      fits = length <= left;
      if (!fits) break;
      left -= length;
      lengths[ready++] = length;
    }
    if (ready == 0 && fits) {
      if (isBehind(sequence, sequence_wanted)) {
        // The position is final once closed, so equality means that nothing is left and nothing can come.
        return {.outcome =
                    loadSeqCst(pushWord()) == (start | kClosedBit) ? Outcome::kClosed : Outcome::kEmpty};
      }
      start = loadRelaxed(popPosition()) & kPositionMask;
      continue;
    }
    uint64_t expected = start;
    if (!fits && ready == 0) {
      // Another consumer may have taken it meanwhile; only then is the answer worth another look.
      expected = loadRelaxed(popPosition()) & kPositionMask;
      if (expected == start) return {.outcome = Outcome::kTooLarge};
      start = expected;
      continue;
    }
    // E4: as E3 in claimFree.
    if (casSeqCst(popPosition(), expected, advance(start, ready))) {
      return {.position = start, .count = ready, .waiters = loadSeqCst(waiters(Side::kSpace))};
    }
    start = expected & kPositionMask;
  }
  return {.outcome = Outcome::kEmpty};
}

Pushed Ring::tryPush(Bytes message) { return tryPushBatch({&message, 1}); }

Pushed Ring::tryPushBatch(std::span<const Bytes> messages) {
  uint32_t sound = 0;
  while (sound < messages.size() && sound < kBatchMax && messages[sound].size() <= geometry_.slot_bytes)
    ++sound;
  if (sound == 0) return {.outcome = messages.empty() ? Outcome::kDone : Outcome::kTooLarge};
  const Claim claim = claimFree(sound);
  for (uint32_t i = 0; i < claim.count; ++i) {
    const uint64_t position = advance(claim.position, i);
    const Bytes message = messages[i];
    copyIn(slot(position) + kSlotHeaderBytes, message);
    // E1 publish
    storeRelease(wordOf(position),
                 slotWord(static_cast<uint32_t>(position) + 1, static_cast<uint32_t>(message.size())));
  }
  return {.outcome = claim.outcome,
          .count = claim.count,
          .wake = claim.count != 0 && wake(Side::kMessages, claim.waiters)};
}

Popped Ring::tryPop(MutableBytes into) {
  uint32_t length = 0;
  return tryPopBatch(into, {&length, 1});
}

Popped Ring::tryPopBatch(MutableBytes into, std::span<uint32_t> lengths) {
  if (lengths.empty()) return {.outcome = Outcome::kDone};
  const Claim claim = claimReady(lengths, into.size());
  size_t at = 0;
  for (uint32_t i = 0; i < claim.count; ++i) {
    const uint64_t position = advance(claim.position, i);
    copyIn(into.data() + at, {slot(position) + kSlotHeaderBytes, lengths[i]});
    at += lengths[i];
    // E2 publish
    storeRelease(wordOf(position), slotWord(static_cast<uint32_t>(position) + geometry_.slots, 0));
  }
  return {.outcome = claim.outcome,
          .count = claim.count,
          .bytes = at,
          .wake = claim.count != 0 && wake(Side::kSpace, claim.waiters)};
}

bool Ring::wake(Side side, uint32_t seen) {
  if ((seen & kWaitingBit) == 0) return false;
  uint32_t expected = seen;
  for (int tries = 0; tries < kTriesMax && expected == seen; ++tries) {
    if (casSeqCst(waiters(side), expected, seen + 1)) return true;
  }
  return false;  // whoever moved the word notifies
}

void Ring::close() {
  fetchOrSeqCst(pushWord(), kClosedBit);  // E5
  release(Side::kMessages);
  release(Side::kSpace);
}

void Ring::release(Side side) { fetchAddSeqCst(waiters(side), 2 * kWaitingBit); }

bool Ring::isClosed() const { return (loadSeqCst(pushWord()) & kClosedBit) != 0; }

bool Ring::isReady(Side side) const {
  const uint64_t word = loadRelaxed(pushWord());
  const uint64_t pop = loadRelaxed(popPosition()) & kPositionMask;
  if ((word & kClosedBit) != 0 && (side == Side::kSpace || word == (pop | kClosedBit))) return true;
  const uint64_t position = side == Side::kMessages ? pop : word;
  const uint32_t wanted = static_cast<uint32_t>(position) + (side == Side::kMessages ? 1 : 0);
  return !isBehind(sequenceOf(loadAcquire(wordOf(position))), wanted);
}

bool Ring::spin(Side side, uint32_t spins, bool yields) const {
  for (uint32_t i = 0; i < spins; ++i) {
    if (isReady(side)) return true;
    spinPause();
  }
  if (yields && !isReady(side)) std::this_thread::yield();
  return isReady(side);
}

Wait Ring::prepareWait(Side side) {
  // E3, E4: announce, then look. Whoever claims after these loads sees the announcement.
  const uint32_t word = fetchOrSeqCst(waiters(side), kWaitingBit) | kWaitingBit;
  const uint64_t pop = loadSeqCst(popPosition()) & kPositionMask;
  const uint64_t push = loadSeqCst(pushWord());
  const uint64_t used = (push - pop) & kPositionMask;
  const bool closed = (push & kClosedBit) != 0;
  const bool sleep = side == Side::kMessages ? used == 0 : used >= geometry_.slots;
  if (sleep && !closed) return {.advice = Wait::Advice::kSleep, .word = word};
  return {.advice = isReady(side) ? Wait::Advice::kRetry : Wait::Advice::kSoon};
}

uint32_t Ring::length() const {
  const uint64_t push = loadSeqCst(pushWord()) & kPositionMask;
  const uint64_t pop = loadSeqCst(popPosition()) & kPositionMask;
  const uint64_t used = (push - pop) & kPositionMask;
  if ((used & (kClosedBit >> 1)) != 0) return 0;  // pops went on between the two loads
  return static_cast<uint32_t>(std::min<uint64_t>(used, geometry_.slots));
}

size_t Ring::waiterWordAt(Side side) const {
  return static_cast<size_t>(reinterpret_cast<std::byte*>(waiters(side)) - memory_);
}

}  // namespace millrace::ring
