// A ledger with a clock and verbs, so that a test reads as what happens to a queue. After every verb the
// counts are checked against what the ledger would save (G1).
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "harness/test.h"
#include "ledger/ledger.h"

namespace millrace::ledger::test {

// Whether the answer was taken: for the tests that need it to be and look at nothing else of it.
inline bool wasHeld(Answer answer) { return answer != Answer::kLeaseLost; }
inline bool wasHeld(const Outcome& outcome) { return wasHeld(outcome.answer); }

struct Events {
  std::vector<Returned> returned;
  std::vector<Dead> dead;
};

class QueueDriver {
 public:
  explicit QueueDriver(const Limits& limits = {})
      : limits_(limits), ledger_(std::make_unique<Ledger>(limits)) {}

  Ledger& ledger() { return *ledger_; }
  const Now& now() const { return now_; }
  void passMs(uint64_t ms) {
    now_.monotonic_ms += ms;
    now_.wall_ms += ms;
  }

  void send(size_t count) {
    for (size_t i = 0; i < count; ++i) sendAs(last_seq_ + 1);
  }
  void sendAs(Seq seq, uint32_t bytes = 10) {
    ledger_->enqueue(seq, seq * 100, bytes);
    last_seq_ = seq;
    check();
  }
  std::vector<Delivery> take(ConsumerId consumer, size_t count, uint64_t max_bytes = UINT64_MAX) {
    std::vector<Delivery> out;
    CHECK_EQ(ledger_->take(consumer, now_, count, max_bytes, out), out.size());
    check();
    return out;
  }
  Delivery takeOne(ConsumerId consumer) {
    const auto out = take(consumer, 1);
    CHECK_EQ(out.size(), 1u);
    return out[0];
  }
  std::vector<Seq> takeSeqs(ConsumerId consumer, size_t count) { return seqsOf(take(consumer, count)); }
  void untake(ConsumerId consumer, const std::vector<Delivery>& deliveries) {
    ledger_->untake(consumer, deliveries);
    check();
  }

  Answer ack(ConsumerId consumer, const Delivery& d) {
    return checked(ledger_->ack(consumer, d.seq, d.delivery_count)).answer;
  }
  Outcome nack(ConsumerId consumer, const Delivery& d, uint64_t delay_ms = 0) {
    return checked(ledger_->nack(consumer, d.seq, d.delivery_count, delay_ms, now_));
  }
  Outcome reject(ConsumerId consumer, const Delivery& d) {
    return checked(ledger_->reject(consumer, d.seq, d.delivery_count));
  }
  Outcome release(ConsumerId consumer, const Delivery& d) {
    return checked(ledger_->release(consumer, d.seq, d.delivery_count));
  }
  Answer extend(ConsumerId consumer, const Delivery& d, uint64_t ms) {
    return checked(ledger_->extend(consumer, d.seq, d.delivery_count, ms, now_)).answer;
  }
  Events die(ConsumerId consumer, uint64_t started) {
    Events events;
    ledger_->returnLeases(consumer, started, events.returned, events.dead);
    check();
    return events;
  }
  Events tick() {
    Events events;
    ledger_->tick(now_, events.returned, events.dead);
    check();
    return events;
  }
  bool forget(Seq seq) {
    const bool was_here = ledger_->forget(seq).has_value();
    check();
    return was_here;
  }
  std::vector<Seq> peekSeqs(size_t count) {
    std::vector<Delivery> out;
    CHECK_EQ(ledger_->peek(count, out), out.size());
    return seqsOf(out);
  }
  std::vector<Saved> saved(size_t piece = 1000) const {
    std::vector<Saved> out;
    for (Seq from = 1; from != 0;) from = ledger_->save(from, piece, out);
    return out;
  }
  void setLimits(const Limits& limits) {
    limits_ = limits;
    ledger_->setLimits(limits);
  }
  const Counts& counts() const { return ledger_->counts(); }

  // The next suspect, if there is one.
  std::vector<Delivery> takeSuspect(ConsumerId consumer) {
    std::vector<Delivery> out;
    CHECK_EQ(ledger_->takeSuspect(consumer, now_, out), out.size() == 1);
    check();
    return out;
  }
  std::vector<Seq> takeSuspectSeq(ConsumerId consumer) { return seqsOf(takeSuspect(consumer)); }

  // Goes on with a new ledger made from what this one saves.
  Recovered restart() {
    const std::vector<Saved> all = saved(3);
    ledger_ = std::make_unique<Ledger>(limits_);
    for (const Saved& one : all) ledger_->restore(one);
    const Recovered recovered = ledger_->finishRecovery(ledger_->longestRunMs());
    check();
    return recovered;
  }

  void check() const {
    const Counts& c = ledger_->counts();
    uint64_t messages = 0;
    uint64_t bytes = 0;
    for (const Saved& one : saved()) {
      ++messages;
      bytes += one.bytes;
    }
    CHECK_EQ(c.ready + c.delayed + c.suspects + c.in_flight + c.settling + c.dying, messages);
    CHECK_EQ(c.bytes, bytes);
    CHECK_EQ(ledger_->empty(), messages == 0);
  }

 private:
  static std::vector<Seq> seqsOf(const std::vector<Delivery>& deliveries) {
    std::vector<Seq> seqs;
    for (const Delivery& d : deliveries) seqs.push_back(d.seq);
    return seqs;
  }
  Outcome checked(const Outcome& outcome) const {
    check();
    return outcome;
  }

  Limits limits_;
  std::unique_ptr<Ledger> ledger_;
  Now now_{5'000, 1'700'000'000'000};
  Seq last_seq_ = 0;
};

using Seqs = std::vector<Seq>;

}  // namespace millrace::ledger::test
