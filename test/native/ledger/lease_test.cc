#include "queue_driver.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

namespace {

// Every answer to this delivery is refused and changes nothing (G3).
void checkStale(QueueDriver& queue, ConsumerId consumer, const Delivery& d) {
  const Counts before = queue.counts();
  const uint64_t lease_end = queue.ledger().nextLeaseEndMonotonicMs();
  CHECK(queue.ack(consumer, d) == Answer::kLeaseLost);
  CHECK(queue.nack(consumer, d).answer == Answer::kLeaseLost);
  CHECK(queue.nack(consumer, d, 50).answer == Answer::kLeaseLost);
  CHECK(queue.reject(consumer, d).answer == Answer::kLeaseLost);
  CHECK(queue.release(consumer, d).answer == Answer::kLeaseLost);
  CHECK(queue.extend(consumer, d, 1) == Answer::kLeaseLost);
  CHECK_EQ(queue.counts().ready, before.ready);
  CHECK_EQ(queue.counts().delayed, before.delayed);
  CHECK_EQ(queue.counts().in_flight, before.in_flight);
  CHECK_EQ(queue.counts().settling, before.settling);
  CHECK_EQ(queue.counts().dying, before.dying);
  CHECK_EQ(queue.ledger().nextLeaseEndMonotonicMs(), lease_end);
}

}  // namespace

TEST(LedgerStaleAnswerIsRefusedAfterExpiry) {
  QueueDriver queue({.visibility_timeout_ms = 100});
  queue.send(1);
  const Delivery d = queue.takeOne(1);
  queue.passMs(100);
  CHECK_EQ(queue.tick().returned.size(), 1u);
  checkStale(queue, 1, d);
}

TEST(LedgerStaleAnswerIsRefusedAfterAnotherTookIt) {
  QueueDriver queue({.visibility_timeout_ms = 100});
  queue.send(1);
  const Delivery first = queue.takeOne(1);
  queue.passMs(100);
  queue.tick();
  const Delivery second = queue.takeOne(2);
  checkStale(queue, 1, first);
  checkStale(queue, 2, first);
  checkStale(queue, 1, second);
  CHECK(queue.ack(2, second) == Answer::kDone);
}

TEST(LedgerStaleAnswerIsRefusedAfterTheSameConsumerTookItAgain) {
  QueueDriver queue;
  queue.send(1);
  const Delivery first = queue.takeOne(1);
  CHECK(wasHeld(queue.nack(1, first)));
  const Delivery second = queue.takeOne(1);
  checkStale(queue, 1, first);
  CHECK(queue.ack(1, second) == Answer::kDone);
}

TEST(LedgerStaleAnswerIsRefusedAfterAckRejectReleaseNackAndForget) {
  QueueDriver queue;
  queue.send(6);
  const auto d = queue.take(1, 6);
  CHECK(wasHeld(queue.ack(1, d[0])));
  CHECK(wasHeld(queue.reject(1, d[1])));
  CHECK(wasHeld(queue.release(1, d[2])));
  CHECK(wasHeld(queue.nack(1, d[3], 10)));
  CHECK(wasHeld(queue.ack(1, d[4])));
  queue.forget(d[4].seq);
  queue.forget(d[5].seq);  // while in flight: the lease goes with it
  for (const Delivery& one : d) checkStale(queue, 1, one);
  CHECK_EQ(queue.counts().in_flight, 0u);
}

TEST(LedgerAnswersForUnknownMessagesAreRefused) {
  QueueDriver queue;
  for (const Seq seq : {Seq{0}, Seq{1}, kSeqMax, UINT64_MAX}) checkStale(queue, 1, {seq, 0, 0, 1});
  queue.send(1);
  checkStale(queue, 1, {1, 0, 0, 0});  // ready, not leased
  queue.takeOne(1);
  checkStale(queue, 1, {1, 0, 0, 65537});  // not truncated to the count of 1
}

TEST(LedgerLeaseExpiresAndCounts) {
  QueueDriver queue({.visibility_timeout_ms = 100});
  queue.send(2);
  const Delivery d = queue.takeOne(1);
  const uint64_t taken_at_ms = queue.now().wall_ms;
  CHECK_EQ(queue.ledger().nextLeaseEndMonotonicMs(), queue.now().monotonic_ms + 100);
  queue.passMs(99);
  CHECK(queue.tick().returned.empty());
  queue.passMs(1);
  const Events events = queue.tick();
  CHECK_EQ(events.returned.size(), 1u);
  CHECK_EQ(events.returned[0].seq, d.seq);
  CHECK_EQ(events.returned[0].deliveries, 1u);
  CHECK_EQ(events.returned[0].uncounted, 0u);
  CHECK_EQ(events.returned[0].due_ms, 0u);
  CHECK_EQ(events.returned[0].first_delivery_ms, taken_at_ms);
  CHECK_EQ(queue.ledger().nextLeaseEndMonotonicMs(), UINT64_MAX);
  CHECK((queue.peekSeqs(2) == Seqs{1, 2}));
}

TEST(LedgerExtendMovesTheEndBothWays) {
  QueueDriver queue({.visibility_timeout_ms = 100});
  queue.send(3);
  const auto d = queue.take(1, 3);
  CHECK(queue.extend(1, d[0], 500) == Answer::kDone);
  CHECK(queue.extend(1, d[1], 10) == Answer::kDone);
  CHECK_EQ(queue.ledger().nextLeaseEndMonotonicMs(), queue.now().monotonic_ms + 10);
  queue.passMs(10);
  CHECK_EQ(queue.tick().returned.size(), 1u);
  queue.passMs(90);
  CHECK_EQ(queue.tick().returned.size(), 1u);
  CHECK_EQ(queue.counts().in_flight, 1u);
  queue.passMs(399);
  CHECK(queue.tick().returned.empty());
  queue.passMs(1);
  CHECK_EQ(queue.tick().returned.size(), 1u);
}

TEST(LedgerExtendForEverDoesNotOverflow) {
  QueueDriver queue;
  queue.send(1);
  const Delivery d = queue.takeOne(1);
  CHECK(queue.extend(1, d, UINT64_MAX) == Answer::kDone);
  queue.passMs(1'000'000'000'000);
  CHECK(queue.tick().returned.empty());
  CHECK(queue.extend(1, d, 0) == Answer::kDone);
  CHECK_EQ(queue.tick().returned.size(), 1u);
}

TEST(LedgerWallClockJumpEndsNoLease) {
  QueueDriver queue({.visibility_timeout_ms = 100});
  queue.send(1);
  queue.takeOne(1);
  std::vector<Returned> returned;
  std::vector<Dead> dead;
  queue.ledger().tick({queue.now().monotonic_ms + 50, UINT64_MAX}, returned, dead);
  CHECK(returned.empty() && dead.empty());
}

TEST(LedgerVisibilityTimeoutChangesForLaterLeases) {
  QueueDriver queue({.visibility_timeout_ms = 1000});
  queue.send(2);
  queue.takeOne(1);
  queue.ledger().setLimits({.visibility_timeout_ms = 10});
  queue.takeOne(1);
  queue.passMs(10);
  const Events events = queue.tick();
  CHECK_EQ(events.returned.size(), 1u);
  CHECK_EQ(events.returned[0].seq, 2u);
}
