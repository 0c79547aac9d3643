// Random commands on the ledger and on the reference at once; every output and every count must agree. What
// an engine would log is logged, snapshots are taken piece by piece while the log goes on, and restarts
// rebuild both from a snapshot and the records since its start; nothing settled may come back, nothing else
// may be missing.
#include <cstdio>
#include <memory>
#include <tuple>

#include "harness/test.h"
#include "reference_ledger.h"

namespace millrace::ledger {

static auto fields(const Delivery& d) {
  return std::tie(d.seq, d.ref, d.bytes, d.delivery_count, d.was_suspect);
}
static auto fields(const Returned& r) {
  return std::tie(r.seq, r.deliveries, r.uncounted, r.due_ms, r.first_delivery_ms);
}
static auto fields(const Dead& d) {
  return std::tie(d.seq, d.ref, d.bytes, d.deliveries, d.first_delivery_ms, d.last_delivery_ms);
}
static auto fields(const Saved& s) {
  return std::tie(s.seq, s.ref, s.bytes, s.deliveries, s.uncounted, s.due_ms, s.first_delivery_ms, s.suspect);
}
static auto fields(const Counts& c) {
  return std::tie(c.ready, c.delayed, c.suspects, c.in_flight, c.settling, c.dying, c.bytes, c.redelivered);
}

}  // namespace millrace::ledger

using namespace millrace::ledger;
using namespace millrace::ledger::test;

namespace {

template <typename T>
void checkEqual(const T& actual, const T& expected) {
  CHECK(fields(actual) == fields(expected));
}
template <typename T>
void checkEqual(const std::vector<T>& actual, const std::vector<T>& expected) {
  CHECK_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) checkEqual(actual[i], expected[i]);
}
template <typename T>
void sortBySeq(std::vector<T>& items) {
  std::sort(items.begin(), items.end(), [](const T& a, const T& b) { return a.seq < b.seq; });
}

struct Record {
  enum Kind { kMessage, kMove, kSettle, kDeliver, kReturn } kind;
  Seq seq;
  Ref ref = 0;
  uint32_t bytes = 0;
  uint32_t delivery_count = 0;
  Returned returned{};
};

struct Checkpoint {
  size_t position = 0;  // of the log when it began
  std::vector<Saved> saved;
};

class ModelRun {
 public:
  explicit ModelRun(uint64_t seed) : random_(seed) { setLimits(); }

  void run(uint64_t steps) {
    for (uint64_t step = 0; step < steps; ++step) {
      filling_ = step / 1000 % 3 != 2;
      command();
      snapshotPiece();
      compare();
    }
    std::printf("  %llu steps, %llu restarts, %llu records, %llu redelivered, %llu dead, %llu times empty\n",
                static_cast<unsigned long long>(steps), static_cast<unsigned long long>(restarts_),
                static_cast<unsigned long long>(log_.size()), static_cast<unsigned long long>(redelivered_),
                static_cast<unsigned long long>(dead_), static_cast<unsigned long long>(emptied_));
    CHECK(restarts_ > 0 && redelivered_ > 0 && dead_ > 0 && emptied_ > 0);
  }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }
  bool oneIn(uint64_t n) { return below(n) == 0; }
  ConsumerId anyConsumer() { return consumers_[below(4)]; }

  void command() {
    const uint64_t pick = below(1000);
    if (pick < 180) return filling_ ? enqueue() : forget();
    if (pick < 400) return oneIn(4) ? takeSuspect() : take();
    if (pick < 720) return answer();
    if (pick < 740) return markSuspect();
    if (pick < 860) return forget();
    if (pick < 900) return tick();
    if (pick < 940) return passTime();
    if (pick < 960) return relocate();
    if (pick < 975) return die();
    if (pick < 980) return purge();
    if (pick < 990) return setLimits();
    if (pick < 995) return beginSnapshot();
    if (pick < 998) return restart();
  }

  void enqueue() {
    const size_t count = below(reference_.messages.size() > 300 ? 2 : 12);
    for (size_t i = 0; i < count; ++i) {
      next_seq_ += oneIn(50) ? below(1000) : oneIn(500) ? below(1'000'000'000'000) : 1;
      const Ref ref = random_() & ((Ref{1} << 48) - 1);
      const auto bytes = static_cast<uint32_t>(below(100));
      ledger_->enqueue(next_seq_, ref, bytes);
      reference_.enqueue(next_seq_, ref, bytes);
      log_.push_back({Record::kMessage, next_seq_, ref, bytes});
    }
  }

  void take() {
    const ConsumerId consumer = anyConsumer();
    const size_t count = below(10);
    const uint64_t bytes = oneIn(2) ? UINT64_MAX : below(300);
    std::vector<Delivery> out;
    const size_t taken = ledger_->take(consumer, now_, count, bytes, out);
    CHECK_EQ(taken, out.size());
    checkEqual(out, reference_.take(consumer, now_, count, bytes));
    if (oneIn(8)) {
      // The journal took only the first of them.
      const auto kept = static_cast<ptrdiff_t>(below(out.size() + 1));
      const std::vector<Delivery> refused(out.begin() + kept, out.end());
      ledger_->untake(consumer, refused);
      reference_.untake(consumer, refused);
      out.resize(static_cast<size_t>(kept));
    }
    handOut(consumer, out);
  }

  // In the engine only one is in its hold at a time; the ledger does not mind.
  void takeSuspect() {
    const ConsumerId consumer = anyConsumer();
    std::vector<Delivery> out;
    CHECK_EQ(ledger_->takeSuspect(consumer, now_, out), !out.empty());
    checkEqual(out, reference_.takeSuspect(consumer, now_));
    if (!out.empty() && oneIn(8)) {
      ledger_->untake(consumer, out);
      reference_.untake(consumer, out);
      out.clear();
    }
    handOut(consumer, out);
  }

  void markSuspect() {
    const Delivery& d = handed_out_[below(handed_out_.size())].second;
    const auto ran_ms = static_cast<uint32_t>(below(100'000));
    const std::optional<Returned> mark = ledger_->markSuspect(d.seq, d.delivery_count, ran_ms);
    const std::optional<Returned> expected = reference_.markSuspect(d.seq, d.delivery_count, ran_ms);
    CHECK_EQ(mark.has_value(), expected.has_value());
    if (!mark) return;
    checkEqual(*mark, *expected);
    log_.push_back({.kind = Record::kReturn, .seq = mark->seq, .returned = *mark});
  }

  void handOut(ConsumerId consumer, const std::vector<Delivery>& out) {
    for (const Delivery& d : out) {
      handed_out_[below(handed_out_.size())] = {consumer, d};
      log_.push_back({Record::kDeliver, d.seq, 0, 0, d.delivery_count});
    }
  }

  void answer() {
    auto [consumer, d] = handed_out_[below(handed_out_.size())];
    if (oneIn(20)) consumer = anyConsumer();
    if (oneIn(20)) d.delivery_count += static_cast<uint32_t>(below(3)) - 1;
    if (oneIn(50)) d.seq = below(next_seq_ + 10);
    const uint64_t ms = oneIn(4) ? 0 : below(400);
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        return settle(ledger_->ack(consumer, d.seq, d.delivery_count),
                      reference_.ack(consumer, d.seq, d.delivery_count));
      case 3:
      case 4:
        return settle(ledger_->nack(consumer, d.seq, d.delivery_count, ms, now_),
                      reference_.nack(consumer, d.seq, d.delivery_count, ms, now_));
      case 5:
        return settle(ledger_->release(consumer, d.seq, d.delivery_count),
                      reference_.release(consumer, d.seq, d.delivery_count));
      case 6:
        return settle(ledger_->extend(consumer, d.seq, d.delivery_count, ms, now_),
                      reference_.extend(consumer, d.seq, d.delivery_count, ms, now_));
      default:
        if (!oneIn(4)) return;
        return settle(ledger_->reject(consumer, d.seq, d.delivery_count),
                      reference_.reject(consumer, d.seq, d.delivery_count));
    }
  }

  void settle(const Outcome& actual, const Outcome& expected) {
    CHECK(actual.answer == expected.answer);
    checkEqual(actual.returned, expected.returned);
    checkEqual(actual.dead, expected.dead);
    logOutcome(actual);
  }

  void logOutcome(const Outcome& outcome) {
    if (outcome.answer == Answer::kDead) ++dead_;
    if (outcome.answer != Answer::kReturned) return;
    log_.push_back({.kind = Record::kReturn, .seq = outcome.returned.seq, .returned = outcome.returned});
  }

  void compareOutcomes(std::vector<Returned> returned, std::vector<Dead> dead,
                       const std::vector<Outcome>& expected) {
    std::vector<Returned> expected_returned;
    std::vector<Dead> expected_dead;
    for (const Outcome& outcome : expected) {
      if (outcome.answer == Answer::kReturned) expected_returned.push_back(outcome.returned);
      if (outcome.answer == Answer::kDead) expected_dead.push_back(outcome.dead);
      logOutcome(outcome);
    }
    sortBySeq(returned);
    sortBySeq(dead);
    checkEqual(returned, expected_returned);
    checkEqual(dead, expected_dead);
  }

  void forget() {
    // What an engine may forget, and now and then something else.
    const size_t count = below(12);
    for (size_t i = 0; i < count; ++i) {
      if (reference_.messages.empty()) return;
      auto at = reference_.messages.lower_bound(below(next_seq_ + 1));
      if (oneIn(2)) at = reference_.messages.begin();
      for (; at != reference_.messages.end() && at->second.state < ReferenceMessage::kSettling;) ++at;
      if (oneIn(40)) at = reference_.messages.begin();
      const Seq seq = at == reference_.messages.end() ? next_seq_ + 1 + below(1000) : at->first;
      const auto stored = ledger_->forget(seq);
      CHECK_EQ(stored.has_value(), at != reference_.messages.end());
      if (!stored) continue;
      CHECK_EQ(stored->ref, at->second.ref);
      CHECK_EQ(stored->bytes, at->second.bytes);
      reference_.messages.erase(at);
      log_.push_back({Record::kSettle, seq});
    }
  }

  void tick() {
    std::vector<Returned> returned;
    std::vector<Dead> dead;
    const size_t messages_max = static_cast<size_t>(1 + below(20));
    while (ledger_->tick(now_, returned, dead, messages_max)) continue;
    compareOutcomes(returned, dead, reference_.tick(now_));
  }

  void passTime() {
    now_.monotonic_ms += below(60);
    now_.wall_ms += below(60);
    if (oneIn(20)) now_.wall_ms -= below(2000);  // the wall clock may jump
    if (oneIn(20)) now_.wall_ms += below(2000);
  }

  void relocate() {
    const auto at = reference_.messages.lower_bound(below(next_seq_ + 1));
    const Ref to = random_() & ((Ref{1} << 48) - 1);
    if (at == reference_.messages.end()) {
      CHECK(!ledger_->relocate(next_seq_ + 1, to));
      return;
    }
    CHECK(ledger_->holds(at->first, at->second.ref));
    const auto was = ledger_->relocate(at->first, to);
    CHECK(was.has_value());
    CHECK_EQ(was->ref, at->second.ref);
    at->second.ref = to;
    log_.push_back({Record::kMove, at->first, to});
  }

  void die() {
    const size_t which = below(4);
    const uint64_t started = oneIn(4) ? UINT64_MAX : below(60);
    std::vector<Returned> returned;
    std::vector<Dead> dead;
    ledger_->returnLeases(consumers_[which], started, returned, dead);
    compareOutcomes(returned, dead, reference_.returnLeases(consumers_[which], started));
    consumers_[which] = next_consumer_++;
  }

  void purge() {
    if (!oneIn(4)) return;
    std::vector<Range> ranges;
    uint64_t count = 0;
    Slice slice{.messages_max = static_cast<size_t>(1 + below(300))};
    do {
      const Purged purged = ledger_->purge(slice, ranges);
      count += purged.messages;
      slice.from = purged.next;
    } while (slice.from != 0);
    std::vector<Seq> seqs;
    for (const Range& range : ranges)
      for (uint32_t i = 0; i < range.count; ++i) seqs.push_back(range.first + i);
    CHECK_EQ(seqs.size(), count);
    CHECK(seqs == reference_.purge());
  }

  void setLimits() {
    reference_.limits = {.max_deliveries = static_cast<uint32_t>(below(6)),
                         .visibility_timeout_ms = 50 + below(400)};
    ledger_->setLimits(reference_.limits);
  }

  // A snapshot is written while the queue works, like the log's (its invariant L6).
  void beginSnapshot() {
    writing_ = Checkpoint{log_.size(), {}};
    save_from_ = 1;
  }
  void snapshotPiece() {
    if (!writing_) return;
    save_from_ = ledger_->save(save_from_, 1 + below(40), writing_->saved);
    if (save_from_ != 0) return;
    checkpoint_ = std::move(*writing_);
    writing_.reset();
  }

  void restart() {
    ++restarts_;
    redelivered_ += reference_.redelivered;
    const auto before = reference_.messages;
    const Limits limits = reference_.limits;
    ledger_ = std::make_unique<Ledger>(limits);
    reference_ = ReferenceLedger{};
    reference_.limits = limits;
    for (const Saved& saved : checkpoint_.saved) {
      ledger_->restore(saved);
      reference_.restore(saved);
    }
    const size_t repeats = oneIn(4) ? 2 : 1;
    for (size_t repeat = 0; repeat < repeats; ++repeat)
      for (size_t i = checkpoint_.position; i < log_.size(); ++i) replay(log_[i]);
    compare();
    checkNothingLostOrInvented(before);
    CHECK_EQ(ledger_->longestRunMs(), reference_.longestRunMs());
    const uint32_t longest_ms = oneIn(2) ? ledger_->longestRunMs() : static_cast<uint32_t>(below(200'000));
    const Recovered recovered = ledger_->finishRecovery(longest_ms);
    const Recovered expected = reference_.finishRecovery(longest_ms);
    checkEqual(recovered.marks, expected.marks);
    checkEqual(recovered.killers, expected.killers);
    checkEqual(recovered.dying, expected.dying);
    for (const Returned& mark : recovered.marks) {
      log_.push_back({.kind = Record::kReturn, .seq = mark.seq, .returned = mark});
    }
    writing_.reset();
    for (ConsumerId& consumer : consumers_) consumer = next_consumer_++;
  }

  void replay(const Record& record) {
    switch (record.kind) {
      case Record::kMessage:
        ledger_->enqueue(record.seq, record.ref, record.bytes);
        reference_.enqueue(record.seq, record.ref, record.bytes);
        break;
      case Record::kMove:
        ledger_->relocate(record.seq, record.ref);
        if (reference_.messages.contains(record.seq)) reference_.messages[record.seq].ref = record.ref;
        break;
      case Record::kSettle:
        ledger_->forget(record.seq);
        reference_.messages.erase(record.seq);
        break;
      case Record::kDeliver:
        ledger_->replayDelivered(record.seq, 1, record.delivery_count);
        reference_.replayDelivered(record.seq, 1, record.delivery_count);
        break;
      case Record::kReturn:
        ledger_->replayReturned(record.returned);
        reference_.replayReturned(record.returned);
        break;
    }
  }

  void checkNothingLostOrInvented(const std::map<Seq, ReferenceMessage>& before) {
    CHECK_EQ(reference_.messages.size(), before.size());
    for (const auto& [seq, m] : before) {
      CHECK(reference_.messages.contains(seq));
      const ReferenceMessage& now = reference_.messages[seq];
      CHECK_EQ(now.ref, m.ref);
      CHECK_EQ(now.bytes, m.bytes);
      CHECK_EQ(now.deliveries, m.deliveries);
      const bool outlived = m.state == ReferenceMessage::kInFlight && m.suspicion == Suspicion::kOutlived;
      if (m.state == ReferenceMessage::kSettling || m.state == ReferenceMessage::kDying) {
        CHECK(now.uncounted - m.uncounted <= 1);  // as its mark says, if it was a suspect
      } else {
        CHECK_EQ(now.uncounted, m.uncounted + (outlived ? 1 : 0));
      }
      if (m.state == ReferenceMessage::kInFlight) {
        // One that became a suspect and had its hold in this very life is known by its mark.
        const Suspicion expected = outlived ? Suspicion::kSuspect : m.suspicion;
        CHECK(now.suspicion == expected);
        CHECK(now.unreturned == !outlived);
      }
      if (m.state == ReferenceMessage::kSuspect) CHECK(now.suspicion == Suspicion::kSuspect);
      if (m.state == ReferenceMessage::kDelayed) CHECK_EQ(now.due_ms, m.due_ms);
      if (m.state == ReferenceMessage::kDelayed) CHECK(now.state == ReferenceMessage::kDelayed);
    }
  }

  void compare() {
    checkEqual(ledger_->counts(), reference_.counts());
    CHECK_EQ(ledger_->empty(), reference_.messages.empty());
    if (ledger_->empty()) ++emptied_;
    const std::vector<Seq> order = reference_.order();
    const std::vector<Seq> suspects = reference_.suspects();
    const std::optional<Suspected> first = ledger_->firstSuspect();
    CHECK_EQ(first.has_value(), !suspects.empty());
    if (first) CHECK_EQ(first->seq, suspects[0]);
    CHECK_EQ(ledger_->neededBytes(), order.empty() ? 0 : reference_.messages[order[0]].bytes);
    if (oneIn(4)) {
      CHECK_EQ(ledger_->nextLeaseEndMonotonicMs(), reference_.nextLeaseEnd());
      CHECK_EQ(ledger_->nextDueWallMs(), reference_.nextDue());
    }
    if (oneIn(8)) {
      std::vector<Seq> all = suspects;
      all.insert(all.end(), order.begin(), order.end());
      comparePeek(all);
    }
    if (oneIn(16)) {
      std::vector<Saved> saved;
      for (Seq from = 1; from != 0;) from = ledger_->save(from, 1 + below(64), saved);
      checkEqual(saved, reference_.save());
    }
  }

  void comparePeek(const std::vector<Seq>& order) {
    std::vector<Delivery> seen;
    const size_t wanted = below(200);
    CHECK(ledger_->peek(wanted, seen) == std::min(wanted, order.size()));
    for (size_t i = 0; i < seen.size(); ++i) {
      const ReferenceMessage& m = reference_.messages[order[i]];
      checkEqual(seen[i], Delivery{order[i], m.ref, m.bytes, m.deliveries});
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<Ledger> ledger_ = std::make_unique<Ledger>(Limits{});
  ReferenceLedger reference_;
  Now now_{1'000'000, 1'700'000'000'000};
  Seq next_seq_ = 0;
  std::array<ConsumerId, 4> consumers_{1, 2, 3, 4};
  ConsumerId next_consumer_ = 5;
  std::array<std::pair<ConsumerId, Delivery>, 48> handed_out_{};
  std::vector<Record> log_;
  Checkpoint checkpoint_;
  std::optional<Checkpoint> writing_;
  Seq save_from_ = 1;
  bool filling_ = true;  // in turns with draining, so that the queue is empty now and then
  uint64_t emptied_ = 0;
  uint64_t restarts_ = 0;
  uint64_t redelivered_ = 0;
  uint64_t dead_ = 0;
};

}  // namespace

TEST(LedgerAgreesWithTheReferenceThroughRandomCommandsAndRestarts) {
  constexpr uint64_t kRuns = 10;
  constexpr uint64_t kSteps = 40'000;
  for (uint64_t run = 0; run < kRuns * millrace::test::scale(); ++run) {
    const uint64_t seed = millrace::test::seed() + run;
    std::printf("  seed %llu:", static_cast<unsigned long long>(seed));
    ModelRun(seed).run(kSteps);
  }
}
