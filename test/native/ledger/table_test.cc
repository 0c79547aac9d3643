// Settlement, copying forward, purge, and what all of it costs in memory.
#include <malloc.h>

#include <set>

#include "ledger/message_table.h"
#include "queue_driver.h"
#include "support/random.h"

using namespace millrace::ledger;
using namespace millrace::ledger::test;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace {

uint64_t heapBytes() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return __sanitizer_get_current_allocated_bytes();
#else
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

}  // namespace

TEST(LedgerForgetReportsWhatLeftOnce) {
  QueueDriver queue;
  queue.sendAs(3, 12);
  CHECK(wasHeld(queue.ack(1, queue.takeOne(1))));
  CHECK_EQ(queue.counts().settling, 1u);
  const auto stored = queue.ledger().forget(3);
  CHECK(stored.has_value());
  CHECK_EQ(stored->ref, 300u);
  CHECK_EQ(stored->bytes, 12u);
  CHECK(!queue.forget(3));
  CHECK(!queue.forget(0));
  CHECK(!queue.forget(UINT64_MAX));
  CHECK(queue.ledger().empty());
}

TEST(LedgerForgetWorksInEveryState) {
  QueueDriver queue({.max_deliveries = 1});
  queue.send(5);
  const auto d = queue.take(1, 4);
  queue.ledger().setLimits({.max_deliveries = 9});
  CHECK(wasHeld(queue.nack(1, d[0], 100)));
  CHECK(wasHeld(queue.ack(1, d[1])));
  CHECK(wasHeld(queue.reject(1, d[2])));
  for (Seq seq = 1; seq <= 5; ++seq) CHECK(queue.forget(seq));
  CHECK(queue.ledger().empty());
  CHECK_EQ(queue.ledger().nextDueWallMs(), UINT64_MAX);
  CHECK_EQ(queue.ledger().nextLeaseEndMonotonicMs(), UINT64_MAX);
  CHECK(queue.die(1, 9).returned.empty());
}

TEST(LedgerRelocateMovesTheRefInAnyState) {
  QueueDriver queue;
  queue.send(2);
  const Delivery d = queue.takeOne(1);
  CHECK(queue.ledger().relocate(1, 0xFFFF'1234'5678'9ABC)->ref == 100u);
  CHECK(queue.ledger().holds(1, 0x1234'5678'9ABC));  // 48 bits
  CHECK(!queue.ledger().holds(1, 100));
  CHECK(!queue.ledger().holds(77, 100));
  CHECK(!queue.ledger().relocate(77, 1).has_value());
  CHECK(queue.ack(1, d) == Answer::kDone);
  CHECK(queue.ledger().forget(1)->ref == 0x1234'5678'9ABCu);
}

TEST(LedgerPurgeSettlesWhatWaitsAndTellsItAsRanges) {
  QueueDriver queue;
  queue.send(200);
  const auto d = queue.take(1, 5);
  CHECK(wasHeld(queue.nack(1, d[1], 1000)));
  CHECK(wasHeld(queue.nack(1, d[2])));
  CHECK(wasHeld(queue.reject(1, d[3])));
  queue.forget(100);
  std::vector<Range> ranges{{1, 1}};  // appended to, not joined with
  CHECK_EQ(queue.ledger().purge({}, ranges).messages, 196u);
  queue.check();
  CHECK_EQ(ranges.size(), 4u);
  CHECK(ranges[1].first == 2 && ranges[1].count == 2);
  CHECK(ranges[2].first == 6 && ranges[2].count == 94);
  CHECK(ranges[3].first == 101 && ranges[3].count == 100);
  CHECK_EQ(queue.counts().settling, 196u);
  CHECK_EQ(queue.counts().in_flight, 2u);
  CHECK_EQ(queue.counts().dying, 1u);
  CHECK(queue.take(1, 1).empty());
  CHECK_EQ(queue.ledger().nextDueWallMs(), UINT64_MAX);
  CHECK_EQ(queue.ledger().purge({}, ranges).messages, 0u);
}

TEST(LedgerBacklogOfTenMillionFitsIn24BytesEach) {
  constexpr uint64_t kMessages = 10'000'000;
  const uint64_t before = heapBytes();
  Ledger ledger({});
  uint64_t peak = 0;
  for (Seq seq = 1; seq <= kMessages; ++seq) {
    ledger.enqueue(seq, seq, 256);
    if (seq % 65536 == 0 && seq > 1'000'000) peak = std::max(peak, (heapBytes() - before) / seq);
  }
  CHECK_EQ(ledger.counts().ready, kMessages);
  CHECK((heapBytes() - before) / kMessages < 24);
  CHECK(peak < 24);
  for (Seq seq = 1; seq <= kMessages; ++seq) ledger.forget(seq);
  CHECK(ledger.empty());
  CHECK(heapBytes() - before < 200'000);
}

TEST(LedgerStragglersCostAChunkEachAndGapsNothing) {
  const uint64_t before = heapBytes();
  Ledger ledger({});
  constexpr uint64_t kStragglers = 1000;
  for (uint64_t i = 0; i < kStragglers; ++i) {
    const Seq first = 1 + i * 1'000'000'000;
    for (Seq seq = first; seq < first + 200; ++seq) ledger.enqueue(seq, seq, 1);
    for (Seq seq = first + 1; seq < first + 200; ++seq) ledger.forget(seq);
  }
  CHECK_EQ(ledger.counts().ready, kStragglers);
  CHECK((heapBytes() - before) / kStragglers < 1500);
}

TEST(LedgerLongTimeoutsOfAckedMessagesDoNotPileUp) {
  Ledger ledger({.visibility_timeout_ms = 30 * 60 * 1000});
  std::vector<Delivery> out;
  Now now{1000, 1'700'000'000'000};
  out.reserve(100);
  uint64_t settled_bytes = 0;
  Seq next = 1;
  ledger.enqueue(next++, 0, 1);
  ledger.take(9, now, 1, UINT64_MAX, out);  // never answered: the oldest timer stays live
  for (int round = 0; round < 20'000; ++round) {
    ++now.monotonic_ms;
    out.clear();
    for (int i = 0; i < 50; ++i) ledger.enqueue(next++, 0, 1);
    ledger.take(1, now, 50, UINT64_MAX, out);
    for (const Delivery& d : out) {
      // Half of them heartbeat with another deadline first.
      if (d.seq % 2 == 0) CHECK(wasHeld(ledger.extend(1, d.seq, d.delivery_count, d.seq % 7 * 1000, now)));
      CHECK(ledger.ack(1, d.seq, d.delivery_count).answer == Answer::kDone);
      ledger.forget(d.seq);
    }
    if (round == 100) settled_bytes = heapBytes();
  }
  CHECK(heapBytes() < settled_bytes + 64 * 1024);
}

TEST(LedgerForgottenMessagesLeaveNothingBehind) {
  Ledger ledger({});
  std::vector<Delivery> out;
  out.reserve(100);
  std::vector<Returned> returned;
  std::vector<Dead> dead;
  Now now{1000, 1'700'000'000'000};
  uint64_t settled_bytes = 0;
  Seq next = 1;
  for (int round = 0; round < 5'000; ++round) {
    for (int i = 0; i < 20; ++i) ledger.enqueue(next++, 0, 1);
    out.clear();
    ledger.take(1, now, 20, UINT64_MAX, out);
    for (const Delivery& d : out)
      CHECK(wasHeld(ledger.nack(1, d.seq, d.delivery_count, d.seq % 3 * 100, now)));
    for (const Delivery& d : out)
      if (d.seq % 5 == 0) ledger.forget(d.seq);  // ready or delayed: expired, one day
    now.wall_ms += 200;
    ledger.tick(now, returned, dead);
    out.clear();
    ledger.take(1, now, 20, UINT64_MAX, out);
    for (const Delivery& d : out) {
      CHECK(wasHeld(ledger.ack(1, d.seq, d.delivery_count)));
      ledger.forget(d.seq);
    }
    CHECK(ledger.empty());
    if (round == 100) settled_bytes = heapBytes();
  }
  CHECK(heapBytes() < settled_bytes + 16 * 1024);
}

TEST(LedgerHeartbeatsOfOneMessageDoNotPileUp) {
  Ledger ledger({});
  std::vector<Delivery> out;
  const Now now{1000, 1'700'000'000'000};
  ledger.enqueue(1, 0, 1);
  ledger.take(1, now, 1, UINT64_MAX, out);
  const uint64_t before = heapBytes();
  for (uint64_t i = 0; i < 1'000'000; ++i) CHECK(wasHeld(ledger.extend(1, 1, 1, 1000 + i % 2, now)));
  CHECK(heapBytes() < before + 64 * 1024);
  CHECK_EQ(ledger.nextLeaseEndMonotonicMs(), 1000u + 1001u);
}

TEST(LedgerTableFindsEverythingWhateverTheGaps) {
  std::mt19937_64 random(millrace::test::seed());
  MessageTable table;
  std::set<Seq> expected;
  Seq end = 1;
  for (uint64_t step = 0; step < 200'000 * millrace::test::scale(); ++step) {
    // Waves: shrink from the front and at random, then grow at the end and in the middle.
    const bool grows = step / 20'000 % 2 == 1;
    const uint64_t jump = random() % 100 == 0 ? random() % 100'000 : random() % 200;
    const bool middle = random() % 8 == 0;
    const Seq seq = middle ? 1 + random() % (end + 1) : end += jump + 1;
    if (grows && expected.insert(seq).second) CHECK(table.add(seq, seq, 1).seq() == seq);
    if (!grows || random() % 4 == 0) {
      auto at = expected.lower_bound(random() % 3 == 0 ? 0 : random() % (end + 1));
      if (at != expected.end()) {
        table.remove(table.find(*at));
        expected.erase(at);
      }
    }
    const Seq probe = random() % (end + 100);
    CHECK(static_cast<bool>(table.find(probe)) == expected.contains(probe));
    const auto next = expected.lower_bound(probe / 64 * 64);
    const Chunk* chunk = table.atOrAfter(probe / 64);
    CHECK((chunk != nullptr) == (next != expected.end()));
    if (chunk != nullptr) CHECK_EQ(chunk->number, *next / 64);
    CHECK_EQ(table.empty(), expected.empty());
  }
  CHECK(!expected.empty());
  for (const Seq seq : expected) CHECK_EQ(table.find(seq).entry().ref(), seq);
  for (const Seq seq : expected) table.remove(table.find(seq));
  CHECK(table.empty());
}

// A file may settle the same empty range a million times.
TEST(LedgerTableLooksPastHolesInFewStepsHoweverOften) {
  millrace::test::Random random(millrace::test::seed());
  constexpr uint64_t kChunks = 20'000;
  constexpr uint64_t kLooks = 200'000;
  MessageTable table;
  for (uint64_t number = 0; number < kChunks; ++number) (void)table.add(number * Chunk::kEntries, number, 8);
  // Fewer holes than would be swept, in a row, in any order.
  std::vector<uint64_t> holes;
  for (uint64_t number = kChunks / 4; number < kChunks * 7 / 10; ++number) holes.push_back(number);
  for (size_t i = holes.size(); i > 1; --i) std::swap(holes[i - 1], holes[random.below(i)]);
  for (const uint64_t number : holes) table.remove(table.find(number * Chunk::kEntries));
  for (uint64_t look = 0; look < kLooks; ++look) {
    const uint64_t number = random.between(kChunks / 4, kChunks * 7 / 10 - 1);
    CHECK_EQ(table.atOrAfter(number)->number, kChunks * 7 / 10);
  }
  CHECK(table.holesSeen() <= holes.size() + 2 * kLooks);
}
