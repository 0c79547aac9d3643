#include "ledger/suspects.h"
#include "ledger/suspicion.h"
#include "queue_driver.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

namespace {

void checkSame(const std::vector<Saved>& a, const std::vector<Saved>& b) {
  CHECK_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK_EQ(a[i].seq, b[i].seq);
    CHECK_EQ(a[i].ref, b[i].ref);
    CHECK_EQ(a[i].bytes, b[i].bytes);
    CHECK_EQ(a[i].deliveries, b[i].deliveries);
    CHECK_EQ(a[i].uncounted, b[i].uncounted);
    CHECK_EQ(a[i].due_ms, b[i].due_ms);
    CHECK_EQ(a[i].first_delivery_ms, b[i].first_delivery_ms);
    CHECK_EQ(a[i].suspect, b[i].suspect);
  }
}

// One message in each state: 1 settling, 2 dying, 3 delayed, 4 released, 5 nacked, 6 in flight, 7 to 9 ready.
void fillWithEveryState(QueueDriver& queue) {
  queue.send(9);
  const auto d = queue.take(1, 6);
  queue.passMs(5);
  CHECK(wasHeld(queue.ack(1, d[0])));
  CHECK(wasHeld(queue.reject(1, d[1])));
  CHECK(wasHeld(queue.nack(1, d[2], 5000)));
  CHECK(wasHeld(queue.release(1, d[3])));
  CHECK(wasHeld(queue.nack(1, d[4])));
}

}  // namespace

TEST(LedgerSavesEveryStateAsLive) {
  QueueDriver queue;
  const uint64_t first_ms = queue.now().wall_ms;
  fillWithEveryState(queue);
  const auto saved = queue.saved();
  CHECK_EQ(saved.size(), 9u);
  for (const Saved& one : saved) {
    CHECK_EQ(one.ref, one.seq * 100);
    CHECK_EQ(one.deliveries, one.seq <= 6 ? 1u : 0u);
    CHECK_EQ(one.uncounted, one.seq == 4 ? 1u : 0u);
    CHECK_EQ(one.due_ms, one.seq == 3 ? queue.now().wall_ms + 5000 : one.seq == 2 ? kMarksEnd : 0);
    // Of an acked message no more is kept than it needs.
    CHECK_EQ(one.first_delivery_ms, one.seq >= 2 && one.seq <= 6 ? first_ms : 0);
    CHECK_EQ(one.suspect, one.seq == 6);
  }
}

TEST(LedgerSaveGoesOnWhereItStopped) {
  QueueDriver queue;
  fillWithEveryState(queue);
  queue.sendAs(1'000'000);
  queue.sendAs(kSeqMax);
  for (const size_t piece : {1u, 2u, 7u, 11u}) checkSame(queue.saved(piece), queue.saved());
  std::vector<Saved> out;
  CHECK_EQ(queue.ledger().save(0, 0, out), 1u);
  CHECK_EQ(queue.ledger().save(10, 1, out), kSeqMax);
  CHECK_EQ(queue.ledger().save(kSeqMax + 1, 1, out), 0u);
  CHECK_EQ(queue.ledger().save(UINT64_MAX, 1, out), 0u);
  CHECK_EQ(out.size(), 1u);
}

TEST(LedgerRestartKeepsWhatWasSaved) {
  QueueDriver queue;
  fillWithEveryState(queue);
  auto before = queue.saved();
  const Recovered recovered = queue.restart();
  CHECK_EQ(recovered.marks.size(), 1u);
  CHECK_EQ(recovered.dying.size(), 1u);
  CHECK_EQ(recovered.dying[0].seq, 2u);
  CHECK(recovered.killers.empty());
  before[5].uncounted = 1;  // in flight, and nobody knows better
  before[5].due_ms = recovered.marks[0].due_ms;
  checkSame(queue.saved(), before);
  CHECK_EQ(queue.counts().delayed, 1u);
  CHECK_EQ(queue.counts().suspects, 1u);
  CHECK_EQ(queue.counts().dying, 1u);
  CHECK_EQ(queue.counts().ready, 6u);
  CHECK((queue.takeSuspectSeq(1) == Seqs{6}));
  CHECK(queue.takeSuspectSeq(1).empty());
  // What was delivered before goes first.
  CHECK((queue.takeSeqs(1, 9) == Seqs{1, 4, 5, 7, 8, 9}));
  queue.passMs(5000);
  queue.tick();
  CHECK((queue.takeSeqs(1, 9) == Seqs{3}));
}

TEST(LedgerCrashChargesTheOneInItsHoldAndNobodyElse) {
  QueueDriver queue({.max_deliveries = 2});
  queue.send(3);
  queue.take(1, 3);
  // None was alone: nobody is charged, all are suspect.
  CHECK(queue.restart().killers.empty());
  CHECK_EQ(queue.counts().suspects, 3u);
  CHECK((queue.takeSuspectSeq(1) == Seqs{1}));
  const Recovered first = queue.restart();
  CHECK(first.killers.empty());
  CHECK_EQ(first.marks.size(), 1u);  // the others stay what they were
  // Fewest failures first.
  const auto second = queue.takeSuspect(1);
  CHECK_EQ(second.at(0).seq, 2u);
  CHECK(wasHeld(queue.ack(1, second[0])));
  queue.forget(2);
  queue.takeSuspect(1);
  CHECK(wasHeld(queue.nack(1, {3, 300, 10, 2})));  // a failure like any other, and no suspect any more
  CHECK((queue.takeSuspectSeq(1) == Seqs{1}));
  const Recovered last = queue.restart();
  CHECK_EQ(last.killers.size(), 1u);
  CHECK_EQ(last.killers[0].seq, 1u);
  CHECK_EQ(last.killers[0].deliveries, 3u);
  CHECK_EQ(last.killers[0].last_delivery_ms, 0u);
  CHECK_EQ(queue.counts().dying, 1u);
  CHECK_EQ(queue.counts().ready, 1u);
}

TEST(LedgerLoweredLimitBuriesNothingAtOpening) {
  QueueDriver queue({.max_deliveries = 9});
  queue.send(2);
  for (int i = 0; i < 4; ++i) CHECK(wasHeld(queue.nack(1, queue.takeOne(1))));
  queue.setLimits({.max_deliveries = 2});
  CHECK(queue.restart().killers.empty());
  CHECK_EQ(queue.counts().ready, 2u);
  const Delivery d = queue.takeOne(1);
  CHECK_EQ(d.delivery_count, 5u);
  CHECK(queue.release(1, d).answer == Answer::kReturned);
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kDead);  // the next failure
}

TEST(LedgerSuspectThatWasGivenBackUnusedStaysOne) {
  QueueDriver queue;
  queue.send(4);
  queue.take(1, 4);
  queue.restart();
  const Delivery released = queue.takeSuspect(1).at(0);
  const Outcome outcome = queue.release(1, released);
  CHECK(markOfDue(outcome.returned.due_ms).suspicion == Suspicion::kSuspect);
  CHECK_EQ(queue.counts().suspects, 4u);
  CHECK(queue.take(1, 4).empty());
  const auto undone = queue.takeSuspect(1);
  queue.untake(1, undone);  // as if it had not happened
  CHECK_EQ(queue.counts().suspects, 4u);
  CHECK_EQ(queue.takeSuspect(1).at(0).delivery_count, 3u);
  std::vector<Range> purged;
  CHECK_EQ(queue.ledger().purge({}, purged).messages, 3u);
  CHECK_EQ(queue.counts().suspects, 0u);
  queue.check();
}

TEST(LedgerSuspectWhoseHoldIsOverIsNotCharged) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(2);
  queue.take(1, 2);
  queue.restart();
  const Delivery begun = queue.takeSuspect(1).at(0);
  const auto mark = queue.ledger().markSuspect(begun.seq, begun.delivery_count, 12'000);
  CHECK(mark.has_value());
  CHECK_EQ(mark->uncounted, 2u);
  CHECK(!queue.ledger().markSuspect(begun.seq, begun.delivery_count + 1, 1));
  CHECK((queue.takeSuspectSeq(2) == Seqs{2}));
  const Recovered recovered = queue.restart();
  CHECK_EQ(recovered.killers.size(), 1u);
  CHECK_EQ(recovered.killers[0].seq, 2u);
  CHECK_EQ(queue.counts().suspects, 1u);
  CHECK_EQ(queue.ledger().longestRunMs(), 12'000u);
  CHECK_EQ(queue.takeSuspect(1).at(0).seq, 1u);
}

TEST(LedgerReplayTellsTheSuspectFromTheOneInItsHold) {
  const Returned mark{1, 1, 1, dueOfMark({Suspicion::kSuspect, 0}), 7};
  for (const bool over : {false, true}) {
    QueueDriver queue({.max_deliveries = 1});
    queue.send(2);
    for (int twice = 0; twice < 2; ++twice) {
      queue.ledger().replayDelivered(1, 2, 1);
      queue.ledger().replayReturned(mark);
      queue.ledger().replayDelivered(1, 1, 2);
      if (over) queue.ledger().replayReturned({1, 2, 2, dueOfMark({Suspicion::kSuspect, 99}), 7});
    }
    const Recovered recovered = queue.ledger().finishRecovery(0);
    CHECK_EQ(recovered.killers.size(), over ? 0u : 1u);
    CHECK_EQ(queue.counts().suspects, over ? 2u : 1u);
  }
}

TEST(LedgerSuspectsThatSeemToBeInOneHoldAreNotCharged) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(2);
  for (const Seq seq : Seqs{1, 2}) {
    queue.ledger().replayDelivered(seq, 1, 1);
    queue.ledger().replayReturned({seq, 1, 1, dueOfMark({Suspicion::kSuspect, 0}), 7});
    queue.ledger().replayDelivered(seq, 1, 2);
  }
  CHECK_EQ(queue.ledger().heldSuspects(), 2u);
  const Recovered recovered = queue.ledger().finishRecovery(0, false);
  CHECK(recovered.killers.empty());
  CHECK_EQ(queue.counts().suspects, 2u);
  CHECK_EQ(recovered.marks.size(), 2u);
  for (const Returned& mark : recovered.marks) CHECK_EQ(mark.uncounted, mark.deliveries);
  CHECK_EQ(queue.ledger().heldSuspects(), 0u);
}

TEST(LedgerPausedHoldIsNobodys) {
  Suspects suspects;
  suspects.pause(1000);
  CHECK(!suspects.mayBegin(1, 1000));
  CHECK(!suspects.isFree(1000));
  CHECK_EQ(suspects.nextMs(1000), 1000 + Suspects::kPauseMs);
  CHECK(suspects.mayBegin(1, 1000 + Suspects::kPauseMs));
  CHECK(suspects.isFree(1000 + Suspects::kPauseMs));
}

TEST(LedgerCloseGivesEverythingBackUncounted) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(6);
  queue.take(1, 3);
  queue.take(2, 2);
  std::vector<Returned> returned;
  queue.ledger().returnAll(returned);
  CHECK_EQ(returned.size(), 5u);
  for (const Returned& one : returned) CHECK_EQ(one.uncounted, 1u);
  CHECK_EQ(queue.counts().ready, 6u);
  CHECK(queue.restart().marks.empty());
  CHECK_EQ(queue.takeSeqs(1, 9).size(), 6u);
}

TEST(LedgerReplayedDeliveryRaisesCountsOfARange) {
  QueueDriver queue;
  queue.send(130);
  queue.ledger().replayDelivered(60, 70, 3);
  queue.ledger().replayDelivered(61, 1, 2);  // older: nothing
  queue.check();
  for (const Saved& one : queue.saved()) CHECK_EQ(one.deliveries, one.seq >= 60 && one.seq < 130 ? 3u : 0u);
  CHECK(queue.peekSeqs(1)[0] == 60u);
  CHECK_EQ(queue.takeOne(1).delivery_count, 4u);
}

TEST(LedgerReplaySurvivesAnyArgument) {
  QueueDriver queue;
  queue.send(3);
  queue.takeOne(1);
  queue.ledger().replayDelivered(0, UINT32_MAX, 1);
  queue.ledger().replayDelivered(UINT64_MAX, UINT32_MAX, UINT32_MAX);
  queue.ledger().replayDelivered(kSeqMax, UINT32_MAX, UINT32_MAX);
  queue.ledger().replayDelivered(2, 0, 9);
  queue.ledger().replayReturned({77, 1, 1, 1, 1});
  queue.ledger().replayReturned({1, 9, 9, 9, 9});  // in flight: not a replay's business
  queue.ledger().replayReturned({2, UINT32_MAX, UINT32_MAX, UINT64_MAX, 1});
  queue.ledger().restore({0, 1, 1, 1, 1, 1, 1, true});
  queue.ledger().restore({UINT64_MAX, 1, 1, 1, 1, 1, 1, true});
  queue.ledger().restore({50, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, true});
  queue.ledger().restore({50, 1, 1, 1, 1, 1, 1, false});
  queue.ledger().restore({51, 1, 1, 2, 9, 0, 1, false});  // more uncounted than deliveries
  queue.check();
  const auto saved = queue.saved();
  CHECK_EQ(saved.size(), 5u);
  CHECK_EQ(saved[4].uncounted, 2u);
  CHECK_EQ(saved[0].deliveries, 1u);
  CHECK_EQ(saved[1].deliveries, kDeliveriesMax);
  CHECK_EQ(saved[1].uncounted, kDeliveriesMax);
  CHECK_EQ(saved[3].deliveries, kDeliveriesMax);
  (void)queue.ledger().finishRecovery(UINT32_MAX);
  queue.check();
}

TEST(LedgerReplayOverANewerSnapshotChangesNothing) {
  QueueDriver queue({.max_deliveries = 9});
  queue.send(1);
  std::vector<Returned> log;
  for (int i = 0; i < 4; ++i) log.push_back(queue.nack(1, queue.takeOne(1), i == 3 ? 700 : 0).returned);
  const auto newest = queue.saved();
  queue.restart();
  for (int twice = 0; twice < 2; ++twice) {
    queue.ledger().enqueue(1, 55, 55);
    for (const Returned& one : log) {
      // Not even in between: what follows in the log may have been cut off.
      queue.ledger().replayDelivered(1, 1, one.deliveries);
      checkSame(queue.saved(), newest);
      queue.ledger().replayReturned(one);
      checkSame(queue.saved(), newest);
    }
    queue.check();
  }
  CHECK_EQ(queue.ledger().nextDueWallMs(), newest[0].due_ms);
}

TEST(LedgerReplayedReturnThenDeliveryEndsTheDelay) {
  QueueDriver queue;
  queue.send(1);
  queue.ledger().replayDelivered(1, 1, 1);
  queue.ledger().replayReturned({1, 1, 0, queue.now().wall_ms + 500, 7});
  CHECK_EQ(queue.counts().delayed, 1u);
  queue.ledger().replayDelivered(1, 1, 2);
  CHECK_EQ(queue.counts().ready, 1u);
  CHECK_EQ(queue.ledger().nextDueWallMs(), UINT64_MAX);
  CHECK(queue.saved()[0].first_delivery_ms == 7u);
}
