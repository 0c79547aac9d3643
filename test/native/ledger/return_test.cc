#include "queue_driver.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

TEST(LedgerNackWithDelayWaitsForItsTime) {
  QueueDriver queue;
  queue.send(2);
  const Delivery d = queue.takeOne(1);
  const uint64_t taken_at_ms = queue.now().wall_ms;
  queue.passMs(3);
  const Outcome outcome = queue.nack(1, d, 200);
  CHECK(outcome.answer == Answer::kReturned);
  CHECK_EQ(outcome.returned.due_ms, queue.now().wall_ms + 200);
  CHECK_EQ(outcome.returned.first_delivery_ms, taken_at_ms);
  CHECK_EQ(queue.counts().delayed, 1u);
  CHECK_EQ(queue.ledger().nextDueWallMs(), queue.now().wall_ms + 200);
  CHECK((queue.peekSeqs(5) == Seqs{2}));
  queue.passMs(199);
  queue.tick();
  CHECK_EQ(queue.counts().delayed, 1u);
  queue.passMs(1);
  CHECK(queue.tick().returned.empty());  // no record is needed: the due time is known
  CHECK_EQ(queue.ledger().nextDueWallMs(), UINT64_MAX);
  CHECK((queue.takeSeqs(1, 5) == Seqs{1, 2}));
}

TEST(LedgerDelayedBecomeReadyInOrderOfDueTime) {
  QueueDriver queue;
  queue.send(3);
  const auto d = queue.take(1, 3);
  CHECK(wasHeld(queue.nack(1, d[0], 300)));
  CHECK(wasHeld(queue.nack(1, d[1], 100)));
  CHECK(wasHeld(queue.nack(1, d[2], 200)));
  queue.passMs(100);
  queue.tick();
  CHECK((queue.peekSeqs(5) == Seqs{2}));
  queue.passMs(100);
  queue.tick();
  CHECK((queue.peekSeqs(5) == Seqs{2, 3}));
  queue.passMs(100);
  queue.tick();
  CHECK((queue.peekSeqs(5) == Seqs{1, 2, 3}));
}

TEST(LedgerDelayForEverDoesNotOverflow) {
  QueueDriver queue;
  queue.send(1);
  CHECK_EQ(queue.nack(1, queue.takeOne(1), UINT64_MAX).returned.due_ms, UINT64_MAX);
  queue.passMs(1'000'000'000'000);
  queue.tick();
  CHECK_EQ(queue.counts().delayed, 1u);
}

TEST(LedgerNackAtTheLimitIsDead) {
  QueueDriver queue({.max_deliveries = 2});
  queue.sendAs(9, 44);
  const uint64_t first_ms = queue.now().wall_ms;
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kReturned);
  queue.passMs(70);
  const Outcome outcome = queue.nack(2, queue.takeOne(2), 1000);
  CHECK(outcome.answer == Answer::kDead);
  CHECK_EQ(outcome.dead.seq, 9u);
  CHECK_EQ(outcome.dead.ref, 900u);
  CHECK_EQ(outcome.dead.bytes, 44u);
  CHECK_EQ(outcome.dead.deliveries, 2u);
  CHECK_EQ(outcome.dead.first_delivery_ms, first_ms);
  CHECK_EQ(outcome.dead.last_delivery_ms, first_ms + 70);
  CHECK_EQ(queue.counts().dying, 1u);
  CHECK_EQ(queue.counts().bytes, 44u);
  CHECK(queue.take(1, 1).empty());
  CHECK(queue.forget(9));
  CHECK(queue.ledger().empty());
}

TEST(LedgerExpiryAndDeathAtTheLimitAreDead) {
  QueueDriver queue({.max_deliveries = 1, .visibility_timeout_ms = 10});
  queue.send(2);
  queue.takeOne(1);
  queue.takeOne(2);
  CHECK_EQ(queue.die(2, 1).dead.size(), 1u);
  queue.passMs(10);
  CHECK_EQ(queue.tick().dead.size(), 1u);
  CHECK_EQ(queue.counts().dying, 2u);
}

TEST(LedgerReleaseDoesNotCount) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(1);
  for (uint32_t i = 1; i <= 5; ++i) {
    const Outcome outcome = queue.release(1, queue.takeOne(1));
    CHECK(outcome.answer == Answer::kReturned);
    CHECK_EQ(outcome.returned.deliveries, i);
    CHECK_EQ(outcome.returned.uncounted, i);
  }
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kDead);
}

TEST(LedgerRejectIsDeadAtOnce) {
  QueueDriver queue;
  queue.send(1);
  const Outcome outcome = queue.reject(1, queue.takeOne(1));
  CHECK(outcome.answer == Answer::kDead);
  CHECK_EQ(outcome.dead.deliveries, 1u);
  CHECK_EQ(outcome.dead.last_delivery_ms, queue.now().wall_ms);
}

TEST(LedgerDeathReturnsOnlyThatConsumersLeasesAndCountsWhatStarted) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(10);
  const auto first = queue.take(1, 2);
  queue.take(2, 3);
  queue.take(1, 3);  // ordinals 2, 3, 4: seqs 6, 7, 8
  CHECK(wasHeld(queue.ack(1, first[0])));
  const Events events = queue.die(1, 3);
  CHECK_EQ(events.dead.size(), 2u);  // seqs 2 and 6 had started
  CHECK_EQ(events.returned.size(), 2u);
  for (const Returned& one : events.returned) {
    CHECK(one.seq == 7 || one.seq == 8);
    CHECK_EQ(one.uncounted, 1u);
  }
  CHECK_EQ(queue.counts().in_flight, 3u);
  CHECK((queue.peekSeqs(9) == Seqs{7, 8, 9, 10}));
  CHECK(queue.die(1, 3).returned.empty());
  CHECK(queue.die(99, 0).returned.empty());
}

TEST(LedgerLoweredLimitAppliesToTheNextFailure) {
  QueueDriver queue({.max_deliveries = 5});
  queue.send(1);
  CHECK(wasHeld(queue.nack(1, queue.takeOne(1))));
  CHECK(wasHeld(queue.nack(1, queue.takeOne(1))));
  queue.ledger().setLimits({.max_deliveries = 1});
  const Delivery d = queue.takeOne(1);
  CHECK(queue.release(1, d).answer == Answer::kReturned);
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kDead);
}
