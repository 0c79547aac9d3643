#include "ledger/state.h"

#include <algorithm>

namespace millrace::ledger {

void Ledger::State::leave(Place at) {
  switch (at.entry().state()) {
    case MessageState::kReady:
      ready.remove(*at.chunk, at.bit());
      --counts.ready;
      break;
    case MessageState::kDelayed:
      schedule.remove(at.seq());
      --counts.delayed;
      break;
    case MessageState::kSuspect:
      suspects.erase({failures(at), at.seq()});
      --counts.suspects;
      break;
    case MessageState::kInFlight:
      leases.close(at.entry().lease());
      at.entry().setLease(0);
      --counts.in_flight;
      break;
    case MessageState::kSettling:
      --counts.settling;
      break;
    case MessageState::kDying:
      --counts.dying;
      break;
  }
}

void Ledger::State::enterReady(Place at) {
  at.entry().setState(MessageState::kReady);
  ready.add(at, deliveries(at) > 0);
  ++counts.ready;
}

void Ledger::State::enterDelayed(Place at, uint64_t due_ms) {
  at.entry().setState(MessageState::kDelayed);
  schedule.add(at.seq(), due_ms);
  ++counts.delayed;
}

void Ledger::State::enterSuspect(Place at) {
  at.entry().setState(MessageState::kSuspect);
  remember(at).suspicion = Suspicion::kSuspect;
  suspects.emplace(failures(at), at.seq());
  ++counts.suspects;
}

void Ledger::State::enterWaiting(Place at, uint64_t due_ms) {
  if (due_ms == 0) {
    enterReady(at);
  } else {
    enterDelayed(at, due_ms);
  }
}

void Ledger::State::enterSettling(Place at) {
  at.entry().setState(MessageState::kSettling);
  ++counts.settling;
}

void Ledger::State::enterDying(Place at) {
  at.entry().setState(MessageState::kDying);
  remember(at).suspicion = Suspicion::kDoomed;
  ++counts.dying;
}

bool Ledger::State::deliver(Place at, Leases::Holder& holder, const Now& now) {
  Entry& entry = at.entry();
  const uint64_t first_ms = firstDeliveryMs(at);
  const Lease lease{.seq = at.seq(),
                    .ends_ms = addSaturating(now.monotonic_ms, limits.visibility_timeout_ms),
                    .first_delivery_ms = first_ms != 0 ? first_ms : now.wall_ms,
                    .delivered_ms = now.wall_ms};
  const uint32_t slot = leases.open(holder, lease);
  if (slot == Leases::kNone) return false;
  raiseDeliveries(at);
  entry.setLease(slot);
  entry.setState(MessageState::kInFlight);
  ++counts.in_flight;
  if (deliveries(at) > 1) ++counts.redelivered;
  return true;
}

Place Ledger::State::leased(ConsumerId consumer, Seq seq, uint32_t delivery_count) const {
  const Place at = table.find(seq);
  if (!at || at.entry().state() != MessageState::kInFlight) return {};
  if (deliveries(at) != delivery_count) return {};
  return leases.at(at.entry().lease()).consumer == consumer ? at : Place{};
}

Outcome Ledger::State::endDelivery(Place at, bool counted, uint64_t due_ms) {
  if (counted && usedUp(at)) return {.answer = Answer::kDead, .dead = endByDying(at)};
  Past& past = remember(at);
  past.first_delivery_ms = firstDeliveryMs(at);
  if (!counted && past.uncounted < deliveries(at)) ++past.uncounted;
  leave(at);
  Returned returned{at.seq(), deliveries(at), past.uncounted, dueWritten(due_ms), past.first_delivery_ms};
  if (!counted && past.suspicion != Suspicion::kNone) {
    returned.due_ms = dueOfMark({Suspicion::kSuspect, past.ran_ms});
    enterSuspect(at);
  } else {
    past.suspicion = Suspicion::kNone;
    enterWaiting(at, due_ms);
  }
  return {.answer = Answer::kReturned, .returned = returned};
}

Dead Ledger::State::endByDying(Place at) {
  const Entry& entry = at.entry();
  const uint64_t first_ms = firstDeliveryMs(at);
  const uint64_t last_ms = leases.at(entry.lease()).delivered_ms;
  remember(at).first_delivery_ms = first_ms;
  leave(at);
  enterDying(at);
  return {at.seq(), entry.ref(), entry.bytes(), deliveries(at), first_ms, last_ms};
}

void Ledger::State::setDeliveries(Place at, uint32_t deliveries) {
  at.entry().setDeliveriesLow(deliveries & 0xFFFFu);
  const uint32_t high = deliveries >> 16;
  if (high != 0 || at.entry().remembered()) remember(at).deliveries_high = static_cast<uint16_t>(high);
}

void Ledger::State::raiseDeliveries(Place at) {
  const uint32_t before = deliveries(at);
  if (before < kDeliveriesMax) {
    setDeliveries(at, before + 1);
    return;
  }
  // The count has ended. This delivery is a failure until it turns out to be none, like any other.
  Past& past = remember(at);
  if (past.uncounted > 0) --past.uncounted;
}

Returned Ledger::State::verdict(Place at) const {
  return {at.seq(), deliveries(at), uncounted(at), dueOfMark({Suspicion::kDoomed, 0}), firstDeliveryMs(at)};
}

uint32_t Ledger::State::uncounted(Place at) const {
  return at.entry().remembered() ? history.read(at.seq()).uncounted : 0;
}

uint64_t Ledger::State::firstDeliveryMs(Place at) const {
  if (at.entry().state() == MessageState::kInFlight) return leases.at(at.entry().lease()).first_delivery_ms;
  return at.entry().remembered() ? history.read(at.seq()).first_delivery_ms : 0;
}

Past& Ledger::State::remember(Place at) {
  at.entry().setRemembered();
  return history.of(at.seq());
}

bool Ledger::State::usedUp(Place at) const {
  return limits.max_deliveries != 0 && failures(at) >= limits.max_deliveries;
}

}  // namespace millrace::ledger
