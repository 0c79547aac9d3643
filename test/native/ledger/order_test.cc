#include "queue_driver.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

TEST(LedgerFirstDeliveriesFollowSeq) {
  QueueDriver queue;
  queue.send(200);
  Seqs expected;
  for (Seq seq = 1; seq <= 200; ++seq) expected.push_back(seq);
  CHECK(queue.peekSeqs(1000) == expected);
  CHECK(queue.takeSeqs(1, 1000) == expected);
  CHECK_EQ(queue.counts().in_flight, 200u);
  CHECK(queue.take(1, 1).empty());
}

TEST(LedgerRedeliveryGoesAheadOfNewerLowestSeqFirst) {
  QueueDriver queue;
  queue.send(300);
  const auto taken = queue.take(1, 200);
  CHECK(wasHeld(queue.nack(1, taken[150])));
  CHECK(wasHeld(queue.release(1, taken[3])));
  CHECK(wasHeld(queue.nack(1, taken[70])));
  CHECK((queue.peekSeqs(5) == Seqs{4, 71, 151, 201, 202}));
  CHECK((queue.takeSeqs(2, 5) == Seqs{4, 71, 151, 201, 202}));
  CHECK_EQ(queue.counts().redelivered, 3u);
}

TEST(LedgerDeliveryCarriesRefBytesAndCount) {
  QueueDriver queue;
  queue.sendAs(7, 33);
  Delivery d = queue.takeOne(1);
  CHECK_EQ(d.ref, 700u);
  CHECK_EQ(d.bytes, 33u);
  CHECK_EQ(d.delivery_count, 1u);
  CHECK(wasHeld(queue.nack(1, d)));
  CHECK_EQ(queue.takeOne(1).delivery_count, 2u);
}

TEST(LedgerTakeStopsAtTheByteBudget) {
  QueueDriver queue;
  queue.sendAs(1, 10);
  queue.sendAs(2, 20);
  queue.sendAs(3, 5);
  CHECK((queue.take(1, 10, 29).size() == 1));  // 2 does not fit, and 3 does not overtake it
  CHECK_EQ(queue.ledger().neededBytes(), 20u);
  CHECK(queue.take(1, 10, 19).empty());
  CHECK_EQ(queue.take(1, 10, 25).size(), 2u);
  CHECK_EQ(queue.ledger().neededBytes(), 0u);
  CHECK(queue.take(1, 0).empty());
}

TEST(LedgerUntakeIsAsIfTakeHadNotHappened) {
  QueueDriver queue({.max_deliveries = 3});
  queue.send(10);
  const auto kept = queue.take(1, 2);
  CHECK(wasHeld(queue.nack(1, kept[1])));
  const auto before = queue.saved();
  const auto refused = queue.take(1, 4);
  CHECK_EQ(queue.counts().redelivered, 1u);
  queue.untake(1, refused);
  CHECK_EQ(queue.counts().redelivered, 0u);
  CHECK_EQ(queue.counts().in_flight, 1u);
  const auto after = queue.saved();
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK_EQ(after[i].deliveries, before[i].deliveries);
    CHECK_EQ(after[i].first_delivery_ms, before[i].first_delivery_ms);
  }
  CHECK((queue.peekSeqs(4) == Seqs{2, 3, 4, 5}));
  // The ordinals of what was undone are given again: of 1, then 2, 3 the first two count.
  queue.take(1, 2);
  const Events events = queue.die(1, 3);
  CHECK_EQ(events.returned.size(), 3u);
  for (const Returned& one : events.returned) CHECK_EQ(one.uncounted, one.seq == 3 ? 1u : 0u);
}

TEST(LedgerUntakeIgnoresWhatIsNotLeased) {
  QueueDriver queue;
  queue.send(3);
  const auto taken = queue.take(1, 3);
  CHECK(wasHeld(queue.ack(1, taken[0])));
  queue.untake(2, taken);
  CHECK_EQ(queue.counts().in_flight, 2u);
  queue.untake(1, taken);
  queue.untake(1, taken);
  CHECK_EQ(queue.counts().ready, 2u);
  CHECK_EQ(queue.counts().settling, 1u);
}

TEST(LedgerWideGapsCostNothing) {
  QueueDriver queue;
  queue.sendAs(1);
  queue.sendAs(1'000'000'000);
  queue.sendAs(1'000'000'000'000'000);
  queue.sendAs(kSeqMax);
  CHECK((queue.takeSeqs(1, 10) == Seqs{1, 1'000'000'000, 1'000'000'000'000'000, kSeqMax}));
  CHECK(queue.forget(1'000'000'000));
  CHECK(!queue.forget(1'000'000'001));
  CHECK_EQ(queue.saved(1).size(), 3u);
}

TEST(LedgerIgnoresImpossibleAndRepeatedSeqs) {
  QueueDriver queue;
  queue.ledger().enqueue(0, 1, 1);
  queue.ledger().enqueue(kSeqMax + 1, 1, 1);
  queue.ledger().enqueue(UINT64_MAX, 1, 1);
  CHECK(queue.ledger().empty());
  queue.sendAs(5);
  queue.ledger().enqueue(5, 77, 77);
  CHECK_EQ(queue.counts().ready, 1u);
  CHECK(queue.ledger().holds(5, 500));
}

TEST(LedgerLateSeqStillGoesOutInOrder) {
  QueueDriver queue;
  queue.sendAs(1000);
  queue.sendAs(2000);
  queue.takeOne(1);
  queue.takeOne(1);
  queue.sendAs(3000);
  queue.sendAs(1500);  // behind the cursor
  queue.sendAs(1001);
  CHECK((queue.peekSeqs(9) == Seqs{1001, 1500, 3000}));
  CHECK((queue.takeSeqs(1, 9) == Seqs{1001, 1500, 3000}));
}

TEST(LedgerEmptiesAndFillsTheSameChunkAgain) {
  QueueDriver queue;
  for (Seq seq = 1; seq <= 300; ++seq) {
    queue.sendAs(seq);
    const Delivery d = queue.takeOne(1);
    CHECK_EQ(d.seq, seq);
    CHECK(queue.ack(1, d) == Answer::kDone);
    CHECK(queue.forget(seq));
    CHECK(queue.ledger().empty());
  }
}
