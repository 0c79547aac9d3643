// The rules of ledger.h written the plainest way: one map, every question answered by looking at all of it.
// Slow, and meant to be seen to be right.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "ledger/ledger.h"
#include "ledger/suspicion.h"

namespace millrace::ledger::test {

struct ReferenceMessage {
  enum State { kReady, kDelayed, kSuspect, kInFlight, kSettling, kDying };
  State state = kReady;
  Ref ref = 0;
  uint32_t bytes = 0;
  uint32_t deliveries = 0;
  uint32_t uncounted = 0;
  bool unreturned = false;  // replay: delivered, and no return since
  Suspicion suspicion = Suspicion::kNone;
  uint32_t ran_ms = 0;
  uint64_t due_ms = 0;
  uint64_t first_ms = 0;  // as far as it is remembered outside a lease
  struct {
    ConsumerId consumer = 0;
    uint64_t ordinal = 0;
    uint64_t ends_ms = 0;
    uint64_t first_ms = 0;
    uint64_t last_ms = 0;
  } lease;

  bool waits() const { return state == kReady || state == kDelayed || state == kSuspect; }
  uint32_t failures() const { return deliveries - uncounted; }
};

class ReferenceLedger {
 public:
  using Message = ReferenceMessage;
  Limits limits;
  std::map<Seq, Message> messages;
  uint64_t redelivered = 0;

  void enqueue(Seq seq, Ref ref, uint32_t bytes) {
    Message m;
    m.ref = ref;
    m.bytes = bytes;
    messages.emplace(seq, m);
  }

  std::vector<Seq> suspects() const {
    std::vector<Seq> seqs;
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kSuspect) seqs.push_back(seq);
    std::stable_sort(seqs.begin(), seqs.end(),
                     [&](Seq a, Seq b) { return messages.at(a).failures() < messages.at(b).failures(); });
    return seqs;
  }
  std::vector<Seq> order() const {
    std::vector<Seq> seqs;
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kReady && m.deliveries > 0) seqs.push_back(seq);
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kReady && m.deliveries == 0) seqs.push_back(seq);
    return seqs;
  }

  std::vector<Delivery> take(ConsumerId consumer, const Now& now, size_t max_messages, uint64_t max_bytes) {
    std::vector<Delivery> out;
    for (const Seq seq : order()) {
      Message& m = messages[seq];
      if (out.size() == max_messages || m.bytes > max_bytes) break;
      max_bytes -= m.bytes;
      out.push_back(deliver(consumer, seq, now));
    }
    return out;
  }
  std::vector<Delivery> takeSuspect(ConsumerId consumer, const Now& now) {
    const std::vector<Seq> seqs = suspects();
    if (seqs.empty()) return {};
    messages[seqs[0]].suspicion = Suspicion::kHeld;
    Delivery delivery = deliver(consumer, seqs[0], now);
    delivery.was_suspect = true;
    return {delivery};
  }
  std::optional<Returned> markSuspect(Seq seq, uint32_t count, uint32_t ran_ms) {
    const auto found = messages.find(seq);
    if (found == messages.end()) return std::nullopt;
    Message& m = found->second;
    const bool begun = m.suspicion == Suspicion::kHeld || m.suspicion == Suspicion::kOutlived;
    if (m.state != Message::kInFlight || m.deliveries != count || !begun) return std::nullopt;
    m.suspicion = Suspicion::kOutlived;
    m.ran_ms = std::max(m.ran_ms, ran_ms);
    return Returned{seq, m.deliveries, m.uncounted + 1, dueOfMark({Suspicion::kSuspect, m.ran_ms}),
                    m.lease.first_ms};
  }

  void untake(ConsumerId consumer, const std::vector<Delivery>& deliveries) {
    for (const Delivery& d : deliveries) {
      Message* m = leased(consumer, d.seq, d.delivery_count);
      if (m == nullptr) continue;
      if (m->deliveries > 1) --redelivered;
      --m->deliveries;
      --taken_[consumer];
      m->state = d.was_suspect ? Message::kSuspect : Message::kReady;
      if (d.was_suspect) m->suspicion = Suspicion::kSuspect;
    }
  }

  Message* leased(ConsumerId consumer, Seq seq, uint32_t count) {
    const auto found = messages.find(seq);
    if (found == messages.end()) return nullptr;
    Message& m = found->second;
    const bool mine = m.state == Message::kInFlight && m.deliveries == count && m.lease.consumer == consumer;
    return mine ? &m : nullptr;
  }

  Outcome ack(ConsumerId consumer, Seq seq, uint32_t count) {
    Message* m = leased(consumer, seq, count);
    if (m == nullptr) return {};
    m->state = Message::kSettling;
    return {.answer = Answer::kDone};
  }
  Outcome nack(ConsumerId consumer, Seq seq, uint32_t count, uint64_t delay_ms, const Now& now) {
    if (leased(consumer, seq, count) == nullptr) return {};
    return end(seq, true, delay_ms == 0 ? 0 : now.wall_ms + delay_ms);
  }
  Outcome reject(ConsumerId consumer, Seq seq, uint32_t count) {
    if (leased(consumer, seq, count) == nullptr) return {};
    return kill(seq);
  }
  Outcome release(ConsumerId consumer, Seq seq, uint32_t count) {
    if (leased(consumer, seq, count) == nullptr) return {};
    return end(seq, false, 0);
  }
  Outcome extend(ConsumerId consumer, Seq seq, uint32_t count, uint64_t ms, const Now& now) {
    Message* m = leased(consumer, seq, count);
    if (m == nullptr) return {};
    m->lease.ends_ms = now.monotonic_ms + ms;
    return {.answer = Answer::kDone};
  }

  std::vector<Outcome> returnLeases(ConsumerId consumer, uint64_t started) {
    std::vector<Outcome> outcomes;
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kInFlight && m.lease.consumer == consumer)
        outcomes.push_back(end(seq, m.lease.ordinal < started, 0));
    taken_.erase(consumer);
    return outcomes;
  }

  std::vector<Outcome> tick(const Now& now) {
    std::vector<Outcome> outcomes;
    for (auto& [seq, m] : messages) {
      if (m.state == Message::kInFlight && m.lease.ends_ms <= now.monotonic_ms) {
        outcomes.push_back(end(seq, true, 0));
      } else if (m.state == Message::kDelayed && m.due_ms <= now.wall_ms) {
        m.state = Message::kReady;
      }
    }
    return outcomes;
  }

  uint64_t nextLeaseEnd() const {
    uint64_t next = UINT64_MAX;
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kInFlight) next = std::min(next, m.lease.ends_ms);
    return next;
  }
  uint64_t nextDue() const {
    uint64_t next = UINT64_MAX;
    for (const auto& [seq, m] : messages)
      if (m.state == Message::kDelayed) next = std::min(next, m.due_ms);
    return next;
  }

  std::vector<Seq> purge() {
    std::vector<Seq> seqs;
    for (auto& [seq, m] : messages) {
      if (!m.waits()) continue;
      m.state = Message::kSettling;
      seqs.push_back(seq);
    }
    return seqs;
  }

  std::vector<Saved> save() const {
    std::vector<Saved> out;
    for (const auto& [seq, m] : messages) {
      const bool in_flight = m.state == Message::kInFlight;
      const uint32_t given_back = in_flight && m.suspicion == Suspicion::kOutlived ? 1 : 0;
      uint64_t due_ms = dueOfMark({m.suspicion, m.ran_ms});
      if (m.state == Message::kDelayed) due_ms = m.due_ms;
      if (m.state == Message::kSettling) due_ms = 0;
      const bool waits = m.state == Message::kReady || m.state == Message::kSuspect;
      out.push_back({seq, m.ref, m.bytes, m.deliveries, m.uncounted + given_back, due_ms,
                     in_flight ? m.lease.first_ms : m.first_ms,
                     in_flight || (waits && (m.unreturned || m.suspicion == Suspicion::kSuspect))});
    }
    return out;
  }

  void restore(const Saved& saved) {
    Message m;
    m.ref = saved.ref;
    m.bytes = saved.bytes;
    m.deliveries = saved.deliveries;
    m.uncounted = saved.uncounted;
    m.first_ms = saved.first_delivery_ms;
    note(m, saved.due_ms);
    m.unreturned = saved.suspect && (m.suspicion == Suspicion::kNone || m.suspicion == Suspicion::kHeld);
    messages.emplace(saved.seq, m);
  }
  void replayDelivered(Seq first, uint32_t count, uint32_t delivery_count) {
    for (auto& [seq, m] : messages) {
      if (seq < first || seq - first >= count || m.deliveries >= delivery_count) continue;
      m.deliveries = delivery_count;
      m.unreturned = true;
      m.state = Message::kReady;
      if (m.suspicion == Suspicion::kSuspect) m.suspicion = Suspicion::kHeld;
      if (m.suspicion == Suspicion::kDoomed) m.suspicion = Suspicion::kNone;
    }
  }
  void replayReturned(const Returned& returned) {
    const auto found = messages.find(returned.seq);
    if (found == messages.end() || found->second.deliveries > returned.deliveries) return;
    Message& m = found->second;
    m.deliveries = returned.deliveries;
    m.uncounted = returned.uncounted;
    m.first_ms = returned.first_delivery_ms;
    m.unreturned = false;
    note(m, returned.due_ms);
  }
  uint32_t longestRunMs() const {
    uint32_t longest = 0;
    for (const auto& [seq, m] : messages)
      if (m.suspicion != Suspicion::kNone) longest = std::max(longest, m.ran_ms);
    return longest;
  }
  Recovered finishRecovery(uint32_t longest_run_ms) {
    Recovered recovered;
    for (auto& [seq, m] : messages) {
      const Suspicion was = m.suspicion;
      if (was == Suspicion::kNone && !m.unreturned) continue;
      const bool in_flight_beside = was == Suspicion::kNone;
      m.unreturned = false;
      const Dead dead{seq, m.ref, m.bytes, m.deliveries, m.first_ms, 0};
      if (was == Suspicion::kDoomed || (was == Suspicion::kHeld && usedUp(m))) {
        m.state = Message::kDying;
        m.suspicion = Suspicion::kDoomed;
        if (was == Suspicion::kHeld) {
          recovered.marks.push_back({seq, m.deliveries, m.uncounted, kMarksEnd, m.first_ms});
        }
        (was == Suspicion::kHeld ? recovered.killers : recovered.dying).push_back(dead);
        continue;
      }
      if (in_flight_beside) ++m.uncounted;
      const bool known = was == Suspicion::kSuspect && m.ran_ms == longest_run_ms;
      m.ran_ms = longest_run_ms;
      m.suspicion = Suspicion::kSuspect;
      m.state = Message::kSuspect;
      if (known) continue;
      recovered.marks.push_back(
          {seq, m.deliveries, m.uncounted, dueOfMark({Suspicion::kSuspect, m.ran_ms}), m.first_ms});
    }
    return recovered;
  }

  Counts counts() const {
    Counts c;
    for (const auto& [seq, m] : messages) {
      c.bytes += m.bytes;
      if (m.state == Message::kReady) ++c.ready;
      if (m.state == Message::kDelayed) ++c.delayed;
      if (m.state == Message::kSuspect) ++c.suspects;
      if (m.state == Message::kInFlight) ++c.in_flight;
      if (m.state == Message::kSettling) ++c.settling;
      if (m.state == Message::kDying) ++c.dying;
    }
    c.redelivered = redelivered;
    return c;
  }

 private:
  Delivery deliver(ConsumerId consumer, Seq seq, const Now& now) {
    Message& m = messages[seq];
    m.state = Message::kInFlight;
    if (++m.deliveries > 1) ++redelivered;
    m.lease = {consumer, taken_[consumer]++, now.monotonic_ms + limits.visibility_timeout_ms,
               m.first_ms != 0 ? m.first_ms : now.wall_ms, now.wall_ms};
    return {seq, m.ref, m.bytes, m.deliveries};
  }
  static void note(Message& m, uint64_t due_ms) {
    const Mark mark = markOfDue(due_ms);
    m.suspicion = mark.suspicion;
    m.ran_ms = mark.ran_ms;
    wait(m, dueWritten(due_ms));
  }
  static void wait(Message& m, uint64_t due_ms) {
    m.state = due_ms == 0 ? Message::kReady : Message::kDelayed;
    m.due_ms = due_ms;
  }
  bool usedUp(const Message& m) const {
    return limits.max_deliveries != 0 && m.deliveries - m.uncounted >= limits.max_deliveries;
  }
  Outcome end(Seq seq, bool counted, uint64_t due_ms) {
    Message& m = messages[seq];
    if (!counted) ++m.uncounted;
    if (counted && usedUp(m)) return kill(seq);
    m.first_ms = m.lease.first_ms;
    if (!counted && m.suspicion != Suspicion::kNone) {
      m.state = Message::kSuspect;
      m.suspicion = Suspicion::kSuspect;
      due_ms = dueOfMark({Suspicion::kSuspect, m.ran_ms});
    } else {
      m.suspicion = Suspicion::kNone;
      wait(m, due_ms);
    }
    return {.answer = Answer::kReturned, .returned = {seq, m.deliveries, m.uncounted, due_ms, m.first_ms}};
  }
  Outcome kill(Seq seq) {
    Message& m = messages[seq];
    m.first_ms = m.lease.first_ms;
    m.state = Message::kDying;
    m.suspicion = Suspicion::kDoomed;
    return {.answer = Answer::kDead,
            .dead = {seq, m.ref, m.bytes, m.deliveries, m.first_ms, m.lease.last_ms}};
  }

  std::map<ConsumerId, uint64_t> taken_;
};

}  // namespace millrace::ledger::test
