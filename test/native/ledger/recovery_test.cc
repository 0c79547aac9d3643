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
  queue.ack(1, d[0]);
  queue.reject(1, d[1]);
  queue.nack(1, d[2], 5000);
  queue.release(1, d[3]);
  queue.nack(1, d[4]);
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
    CHECK_EQ(one.due_ms, one.seq == 3 ? queue.now().wall_ms + 5000 : 0);
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
  const auto before = queue.saved();
  CHECK(queue.restart().empty());
  checkSame(queue.saved(), before);
  CHECK_EQ(queue.counts().delayed, 1u);
  CHECK_EQ(queue.counts().ready, 8u);
  // What was delivered before goes first.
  CHECK((queue.takeSeqs(1, 9) == Seqs{1, 2, 4, 5}));
  CHECK((queue.takeSeqs(1, 9) == Seqs{6}));  // in flight before: alone
  CHECK((queue.takeSeqs(1, 9) == Seqs{7, 8, 9}));
  queue.passMs(5000);
  queue.tick();
  CHECK((queue.takeSeqs(1, 9) == Seqs{3}));
}

TEST(LedgerCrashDuringTheLastDeliveryCounts) {
  QueueDriver queue({.max_deliveries = 2});
  queue.send(3);
  const auto d = queue.take(1, 3);
  queue.nack(1, d[0]);
  queue.release(1, d[1]);
  queue.take(1, 2);  // 1 and 2 for the second time; of 2 only one counts
  const auto dead = queue.restart();
  CHECK_EQ(dead.size(), 1u);
  CHECK_EQ(dead[0].seq, 1u);
  CHECK_EQ(dead[0].deliveries, 2u);
  CHECK_EQ(dead[0].first_delivery_ms, queue.now().wall_ms);
  CHECK_EQ(dead[0].last_delivery_ms, 0u);
  CHECK_EQ(queue.counts().dying, 1u);
  CHECK_EQ(queue.counts().ready, 2u);
}

// One of many that were taken ahead kills the process each time: only that one uses up its deliveries.
TEST(LedgerCrashesCountAgainstWhatWasHandledOnceItIsSuspect) {
  QueueDriver queue({.max_deliveries = 3});
  queue.send(5);
  CHECK((queue.takeSeqs(1, 5) == Seqs{1, 2, 3, 4, 5}));
  CHECK(queue.restart().empty());
  CHECK((queue.takeSeqs(1, 5) == Seqs{1}));
  CHECK(queue.restart().empty());
  CHECK((queue.takeSeqs(1, 5) == Seqs{1}));
  const auto dead = queue.restart();
  CHECK_EQ(dead.size(), 1u);
  CHECK_EQ(dead[0].seq, 1u);
  std::vector<Delivery> alone;
  for (Seq seq = 2; seq <= 5; ++seq) {
    alone.push_back(queue.take(1, 5).at(0));
    CHECK_EQ(alone.back().seq, seq);
    CHECK_EQ(alone.back().delivery_count, 2u);
  }
  // Whatever ends a delivery without a crash ends the suspicion.
  for (const Delivery& one : alone) queue.release(1, one);
  CHECK((queue.takeSeqs(1, 5) == Seqs{2, 3, 4, 5}));
}

TEST(LedgerReplayedDeliveryMakesSuspectAndReturnClears) {
  QueueDriver queue;
  queue.send(4);
  queue.ledger().replayDelivered(1, 3, 1);
  queue.ledger().replayReturned({2, 1, 0, 0, 7});
  for (const Saved& one : queue.saved()) CHECK_EQ(one.suspect, one.seq == 1 || one.seq == 3);
  CHECK((queue.takeSeqs(1, 4) == Seqs{1}));
  CHECK((queue.takeSeqs(1, 4) == Seqs{2}));  // 3 goes out alone
  CHECK((queue.takeSeqs(1, 4) == Seqs{3}));
  CHECK((queue.takeSeqs(1, 4) == Seqs{4}));
  CHECK_EQ(queue.ledger().leasesOf(1), 4u);
  queue.restart();
  const auto alone = queue.take(1, 4);
  queue.untake(1, alone);  // as if it had not happened
  CHECK((queue.takeSeqs(1, 4) == Seqs{1}));
  CHECK_EQ(queue.ledger().leasesOf(2), 0u);
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
  std::vector<Dead> dead;
  queue.ledger().finishRecovery(dead);
  CHECK_EQ(dead.size(), 2u);
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
