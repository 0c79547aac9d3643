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
      out.push_back(state.saved(at));
      ++saved;
    }
  }
  return 0;
}

Saved Ledger::State::saved(Place at) const {
  const Entry& entry = at.entry();
  const Past past = entry.remembered() ? history.read(at.seq()) : Past{};
  Saved saved{at.seq(),       entry.ref(), entry.bytes(),       deliveries(at),
              past.uncounted, 0,           firstDeliveryMs(at), false};
  switch (entry.state()) {
    case MessageState::kInFlight:
      saved.suspect = true;
      saved.due_ms = dueOfMark({past.suspicion, past.ran_ms});
      if (past.suspicion == Suspicion::kOutlived && saved.uncounted < saved.deliveries) ++saved.uncounted;
      break;
    case MessageState::kDelayed:
      saved.due_ms = dueWritten(schedule.dueOf(at.seq()));
      break;
    case MessageState::kDying:
      saved.due_ms = dueOfMark({past.suspicion, 0});
      break;
    case MessageState::kReady:
    case MessageState::kSuspect:  // kReady too, while a replay is going on
      saved.suspect = entry.unreturned() || past.suspicion == Suspicion::kSuspect;
      saved.due_ms = dueOfMark({past.suspicion, past.ran_ms});
      break;
    case MessageState::kSettling:
      break;
  }
  return saved;
}

void Ledger::State::note(Place at, const Mark& mark, uint32_t uncounted, uint64_t first_delivery_ms) {
  if (uncounted == 0 && first_delivery_ms == 0 && mark.suspicion == Suspicion::kNone &&
      !at.entry().remembered()) {
    return;
  }
  Past& past = remember(at);
  past.first_delivery_ms = first_delivery_ms;
  past.uncounted = std::min(uncounted, deliveries(at));
  past.suspicion = mark.suspicion;
  past.ran_ms = mark.ran_ms;
}

void Ledger::restore(const Saved& saved) {
  State& state = *state_;
  if (saved.seq == 0 || saved.seq > kSeqMax || state.table.find(saved.seq)) return;
  const Place at = state.table.add(saved.seq, saved.ref, saved.bytes);
  state.counts.bytes += saved.bytes;
  state.setDeliveries(at, saved.deliveries);
  const Mark mark = saved.deliveries > 0 ? markOfDue(saved.due_ms) : Mark{};
  state.note(at, mark, saved.uncounted, saved.first_delivery_ms);
  const bool in_flight = mark.suspicion == Suspicion::kNone || mark.suspicion == Suspicion::kHeld;
  at.entry().setUnreturned(saved.suspect && in_flight && saved.deliveries > 0);
  state.enterWaiting(at, dueWritten(saved.due_ms));
}

bool Ledger::replayDelivered(Seq first, uint32_t count, uint32_t delivery_count) {
  State& state = *state_;
  if (count == 0 || first > kSeqMax) return false;
  bool raised = false;
  const Seq last = addSaturating(first, count - 1);
  // Visits what is here, not the range: its length is input.
  for (Chunk* chunk = state.table.atOrAfter(first / Chunk::kEntries);
       chunk && chunk->number <= last / Chunk::kEntries; chunk = state.table.atOrAfter(chunk->number + 1)) {
    for (uint64_t bits = chunk->live; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (at.seq() < first || at.seq() > last) continue;
      if (!isWaiting(at) || state.deliveries(at) >= delivery_count) continue;
      // Its delay, if it had one, was over by then.
      state.leave(at);
      state.setDeliveries(at, delivery_count);
      at.entry().setUnreturned(true);
      const Suspicion suspicion = state.suspicion(at);
      if (suspicion == Suspicion::kSuspect) state.remember(at).suspicion = Suspicion::kHeld;
      if (suspicion == Suspicion::kDoomed) state.remember(at).suspicion = Suspicion::kNone;
      state.enterReady(at);
      raised = true;
    }
  }
  return raised;
}

Seq Ledger::nextLive(Seq from) const {
  if (from > kSeqMax) return 0;
  const uint64_t number = from / Chunk::kEntries;
  for (Chunk* chunk = state_->table.atOrAfter(number); chunk;
       chunk = state_->table.atOrAfter(chunk->number + 1)) {
    const uint64_t before = chunk->number == number ? (uint64_t{1} << from % Chunk::kEntries) - 1 : 0;
    const uint64_t bits = chunk->live & ~before;
    if (bits != 0) return chunk->seqOf(static_cast<uint32_t>(std::countr_zero(bits)));
  }
  return 0;
}

void Ledger::replayReturned(const Returned& returned) {
  State& state = *state_;
  const Place at = state.table.find(returned.seq);
  if (!at || !isWaiting(at) || state.deliveries(at) > returned.deliveries) return;
  state.leave(at);
  state.setDeliveries(at, returned.deliveries);
  at.entry().setUnreturned(false);
  (void)state.remember(at);
  state.note(at, markOfDue(returned.due_ms), returned.uncounted, returned.first_delivery_ms);
  state.enterWaiting(at, dueWritten(returned.due_ms));
}

uint32_t Ledger::longestRunMs() const {
  const State& state = *state_;
  uint32_t longest = 0;
  for (Chunk* chunk = state.table.atOrAfter(0); chunk; chunk = state.table.atOrAfter(chunk->number + 1)) {
    for (uint64_t bits = chunk->live & ~chunk->fresh; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (state.suspicion(at) != Suspicion::kNone) {
        longest = std::max(longest, state.history.read(at.seq()).ran_ms);
      }
    }
  }
  return longest;
}

uint32_t Ledger::heldSuspects() const {
  const State& state = *state_;
  uint32_t held = 0;
  for (Chunk* chunk = state.table.atOrAfter(0); chunk; chunk = state.table.atOrAfter(chunk->number + 1)) {
    for (uint64_t bits = chunk->live & ~chunk->fresh; bits != 0; bits &= bits - 1) {
      if (state.suspicion({chunk, static_cast<uint32_t>(std::countr_zero(bits))}) == Suspicion::kHeld) ++held;
    }
  }
  return held;
}

Recovered Ledger::finishRecovery(uint32_t longest_run_ms, bool charge) {
  State& state = *state_;
  Recovered recovered;
  for (Chunk* chunk = state.table.atOrAfter(0); chunk; chunk = state.table.atOrAfter(chunk->number + 1)) {
    // Never-delivered messages, most of a backlog, are passed over 64 at a time.
    for (uint64_t bits = chunk->live & ~chunk->fresh; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      if (isWaiting(at)) state.judge(at, longest_run_ms, charge, recovered);
    }
  }
  return recovered;
}

// The process died: was it this one, did it only stand beside, or was it not in flight at all?
void Ledger::State::judge(Place at, uint32_t longest_run_ms, bool charge, Recovered& recovered) {
  const Suspicion suspicion_before = suspicion(at);
  if (suspicion_before == Suspicion::kNone && !at.entry().unreturned()) return;
  leave(at);
  at.entry().setUnreturned(false);
  const bool held = suspicion_before == Suspicion::kHeld;
  const bool killer = held && charge;
  if (suspicion_before == Suspicion::kDoomed || (killer && usedUp(at))) {
    enterDying(at);
    const Entry& entry = at.entry();
    if (killer) recovered.marks.push_back(verdict(at));
    (killer ? recovered.killers : recovered.dying)
        .push_back({at.seq(), entry.ref(), entry.bytes(), deliveries(at), firstDeliveryMs(at), 0});
    return;
  }
  Past& past = remember(at);
  const bool known = suspicion_before == Suspicion::kSuspect && past.ran_ms == longest_run_ms;
  const bool innocent = suspicion_before == Suspicion::kNone || (held && !charge);
  if (innocent && past.uncounted < deliveries(at)) ++past.uncounted;
  past.ran_ms = longest_run_ms;
  enterSuspect(at);
  if (known) return;
  recovered.marks.push_back({at.seq(), deliveries(at), past.uncounted,
                             dueOfMark({Suspicion::kSuspect, past.ran_ms}), past.first_delivery_ms});
}

}  // namespace millrace::ledger
