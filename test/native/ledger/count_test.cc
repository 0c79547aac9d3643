// Delivery counts have 32 bits, in memory and on disk. Where they end they stop: nothing untrue, nothing
// dead.
#include "queue_driver.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

namespace {

void restoreDelivered(QueueDriver& queue, uint32_t deliveries, uint32_t uncounted) {
  queue.ledger().restore({1, 100, 10, deliveries, uncounted, 0, 7, false});
}

}  // namespace

TEST(LedgerCountsFarBeyondSixteenBits) {
  for (const uint32_t limit : {0u, 5u}) {
    QueueDriver queue({.max_deliveries = limit});
    queue.send(1);
    for (uint32_t i = 1; i <= 70'000; ++i) {
      const Delivery d = queue.takeOne(1);
      CHECK_EQ(d.delivery_count, i);
      const Outcome outcome = limit == 0 ? queue.nack(1, d) : queue.release(1, d);
      CHECK(outcome.answer == Answer::kReturned);
      CHECK_EQ(outcome.returned.deliveries, i);
      CHECK_EQ(outcome.returned.uncounted, limit == 0 ? 0 : i);
    }
    (void)queue.restart();
    const Delivery d = queue.takeOne(1);
    CHECK_EQ(d.delivery_count, 70'001u);
    CHECK(queue.ack(2, d) == Answer::kLeaseLost);
    Delivery stale = d;
    stale.delivery_count = d.delivery_count & 0xFFFF;
    CHECK(queue.ack(1, stale) == Answer::kLeaseLost);
    CHECK(queue.ack(1, d) == Answer::kDone);
    CHECK(queue.forget(1));
  }
}

TEST(LedgerDeliveryCountStopsAtTheEndAndBuriesNothing) {
  QueueDriver queue({.max_deliveries = 0});
  restoreDelivered(queue, kDeliveriesMax - 2, 0);
  for (int i = 0; i < 5; ++i) {
    const Delivery d = queue.takeOne(1);
    CHECK_EQ(d.delivery_count, i == 0 ? kDeliveriesMax - 1 : kDeliveriesMax);
    const Outcome outcome = queue.nack(1, d);
    CHECK(outcome.answer == Answer::kReturned);
    CHECK_EQ(outcome.returned.deliveries, d.delivery_count);
  }
  CHECK(queue.restart().killers.empty());
  CHECK_EQ(queue.counts().ready, 1u);
}

TEST(LedgerFailuresAddUpWhereTheDeliveryCountHasEnded) {
  QueueDriver queue({.max_deliveries = 3});
  restoreDelivered(queue, kDeliveriesMax, kDeliveriesMax);
  for (int i = 0; i < 4; ++i) CHECK(queue.release(1, queue.takeOne(1)).answer == Answer::kReturned);
  queue.untake(1, queue.take(1, 1));
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kReturned);
  CHECK(queue.release(1, queue.takeOne(1)).answer == Answer::kReturned);
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kReturned);
  CHECK(queue.nack(1, queue.takeOne(1)).answer == Answer::kDead);
}
