// Snapshot and replay. A snapshot may be newer than the records that are replayed over it, so a record
// changes nothing unless it tells of a later delivery, or of the same one.
#include <algorithm>
#include <bit>

#include "ledger/state.h"

namespace millrace::ledger {
namespace {

bool isWaiting(Place at) {
  return at.entry().state() == MessageState::kReady || at.entry().state() == MessageState::kDelayed;
}

}  // namespace

Seq Ledger::save(Seq from, size_t max_entries, std::vector<Saved>& out) const {
  const State& state = *state_;
  size_t saved = 0;
  if (from > kSeqMax) return 0;
  for (Chunk* chunk = state.table.atOrAfter(from / Chunk::kEntries); chunk;
       chunk = state.table.atOrAfter(chunk->number + 1)) {
    uint64_t bits = chunk->live;
    if (chunk->number == from / Chunk::kEntries) bits &= UINT64_MAX << (from % Chunk::kEntries);
    for (; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (saved == max_entries) return at.seq();
      const Entry& entry = at.entry();
      const uint64_t due_ms = entry.state() == MessageState::kDelayed ? state.schedule.dueOf(at.seq()) : 0;
      const bool suspect = entry.state() == MessageState::kInFlight || (isWaiting(at) && entry.suspect());
      out.push_back({at.seq(), entry.ref(), entry.bytes(), entry.deliveries(), state.uncounted(at), due_ms,
                     state.firstDeliveryMs(at), suspect});
      ++saved;
    }
  }
  return 0;
}

void Ledger::restore(const Saved& saved) {
  State& state = *state_;
  if (saved.seq == 0 || saved.seq > kSeqMax || state.table.find(saved.seq)) return;
  const Place at = state.table.add(saved.seq, saved.ref, saved.bytes);
  state.counts.bytes += saved.bytes;
  const uint32_t deliveries = std::min(saved.deliveries, kDeliveriesMax);
  at.entry().setDeliveries(deliveries);
  if (saved.uncounted != 0 || saved.first_delivery_ms != 0) {
    state.remember(at) = {saved.first_delivery_ms, std::min(saved.uncounted, deliveries)};
  }
  at.entry().setSuspect(saved.suspect && deliveries > 0);
  state.enterWaiting(at, saved.due_ms);
}

void Ledger::replayDelivered(Seq first, uint32_t count, uint32_t delivery_count) {
  State& state = *state_;
  if (count == 0 || first > kSeqMax) return;
  const Seq last = addSaturating(first, count - 1);
  const uint32_t deliveries = std::min(delivery_count, kDeliveriesMax);
  // Visits what is here, not the range: its length is input.
  for (Chunk* chunk = state.table.atOrAfter(first / Chunk::kEntries);
       chunk && chunk->number <= last / Chunk::kEntries; chunk = state.table.atOrAfter(chunk->number + 1)) {
    for (uint64_t bits = chunk->live; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (at.seq() < first || at.seq() > last) continue;
      if (!isWaiting(at) || at.entry().deliveries() >= deliveries) continue;
      // Its delay, if it had one, was over by then.
      state.leave(at);
      at.entry().setDeliveries(deliveries);
      at.entry().setSuspect(true);
      state.enterReady(at);
    }
  }
}

void Ledger::replayReturned(const Returned& returned) {
  State& state = *state_;
  const Place at = state.table.find(returned.seq);
  const uint32_t deliveries = std::min(returned.deliveries, kDeliveriesMax);
  if (!at || !isWaiting(at) || at.entry().deliveries() > deliveries) return;
  state.leave(at);
  at.entry().setDeliveries(deliveries);
  at.entry().setSuspect(false);
  state.remember(at) = {returned.first_delivery_ms, std::min(returned.uncounted, deliveries)};
  state.enterWaiting(at, returned.due_ms);
}

void Ledger::finishRecovery(std::vector<Dead>& dead) {
  State& state = *state_;
  for (Chunk* chunk = state.table.atOrAfter(0); chunk; chunk = state.table.atOrAfter(chunk->number + 1)) {
    // Never-delivered messages, most of a backlog, are passed over 64 at a time.
    for (uint64_t bits = chunk->live & ~chunk->fresh; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (!isWaiting(at) || !state.usedUp(at)) continue;
      const Entry& entry = at.entry();
      state.leave(at);
      state.enterDying(at);
      dead.push_back(
          {at.seq(), entry.ref(), entry.bytes(), entry.deliveries(), state.firstDeliveryMs(at), 0});
    }
  }
}

}  // namespace millrace::ledger
