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
    case MessageState::kInFlight:
      leases.close(at.entry().lease());
      at.entry().setSuspect(false);
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
  ready.add(at, at.entry().deliveries() > 0);
  ++counts.ready;
}

void Ledger::State::enterDelayed(Place at, uint64_t due_ms) {
  at.entry().setState(MessageState::kDelayed);
  schedule.add(at.seq(), due_ms);
  ++counts.delayed;
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
  entry.setDeliveries(std::min(entry.deliveries() + 1, kDeliveriesMax));
  entry.setLease(slot);
  entry.setState(MessageState::kInFlight);
  ++counts.in_flight;
  if (entry.deliveries() > 1) ++counts.redelivered;
  return true;
}

Place Ledger::State::leased(ConsumerId consumer, Seq seq, uint32_t delivery_count) const {
  const Place at = table.find(seq);
  if (!at || at.entry().state() != MessageState::kInFlight) return {};
  if (at.entry().deliveries() != delivery_count) return {};
  return leases.at(at.entry().lease()).consumer == consumer ? at : Place{};
}

Outcome Ledger::State::endDelivery(Place at, bool counted, uint64_t due_ms) {
  if (!counted && at.entry().deliveries() < kDeliveriesMax) {
    ++remember(at).uncounted;
  } else if (usedUp(at)) {
    return {.answer = Answer::kDead, .dead = endByDying(at)};
  }
  Past& past = remember(at);
  past.first_delivery_ms = firstDeliveryMs(at);
  leave(at);
  enterWaiting(at, due_ms);
  return {.answer = Answer::kReturned,
          .returned = {at.seq(), at.entry().deliveries(), past.uncounted, due_ms, past.first_delivery_ms}};
}

Dead Ledger::State::endByDying(Place at) {
  const Entry& entry = at.entry();
  const uint64_t first_ms = firstDeliveryMs(at);
  const uint64_t last_ms = leases.at(entry.lease()).delivered_ms;
  remember(at).first_delivery_ms = first_ms;
  leave(at);
  enterDying(at);
  return {at.seq(), entry.ref(), entry.bytes(), entry.deliveries(), first_ms, last_ms};
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
  const uint32_t deliveries = at.entry().deliveries();
  if (deliveries >= kDeliveriesMax) return true;
  return limits.max_deliveries != 0 && deliveries - uncounted(at) >= limits.max_deliveries;
}

}  // namespace millrace::ledger
