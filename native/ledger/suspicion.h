// What is known of a message that was in flight when a process died, and how version 1 of the formats keeps
// it.
//
// Version 1 has no field of its own for this. It has the due time, which says nothing that matters of a
// message that is ready at once: any moment long past means the same as 0. So the moments of the first months
// of 1970 are marks. A reader that does not know them finds a message that is ready, with true counts.
//
//   0                  ready
//   1 ... 2^32         suspect; a process ran that many ms (less one) after it began it and then died
//   2^32+1 ... 2^33    the same, and in its hold when this was written (snapshots only)
//   2^33+1             dying: its letter had not been placed
//   above              a due time
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::ledger {

enum class Suspicion : uint8_t {
  kNone,
  kSuspect,   // waits to be begun alone
  kHeld,      // in its hold: if the process dies, that is a failure of this one
  kOutlived,  // in flight, but its hold is over: if the process dies, it is as if it had been given back
  kDoomed,    // replay only: dying
};

constexpr uint64_t kMarkSpan = uint64_t{1} << 32;
constexpr uint64_t kMarksEnd = 2 * kMarkSpan + 1;

struct Mark {
  Suspicion suspicion = Suspicion::kNone;
  uint32_t ran_ms = 0;
};

constexpr uint64_t dueOfMark(const Mark& mark) {
  switch (mark.suspicion) {
    case Suspicion::kNone:
      return 0;
    case Suspicion::kHeld:
      return kMarkSpan + 1 + mark.ran_ms;
    case Suspicion::kDoomed:
      return kMarksEnd;
    case Suspicion::kSuspect:
    case Suspicion::kOutlived:
      break;
  }
  return uint64_t{1} + mark.ran_ms;
}

constexpr Mark markOfDue(uint64_t due_ms) {
  if (due_ms == 0 || due_ms > kMarksEnd) return {};
  if (due_ms == kMarksEnd) return {Suspicion::kDoomed, 0};
  if (due_ms <= kMarkSpan) return {Suspicion::kSuspect, static_cast<uint32_t>(due_ms - 1)};
  return {Suspicion::kHeld, static_cast<uint32_t>(due_ms - kMarkSpan - 1)};
}

// A due time as it is written. On a machine whose clock is in 1970 a delay does not survive the process.
constexpr uint64_t dueWritten(uint64_t due_ms) { return due_ms <= kMarksEnd ? 0 : due_ms; }

constexpr uint32_t clampMs(uint64_t ms) {
  return static_cast<uint32_t>(std::min<uint64_t>(ms, kMarkSpan - 1));
}

static_assert(markOfDue(dueOfMark({Suspicion::kSuspect, UINT32_MAX})).ran_ms == UINT32_MAX);
static_assert(markOfDue(dueOfMark({Suspicion::kHeld, UINT32_MAX})).suspicion == Suspicion::kHeld);

}  // namespace millrace::ledger
