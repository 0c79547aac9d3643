// The rule for suspects: which message killed the process, and which only stood beside it.
//
// What was in flight when a process died is suspect; that alone counts nothing. Suspects are begun one at a
// time in the whole broker, fewest failures first, whatever else runs beside them. The one that was begun
// last is in its *hold*. A death meanwhile is a failure of that one, and of nobody else. The hold ends when
// the suspect is settled or given back, or when its time is over, and the next is begun only once that is
// durable: so a store never shows two in their hold.
//
// The time of a hold is 10 s, or twice the longest time that a process had run between a suspect's begin and
// its own death, as far as the log shows. A death that meets no hold charges nobody, and makes the next hold
// longer: the suspects that have outlived their hold are marked in the log now and then with how long ago
// they were begun.
//
// Begun is what was handed out: the engine does not know yet what of it a handler has seen.
//
// Pure: no clock, no I/O, no threads; the owner serialises calls. Times are monotonic ms.
//
// Invariants
//  H1 At most one hold. It ends by settled(), returned() or cancel() alone: a time that is over only asks for
//     the mark whose record ends it.
//  H2 While a place is offered to a queue, no other queue begins a suspect.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "ledger/ledger.h"

namespace millrace::ledger {

class Suspects {
 public:
  static constexpr uint64_t kHoldMsMin = 10'000;
  // So long a place is kept for the queue whose suspect has the fewest failures, and whose consumer was
  // woken.
  static constexpr uint64_t kOfferMs = 5;
  // After something that a delivery needs was not to be had.
  static constexpr uint64_t kPauseMs = 20;
  static constexpr uint64_t kNever = UINT64_MAX;

  // A record is to be written: this suspect was begun `ran_ms` ago, and its hold is over.
  struct Due {
    uint32_t queue = 0;
    Seq seq = 0;
    uint32_t delivery_count = 0;
    uint32_t ran_ms = 0;
  };

  // What the log shows: so long had a process run, at most, between a suspect's begin and its death.
  void setLongestRun(uint64_t ms) { longest_run_ms_ = ms; }
  uint64_t holdMs() const;

  // May a suspect of this queue begin now?
  bool mayBegin(uint32_t queue, uint64_t now_ms) const;
  // Nobody is in a hold and the place is not kept for anybody.
  bool isFree(uint64_t now_ms) const { return !hold_ && !isOffered(now_ms); }
  bool holds() const { return hold_.has_value(); }
  void offer(uint32_t queue, uint64_t now_ms);

  // mayBegin() was true.
  void begin(uint32_t queue, Seq seq, uint32_t delivery_count, uint64_t now_ms);
  // It was not handed out after all.
  void cancel(uint32_t queue, Seq seq);
  // Nobody begins one, and no place is offered, for a moment.
  void pause(uint64_t now_ms);
  // These messages are gone, durably. True: the hold is over.
  bool settled(uint32_t queue, Seq first, uint64_t count);
  // This delivery ended, or was marked, durably. True: the hold is over.
  bool returned(uint32_t queue, Seq seq, uint32_t delivery_count, uint64_t now_ms);

  // A mark that is due now. Told once.
  std::optional<Due> popDue(uint64_t now_ms);
  // The suspect whose mark was due is not in flight any more.
  void forget(const Due& due);
  // When to look at popDue() or at an offer that nobody took.
  uint64_t nextMs(uint64_t now_ms) const;

 private:
  struct Begun {
    uint32_t queue = 0;
    Seq seq = 0;
    uint32_t delivery_count = 0;
    uint64_t began_ms = 0;
    uint64_t mark_ms = kNever;  // when the next mark is due

    bool is(uint32_t other_queue, Seq other_seq) const { return queue == other_queue && seq == other_seq; }
  };

  static constexpr uint32_t kNobody = UINT32_MAX;
  bool isOffered(uint64_t now_ms) const { return offered_queue_ != 0 && now_ms < offered_until_ms_; }

  uint64_t longest_run_ms_ = 0;
  std::optional<Begun> hold_;
  std::deque<Begun> outlived_;  // begun and not known to be over, the earliest first: that one is marked
  uint32_t offered_queue_ = 0;  // 0: none; kNobody: a pause
  uint64_t offered_until_ms_ = 0;
};

}  // namespace millrace::ledger
