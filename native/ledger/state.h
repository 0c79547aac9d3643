// What a ledger consists of, and the moves between the states of a message. The public calls (ledger.cc,
// recovery.cc) decide which move to make; every move goes through leave() and one enter...(), which keep
// counts, ready order, schedule and leases in step (G1).
#pragma once

#include <set>
#include <utility>

#include "ledger/history.h"
#include "ledger/leases.h"
#include "ledger/ledger.h"
#include "ledger/message_table.h"
#include "ledger/ready_order.h"
#include "ledger/schedule.h"

namespace millrace::ledger {

struct Ledger::State {
  Limits limits;
  Counts counts;
  MessageTable table;
  ReadyOrder ready;
  Leases leases;
  Schedule schedule;
  History history;
  std::set<std::pair<uint32_t, Seq>> suspects;  // by failures, then seq

  // Takes the message out of the state it is in. It must enter one at once, or leave the table.
  void leave(Place at);
  void enterReady(Place at);
  void enterDelayed(Place at, uint64_t due_ms);
  void enterSuspect(Place at);
  void enterSettling(Place at);
  void enterDying(Place at);
  // Delayed if due_ms is not 0, ready otherwise.
  void enterWaiting(Place at, uint64_t due_ms);

  // Leases a ready message to the consumer. The caller takes it out of the ready order.
  bool deliver(Place at, Leases::Holder& holder, const Now& now);
  // The message if this very delivery of it is leased to this consumer (G3), otherwise no place.
  Place leased(ConsumerId consumer, Seq seq, uint32_t delivery_count) const;
  // The lease ends without a settlement: back to the queue, or dead.
  Outcome endDelivery(Place at, bool counted, uint64_t due_ms);
  // The lease ends because the message is not wanted any more.
  Dead endByDying(Place at);

  uint32_t deliveries(Place at) const {
    const Entry& entry = at.entry();
    if (!entry.remembered()) return entry.deliveriesLow();
    return entry.deliveriesLow() | uint32_t{history.read(at.seq()).deliveries_high} << 16;
  }
  void setDeliveries(Place at, uint32_t deliveries);
  void raiseDeliveries(Place at);
  uint32_t uncounted(Place at) const;
  uint32_t failures(Place at) const { return deliveries(at) - uncounted(at); }
  Suspicion suspicion(Place at) const {
    return at.entry().remembered() ? history.read(at.seq()).suspicion : Suspicion::kNone;
  }
  uint64_t firstDeliveryMs(Place at) const;
  Past& remember(Place at);
  bool usedUp(Place at) const;

  // Snapshot and replay.
  Saved saved(Place at) const;
  Returned verdict(Place at) const;
  void note(Place at, const Mark& mark, uint32_t uncounted, uint64_t first_delivery_ms);
  void judge(Place at, uint32_t longest_run_ms, bool charge, Recovered& recovered);
};

inline uint64_t addSaturating(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

}  // namespace millrace::ledger
