// The state machine of one queue: what is ready, delayed, in flight and dead, and in which order it goes out.
//
//   enqueue ─► READY ──take──► IN_FLIGHT ──ack──────────────► SETTLING ─forget─► gone
//                ▲  ▲              │ ├─nack/expiry/death──► READY, or DELAYED (due later), or DYING
//                │  └──tick── DELAYED└─reject─────────────► DYING (the engine writes the dead letter)
//                ─forget─► gone └────release──────┘
//   SUSPECT (G6) ──takeSuspect──► IN_FLIGHT
//
// Pure: no I/O, no clock, no threads; times and events are arguments, decisions are results. The owner
// serialises calls. Memory: at most 24 bytes for a message that is ready (plus leases for those in flight).
//
// Invariants
//  G1 A message is in exactly one state; counts() adds up.
//  G2 First deliveries follow seq; what became ready again goes ahead of everything never delivered, lowest
//     seq first.
//  G3 A lease is (seq, delivery count, consumer); any other answer is kLeaseLost and changes nothing.
//  G4 The delivery count only rises. Deliveries that were no failures (release, prefetched at death, in flight
//     at a crash that was not theirs) are uncounted: a message is dead when one of them failed and
//     deliveries - uncounted has reached max_deliveries by then.
//  G5 SETTLING and DYING messages are still saved as live: they leave with forget(), after their record is
//     durable.
//  G6 A message that a process had in flight when it crashed is suspect: take() passes it over, and
//     takeSuspect() gives it out when its owner says so (suspects.h). It is suspect until it was settled or
//     failed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace millrace::ledger {

using Seq = uint64_t;
using Ref = uint64_t;         // 48 bits, opaque: where the message lies
using ConsumerId = uint32_t;  // never reused inside one engine

// Seqs go from 1 to this; a message with another one is ignored.
constexpr Seq kSeqMax = 1ull << 53;  // a seq travels through JavaScript as a number
// Here the delivery count ends, as the fields on disk do. It stops; failures still add up, and nothing dies
// of it. A late answer to an earlier one of the deliveries that share it is then taken for the last.
constexpr uint32_t kDeliveriesMax = UINT32_MAX;

struct Now {
  uint64_t monotonic_ms;
  uint64_t wall_ms;
};

struct Limits {
  uint32_t max_deliveries = 5;                      // 0: no limit
  uint64_t visibility_timeout_ms = 30 * 60 * 1000;  // a lease ends after this unless extended
};

struct Delivery {
  Seq seq;
  Ref ref;
  uint32_t bytes;
  uint32_t delivery_count;
  bool was_suspect = false;  // given out by takeSuspect(): for untake()
};

struct Dead {
  Seq seq;
  Ref ref;
  uint32_t bytes;
  uint32_t deliveries;
  uint64_t first_delivery_ms;  // wall; 0: not known (delivered by a process that crashed)
  uint64_t last_delivery_ms;   // wall; 0: not known
};

// What a message that went back needs on disk (a ReturnRecord's fields).
struct Returned {
  Seq seq;
  uint32_t deliveries;
  uint32_t uncounted;
  uint64_t due_ms;  // wall; 0: ready now; or a mark (suspicion.h)
  uint64_t first_delivery_ms;
};

// One live message as a snapshot keeps it.
struct Saved {
  Seq seq;
  Ref ref;
  uint32_t bytes;
  uint32_t deliveries;
  uint32_t uncounted;
  uint64_t due_ms;  // or a mark (suspicion.h)
  uint64_t first_delivery_ms;
  bool suspect;  // in flight, or suspect already (G6)
};

// What a recovery found out about those that were in flight.
struct Recovered {
  std::vector<Returned> marks;  // to be written: what is suspect now, with its counts
  std::vector<Dead> killers;    // now DYING: it was in its hold, and that was its last failure
  std::vector<Dead> dying;      // still DYING
};

// The suspect that goes out next: the one with the fewest failures.
struct Suspected {
  Seq seq;
  uint32_t failures;
  uint32_t deliveries;
  uint32_t bytes;
};

struct Range {
  Seq first;
  uint32_t count;
};

// A part of the messages, for what should not touch all of them at once.
struct Slice {
  Seq from = 1;
  Seq through = kSeqMax;
  size_t messages_max = SIZE_MAX;  // about; those that are looked at count
};

struct Purged {
  uint64_t messages = 0;
  Seq next = 0;  // where the next slice goes on, 0 at the end
};

struct Stored {
  Ref ref;
  uint32_t bytes;
};

struct Counts {
  uint64_t ready = 0;
  uint64_t delayed = 0;
  uint64_t suspects = 0;  // waiting to be begun alone (G6)
  uint64_t in_flight = 0;
  uint64_t settling = 0;     // answered, not yet forgotten
  uint64_t dying = 0;        // to be dead-lettered
  uint64_t bytes = 0;        // of all of them
  uint64_t redelivered = 0;  // running total of deliveries with a count above 1
};

enum class Answer : uint8_t {
  kDone,
  kLeaseLost,
  kReturned,  // back in the queue: write `returned`
  kDead,      // now DYING: write `dead` to the dead-letter queue and settle it, then forget
};

struct [[nodiscard]] Outcome {
  Answer answer = Answer::kLeaseLost;
  Returned returned{};  // kReturned
  Dead dead{};          // kDead
};

class Ledger {
 public:
  explicit Ledger(const Limits& limits);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  void setLimits(const Limits& limits);

  // A message that was committed: ready at once. Seqs rise; gaps are allowed and cost nothing. One that is
  // already here stays as it is, so replaying its record is harmless.
  void enqueue(Seq seq, Ref ref, uint32_t bytes);

  // Hands out up to max_messages whose bytes sum to at most max_bytes, in order, appending to `out`. The
  // first one is handed out only if it fits too: otherwise `out` stays as it was and neededBytes() tells what
  // it needs.
  size_t take(ConsumerId consumer, const Now& now, size_t max_messages, uint64_t max_bytes,
              std::vector<Delivery>& out);
  uint64_t neededBytes() const;                // of the message that would go out next, 0 when none is ready
  size_t leasesOf(ConsumerId consumer) const;  // O(those)

  // Suspects (G6). takeSuspect() hands out firstSuspect(); false if there is none or no room for its lease.
  std::optional<Suspected> firstSuspect() const;
  bool takeSuspect(ConsumerId consumer, const Now& now, std::vector<Delivery>& out);
  // A suspect's hold is over and it is in flight still: what to write, as if it had been given back. Again
  // and again while it runs. Empty: this delivery ended, its own record is on the way.
  std::optional<Returned> markSuspect(Seq seq, uint32_t delivery_count, uint32_t ran_ms);

  // Undoes the newest take of these deliveries as if it had not happened (the journal refused it).
  void untake(ConsumerId consumer, const std::vector<Delivery>& deliveries);

  // ack: kDone (SETTLING) or kLeaseLost.
  Outcome ack(ConsumerId consumer, Seq seq, uint32_t delivery_count);
  // nack: kReturned, kDead (limit reached) or kLeaseLost. delay_ms is wall time from now.
  Outcome nack(ConsumerId consumer, Seq seq, uint32_t delivery_count, uint64_t delay_ms, const Now& now);
  // reject: kDead or kLeaseLost.
  Outcome reject(ConsumerId consumer, Seq seq, uint32_t delivery_count);
  // It cannot be read: DYING, but for this life only.
  void setAside(ConsumerId consumer, Seq seq, uint32_t delivery_count);
  // What to write of a DYING message whose letter finds no place: it will be DYING after a crash. Empty if it
  // is not.
  std::optional<Returned> verdict(Seq seq) const;
  // release: kReturned (this delivery does not count) or kLeaseLost.
  Outcome release(ConsumerId consumer, Seq seq, uint32_t delivery_count);
  // extend: the lease ends `ms` from now. kDone or kLeaseLost.
  Outcome extend(ConsumerId consumer, Seq seq, uint32_t delivery_count, uint64_t ms, const Now& now);

  // The consumer is gone. Its leases return: the first `started` deliveries it ever took count, later ones do
  // not.
  void returnLeases(ConsumerId consumer, uint64_t started, std::vector<Returned>& returned,
                    std::vector<Dead>& dead);

  // Everything in flight goes back uncounted: the broker closes.
  void returnAll(std::vector<Returned>& returned);

  // Ends expired leases (they count) and makes delayed messages ready that are due, `messages_max` of both
  // together. True: there are more.
  bool tick(const Now& now, std::vector<Returned>& returned, std::vector<Dead>& dead,
            size_t messages_max = SIZE_MAX);
  // Earliest time at which tick() has something to do; UINT64_MAX: never.
  uint64_t nextLeaseEndMonotonicMs() const;
  uint64_t nextDueWallMs() const;

  // Makes what waits SETTLING and tells it as ranges. In flight and dying stay.
  Purged purge(const Slice& slice, std::vector<Range>& out);

  // The settlement of this message is durable: it leaves. Empty if it was not here.
  std::optional<Stored> forget(Seq seq);

  // Copied forward: the message now lies at `to`. Returns where it was; empty if it is not here.
  std::optional<Stored> relocate(Seq seq, Ref to);
  bool holds(Seq seq, Ref ref) const;

  // The next messages that would be handed out, without a lease; their delivery_count is that of so far.
  size_t peek(size_t max_messages, std::vector<Delivery>& out) const;

  // Snapshot: appends up to max_entries live messages with seq >= from, in order; returns the seq to go on
  // from, 0 at the end.
  Seq save(Seq from, size_t max_entries, std::vector<Saved>& out) const;

  // Recovery. restore() in rising seq order; the rest in log order, each harmless if repeated or if the
  // message is gone.
  void restore(const Saved& saved);
  // False if nothing was to be raised.
  bool replayDelivered(Seq first, uint32_t count, uint32_t delivery_count);
  // The first message at or after `from`, in whatever state; 0: none.
  Seq nextLive(Seq from) const;
  void replayReturned(const Returned& returned);
  // After replay: the longest time that a process ran after it had begun a suspect, as far as is known.
  uint32_t longestRunMs() const;
  // After replay: how many were in their hold.
  uint32_t heldSuspects() const;
  // After that: what was in flight becomes SUSPECT, uncounted, but for the one in its hold, which failed.
  // `longest_run_ms` is that of all queues. Without `charge` even that one did not: several of all queues
  // look as if they were in it.
  Recovered finishRecovery(uint32_t longest_run_ms, bool charge = true);

  const Counts& counts() const;
  bool empty() const;  // holds no message in any state

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace::ledger
