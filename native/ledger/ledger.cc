#include "ledger/ledger.h"

#include <algorithm>
#include <bit>

#include "ledger/state.h"

namespace millrace::ledger {

Ledger::Ledger(const Limits& limits) : state_(std::make_unique<State>()) { state_->limits = limits; }
Ledger::~Ledger() = default;

void Ledger::setLimits(const Limits& limits) { state_->limits = limits; }
const Counts& Ledger::counts() const { return state_->counts; }
bool Ledger::empty() const { return state_->table.empty(); }

void Ledger::enqueue(Seq seq, Ref ref, uint32_t bytes) {
  if (seq == 0 || seq > kSeqMax || state_->table.find(seq)) return;
  state_->counts.bytes += bytes;
  state_->enterReady(state_->table.add(seq, ref, bytes));
}

size_t Ledger::take(ConsumerId consumer, const Now& now, size_t max_messages, uint64_t max_bytes,
                    std::vector<Delivery>& out) {
  State& state = *state_;
  if (max_messages == 0 || state.counts.ready == 0) return 0;
  Leases::Holder* holder = state.leases.holder(consumer);
  if (holder == nullptr) return 0;
  size_t taken = 0;
  bool more = true;
  while (more && taken < max_messages) {
    const ReadyOrder::Run run = state.ready.front(state.table);
    if (run.chunk == nullptr) break;
    uint64_t handed_out = 0;
    for (uint64_t bits = run.bits; bits != 0 && taken < max_messages; bits &= bits - 1) {
      const Place at{run.chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      const Entry& entry = at.entry();
      more = entry.bytes() <= max_bytes && state.deliver(at, *holder, now);
      if (!more) break;
      max_bytes -= entry.bytes();
      handed_out |= at.bit();
      ++taken;
      out.push_back({at.seq(), entry.ref(), entry.bytes(), state.deliveries(at)});
    }
    // Once a run, not once a message: the lists of chunks change at most once.
    state.ready.remove(*run.chunk, handed_out);
    state.counts.ready -= static_cast<uint64_t>(std::popcount(handed_out));
  }
  return taken;
}

uint64_t Ledger::neededBytes() const {
  const ReadyOrder::Run run = state_->ready.front(state_->table);
  if (run.chunk == nullptr) return 0;
  return run.chunk->entries[static_cast<size_t>(std::countr_zero(run.bits))].bytes();
}

std::optional<Suspected> Ledger::firstSuspect() const {
  if (state_->suspects.empty()) return std::nullopt;
  const auto& [failures, seq] = *state_->suspects.begin();
  const Place at = state_->table.find(seq);
  return Suspected{seq, failures, state_->deliveries(at), at.entry().bytes()};
}

bool Ledger::takeSuspect(ConsumerId consumer, const Now& now, std::vector<Delivery>& out) {
  State& state = *state_;
  if (state.suspects.empty()) return false;
  Leases::Holder* holder = state.leases.holder(consumer);
  if (holder == nullptr) return false;
  const Place at = state.table.find(state.suspects.begin()->second);
  state.leave(at);
  if (!state.deliver(at, *holder, now)) {
    state.enterSuspect(at);
    return false;
  }
  state.remember(at).suspicion = Suspicion::kHeld;
  const Entry& entry = at.entry();
  out.push_back({at.seq(), entry.ref(), entry.bytes(), state.deliveries(at), true});
  return true;
}

std::optional<Returned> Ledger::markSuspect(Seq seq, uint32_t delivery_count, uint32_t ran_ms) {
  State& state = *state_;
  const Place at = state.table.find(seq);
  if (!at || state.deliveries(at) != delivery_count) return std::nullopt;
  if (at.entry().state() != MessageState::kInFlight) return std::nullopt;
  Past& past = state.remember(at);
  if (past.suspicion != Suspicion::kHeld && past.suspicion != Suspicion::kOutlived) return std::nullopt;
  past.suspicion = Suspicion::kOutlived;
  past.ran_ms = std::max(past.ran_ms, ran_ms);
  return Returned{seq, delivery_count, std::min(past.uncounted + 1, delivery_count),
                  dueOfMark({Suspicion::kSuspect, past.ran_ms}), state.firstDeliveryMs(at)};
}

size_t Ledger::leasesOf(ConsumerId consumer) const { return state_->leases.countOf(consumer); }

void Ledger::untake(ConsumerId consumer, const std::vector<Delivery>& deliveries) {
  State& state = *state_;
  for (const Delivery& delivery : deliveries) {
    const Place at = state.leased(consumer, delivery.seq, delivery.delivery_count);
    if (!at) continue;
    if (delivery.delivery_count > 1) --state.counts.redelivered;
    state.leases.uncount(consumer);
    state.leave(at);
    if (delivery.delivery_count < kDeliveriesMax) {
      state.setDeliveries(at, delivery.delivery_count - 1);
    } else {
      ++state.remember(at).uncounted;
    }
    if (delivery.was_suspect) {
      state.enterSuspect(at);
    } else {
      state.enterReady(at);
    }
  }
}

Outcome Ledger::ack(ConsumerId consumer, Seq seq, uint32_t delivery_count) {
  const Place at = state_->leased(consumer, seq, delivery_count);
  if (!at) return {};
  state_->leave(at);
  state_->enterSettling(at);
  return {.answer = Answer::kDone};
}

Outcome Ledger::nack(ConsumerId consumer, Seq seq, uint32_t delivery_count, uint64_t delay_ms,
                     const Now& now) {
  const Place at = state_->leased(consumer, seq, delivery_count);
  if (!at) return {};
  return state_->endDelivery(at, true, delay_ms == 0 ? 0 : addSaturating(now.wall_ms, delay_ms));
}

Outcome Ledger::reject(ConsumerId consumer, Seq seq, uint32_t delivery_count) {
  const Place at = state_->leased(consumer, seq, delivery_count);
  if (!at) return {};
  return {.answer = Answer::kDead, .dead = state_->endByDying(at)};
}

void Ledger::setAside(ConsumerId consumer, Seq seq, uint32_t delivery_count) {
  if (reject(consumer, seq, delivery_count).answer != Answer::kDead) return;
  state_->remember(state_->table.find(seq)).suspicion = Suspicion::kNone;
}

std::optional<Returned> Ledger::verdict(Seq seq) const {
  const Place at = state_->table.find(seq);
  if (!at || state_->suspicion(at) != Suspicion::kDoomed) return std::nullopt;
  return state_->verdict(at);
}

Outcome Ledger::release(ConsumerId consumer, Seq seq, uint32_t delivery_count) {
  const Place at = state_->leased(consumer, seq, delivery_count);
  if (!at) return {};
  return state_->endDelivery(at, false, 0);
}

Outcome Ledger::extend(ConsumerId consumer, Seq seq, uint32_t delivery_count, uint64_t ms, const Now& now) {
  const Place at = state_->leased(consumer, seq, delivery_count);
  if (!at) return {};
  state_->leases.extend(at.entry().lease(), addSaturating(now.monotonic_ms, ms));
  return {.answer = Answer::kDone};
}

namespace {

void report(const Outcome& outcome, std::vector<Returned>& returned, std::vector<Dead>& dead) {
  if (outcome.answer == Answer::kReturned) returned.push_back(outcome.returned);
  if (outcome.answer == Answer::kDead) dead.push_back(outcome.dead);
}

}  // namespace

void Ledger::returnLeases(ConsumerId consumer, uint64_t started, std::vector<Returned>& returned,
                          std::vector<Dead>& dead) {
  State& state = *state_;
  for (uint32_t slot = state.leases.anyOf(consumer); slot != Leases::kNone;
       slot = state.leases.anyOf(consumer)) {
    const Lease& lease = state.leases.at(slot);
    report(state.endDelivery(state.table.find(lease.seq), lease.ordinal < started, 0), returned, dead);
  }
  state.leases.drop(consumer);
}

void Ledger::returnAll(std::vector<Returned>& returned) {
  std::vector<Dead> none;  // what is not counted kills nothing
  for (const ConsumerId consumer : state_->leases.consumers()) returnLeases(consumer, 0, returned, none);
}

bool Ledger::tick(const Now& now, std::vector<Returned>& returned, std::vector<Dead>& dead,
                  size_t messages_max) {
  State& state = *state_;
  size_t left = messages_max;
  for (; left > 0; --left) {
    const uint32_t slot = state.leases.popExpired(now.monotonic_ms);
    if (slot == Leases::kNone) break;
    report(state.endDelivery(state.table.find(state.leases.at(slot).seq), true, 0), returned, dead);
  }
  for (; left > 0; --left) {
    const Seq seq = state.schedule.popDue(now.wall_ms);
    if (seq == 0) break;
    const Place at = state.table.find(seq);
    state.leave(at);
    state.enterReady(at);
  }
  return left == 0 && (nextLeaseEndMonotonicMs() <= now.monotonic_ms || nextDueWallMs() <= now.wall_ms);
}

uint64_t Ledger::nextLeaseEndMonotonicMs() const { return state_->leases.nextEnd(); }
uint64_t Ledger::nextDueWallMs() const { return state_->schedule.nextDue(); }

Purged Ledger::purge(const Slice& slice, std::vector<Range>& out) {
  State& state = *state_;
  Purged purged;
  const size_t out_before = out.size();
  size_t looked_at = 0;
  Chunk* chunk = state.table.atOrAfter(slice.from / Chunk::kEntries);
  for (; chunk && chunk->seqOf(0) <= slice.through && looked_at < slice.messages_max;
       chunk = state.table.atOrAfter(chunk->number + 1)) {
    looked_at += Chunk::kEntries;
    for (uint64_t bits = chunk->live; bits != 0; bits &= bits - 1) {
      const Place at{chunk, static_cast<uint32_t>(std::countr_zero(bits))};
      const bool waits = at.entry().state() <= MessageState::kSuspect;
      if (!waits || at.seq() < slice.from || at.seq() > slice.through) continue;
      state.leave(at);
      state.enterSettling(at);
      ++purged.messages;
      const bool joins = out.size() > out_before && out.back().count < UINT32_MAX &&
                         out.back().first + out.back().count == at.seq();
      if (joins) {
        ++out.back().count;
      } else {
        out.push_back({at.seq(), 1});
      }
    }
  }
  if (chunk && chunk->seqOf(0) <= slice.through) purged.next = std::max<Seq>(chunk->seqOf(0), 1);
  return purged;
}

std::optional<Stored> Ledger::forget(Seq seq) {
  State& state = *state_;
  const Place at = state.table.find(seq);
  if (!at) return std::nullopt;
  const Entry& entry = at.entry();
  const Stored stored{entry.ref(), entry.bytes()};
  state.leave(at);
  if (entry.remembered()) state.history.remove(seq);
  state.counts.bytes -= stored.bytes;
  state.table.remove(at);
  return stored;
}

std::optional<Stored> Ledger::relocate(Seq seq, Ref to) {
  const Place at = state_->table.find(seq);
  if (!at) return std::nullopt;
  const Stored was{at.entry().ref(), at.entry().bytes()};
  at.entry().setRef(to);
  return was;
}

bool Ledger::holds(Seq seq, Ref ref) const {
  const Place at = state_->table.find(seq);
  return at && at.entry().ref() == ref;
}

size_t Ledger::peek(size_t max_messages, std::vector<Delivery>& out) const {
  size_t seen = 0;
  if (max_messages == 0) return 0;
  const auto see = [&](Place at) {
    const Entry& entry = at.entry();
    out.push_back({at.seq(), entry.ref(), entry.bytes(), state_->deliveries(at)});
    ++seen;
  };
  for (const auto& [failures, seq] : state_->suspects) {
    if (seen == max_messages) return seen;
    see(state_->table.find(seq));
  }
  state_->ready.forEach(state_->table, [&](const ReadyOrder::Run& run) {
    for (uint64_t bits = run.bits; bits != 0 && seen < max_messages; bits &= bits - 1) {
      see({run.chunk, static_cast<uint32_t>(std::countr_zero(bits))});
    }
    return seen < max_messages;
  });
  return seen;
}

}  // namespace millrace::ledger
