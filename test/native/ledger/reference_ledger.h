// The rules of ledger.h written the plainest way: one map, every question answered by looking at all of it.
// Slow, and meant to be seen to be right.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "ledger/ledger.h"

namespace millrace::ledger::test {

struct ReferenceMessage {
  enum State { kReady, kDelayed, kInFlight, kSettling, kDying };
  State state = kReady;
  Ref ref = 0;
  uint32_t bytes = 0;
  uint32_t deliveries = 0;
  uint32_t uncounted = 0;
  bool suspect = false;
  uint64_t due_ms = 0;
  uint64_t first_ms = 0;  // as far as it is remembered outside a lease
  struct {
    ConsumerId consumer = 0;
    uint64_t ordinal = 0;
    uint64_t ends_ms = 0;
    uint64_t first_ms = 0;
    uint64_t last_ms = 0;
  } lease;

  bool waits() const { return state == kReady || state == kDelayed; }
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
      const bool alone = m.suspect;
      if (alone && !out.empty()) break;
      m.suspect = false;
      max_bytes -= m.bytes;
      m.state = Message::kInFlight;
      if (++m.deliveries > 1) ++redelivered;
      m.lease = {consumer, taken_[consumer]++, now.monotonic_ms + limits.visibility_timeout_ms,
                 m.first_ms != 0 ? m.first_ms : now.wall_ms, now.wall_ms};
      out.push_back({seq, m.ref, m.bytes, m.deliveries, alone});
      if (alone) break;
    }
    return out;
  }

  void untake(ConsumerId consumer, const std::vector<Delivery>& deliveries) {
    for (const Delivery& d : deliveries) {
      Message* m = leased(consumer, d.seq, d.delivery_count);
      if (m == nullptr) continue;
      if (m->deliveries > 1) --redelivered;
      --m->deliveries;
      m->suspect = d.was_suspect;
      --taken_[consumer];
      m->state = Message::kReady;
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
    for (const auto& [seq, m] : messages)
      out.push_back({seq, m.ref, m.bytes, m.deliveries, m.uncounted,
                     m.state == Message::kDelayed ? m.due_ms : 0,
                     m.state == Message::kInFlight ? m.lease.first_ms : m.first_ms,
                     m.state == Message::kInFlight || (m.waits() && m.suspect)});
    return out;
  }

  void restore(const Saved& saved) {
    Message m;
    m.ref = saved.ref;
    m.bytes = saved.bytes;
    m.deliveries = saved.deliveries;
    m.uncounted = saved.uncounted;
    m.first_ms = saved.first_delivery_ms;
    m.suspect = saved.suspect;
    wait(m, saved.due_ms);
    messages.emplace(saved.seq, m);
  }
  void replayDelivered(Seq first, uint32_t count, uint32_t delivery_count) {
    for (auto& [seq, m] : messages) {
      if (seq < first || seq - first >= count || m.deliveries >= delivery_count) continue;
      m.deliveries = delivery_count;
      m.suspect = true;
      m.state = Message::kReady;
    }
  }
  void replayReturned(const Returned& returned) {
    const auto found = messages.find(returned.seq);
    if (found == messages.end() || found->second.deliveries > returned.deliveries) return;
    Message& m = found->second;
    m.deliveries = returned.deliveries;
    m.uncounted = returned.uncounted;
    m.first_ms = returned.first_delivery_ms;
    m.suspect = false;
    wait(m, returned.due_ms);
  }
  std::vector<Dead> finishRecovery() {
    std::vector<Dead> dead;
    for (auto& [seq, m] : messages) {
      if (!usedUp(m)) continue;
      m.state = Message::kDying;
      dead.push_back({seq, m.ref, m.bytes, m.deliveries, m.first_ms, 0});
    }
    return dead;
  }

  Counts counts() const {
    Counts c;
    for (const auto& [seq, m] : messages) {
      c.bytes += m.bytes;
      if (m.state == Message::kReady) ++c.ready;
      if (m.state == Message::kDelayed) ++c.delayed;
      if (m.state == Message::kInFlight) ++c.in_flight;
      if (m.state == Message::kSettling) ++c.settling;
      if (m.state == Message::kDying) ++c.dying;
    }
    c.redelivered = redelivered;
    return c;
  }

 private:
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
    wait(m, due_ms);
    return {.answer = Answer::kReturned, .returned = {seq, m.deliveries, m.uncounted, due_ms, m.first_ms}};
  }
  Outcome kill(Seq seq) {
    Message& m = messages[seq];
    m.first_ms = m.lease.first_ms;
    m.state = Message::kDying;
    return {.answer = Answer::kDead,
            .dead = {seq, m.ref, m.bytes, m.deliveries, m.first_ms, m.lease.last_ms}};
  }

  std::map<ConsumerId, uint64_t> taken_;
};

}  // namespace millrace::ledger::test
