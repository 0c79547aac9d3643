// However many messages are touched at once, others get the queue in between: they see it half done.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/client.h"
#include "harness/test.h"
#include "os/thread.h"

using namespace millrace;
using namespace millrace::test;
using engine::Broker;

namespace {

constexpr uint32_t kMany = 100'000;

std::shared_ptr<Broker> brokerOf(const engine::BrokerOptions& options) {
  Result<std::shared_ptr<Broker>> broker = Broker::open(options);
  CHECK_OK(broker.status());
  return broker.take();
}

void fill(Client& client, uint32_t queue) {
  uint64_t unit = 0;
  for (uint32_t sent = 0; sent < kMany; sent += 10'000) {
    unit = client.send(queue, std::vector<std::string>(10'000, "x"), nullptr, true);
  }
  CHECK(client.awaitCommitted(unit));
}

ledger::Counts countsOf(Client& client, uint32_t queue) {
  return client.broker().queueStats(queue).value().counts;
}

// Asks from a thread of its own while `work` runs: was it ever half done?
template <typename HalfDone, typename Work>
bool wasSeen(HalfDone half_done, Work work) {
  std::atomic<bool> over{false};
  std::atomic<bool> seen{false};
  os::Thread looker;
  CHECK_OK(looker.start([&] {
    while (!over.load()) {
      if (half_done()) seen.store(true);
    }
  }));
  work();
  over.store(true);
  looker.join();
  return seen.load();
}

bool isPart(uint64_t count) { return count > 0 && count < kMany; }

// What is left of it. How many messages that were.
uint64_t purge(Client& client, uint32_t queue, engine::PurgeRange rest = {}) {
  uint64_t purged = 0;
  do {
    uint64_t unit = 0;
    const Result<engine::Purged> part = client.broker().purge(queue, client.session(), rest, unit);
    CHECK_OK(part.status());
    CHECK(client.awaitCommitted(unit));
    purged += part.value().messages;
    rest = part.value().rest;
  } while (rest.from != 0);
  return purged;
}

}  // namespace

// On a busy machine the other thread may miss it: it is tried again until it has seen it.
TEST(SlicesLetOthersInWhileVeryManyAreDue) {
  std::atomic<uint64_t> now_ms{1'000'000};
  engine::BrokerOptions options;
  options.clock = [&] { return ledger::Now{now_ms.load(), now_ms.load()}; };
  Client client(brokerOf(options));
  engine::QueueSettings settings = engine::defaultSettings("delayed", true);
  settings.max_deliveries = 0;
  const uint32_t queue = client.declare(settings);
  fill(client, queue);
  engine::Consumer& consumer = client.consume(queue);
  const auto halfDone = [&] { return isPart(countsOf(client, queue).delayed); };
  client.until([&] {
    for (const Got& got : client.takeAll(consumer, kMany)) {
      CHECK(client.answer(consumer, engine::Verb::kNack, got, 5'000));
    }
    CHECK_EQ(countsOf(client, queue).delayed, kMany);
    return wasSeen(halfDone, [&] {
      now_ms += 5'000;
      client.until([&] { return countsOf(client, queue).delayed == 0; });
    });
  });
}

TEST(SlicesLetOthersInWhileVeryManyArePurged) {
  Client client(brokerOf({}));
  const uint32_t queue = client.declare("big", true);
  const auto halfDone = [&] { return isPart(countsOf(client, queue).ready); };
  client.until([&] {
    fill(client, queue);
    return wasSeen(halfDone, [&] { CHECK_EQ(purge(client, queue), kMany); });
  });
  CHECK_EQ(countsOf(client, queue).ready, 0u);
}

// One settlement of all of them, as no purge of this version writes it.
TEST(SlicesLetOthersInWhileVeryManyAreForgotten) {
  engine::Context context({});
  engine::Timer timer([](uint32_t) { return engine::kNever; }, monotonicMs, true);
  engine::Sessions sessions(context);
  engine::Waker waker(context, timer);
  engine::Settlements settlements(context, sessions);
  engine::Catalogue catalogue(context, sessions);
  engine::HoldKeeper hold_keeper(context, catalogue, settlements, timer);
  engine::Deliveries deliveries(context, sessions, hold_keeper, waker);
  engine::Applier applier(catalogue, sessions, settlements, waker, hold_keeper, deliveries);

  engine::Queue& queue = catalogue.restore(1, engine::defaultSettings("big", true));
  const std::vector<std::byte> body(64);
  std::vector<std::byte> record(log::SettleRecord::kRecordBytes);
  Client client(brokerOf({}));
  client.until([&] {
    const uint64_t first = queue.nextSeq();
    for (uint32_t i = 0; i < kMany; ++i) {
      queue.enqueue(context.heap_store.add(body, queue.nextSeq()), static_cast<uint32_t>(body.size()));
    }
    log::SettleRecord{queue.id, kMany, first}.encode(record.data());
    return wasSeen([&] { return isPart(queue.stats().counts.ready); },
                   [&] { applier.onCommitted(record, [](size_t) { return log::Ref{0}; }); });
  });
  CHECK_EQ(queue.stats().counts.ready, 0u);
}

TEST(SlicesOfAPurgeLeaveWhatCameAfterItsBeginning) {
  Client client(brokerOf({}));
  const uint32_t queue = client.declare("big", true);
  fill(client, queue);
  uint64_t unit = 0;
  const Result<engine::Purged> first = client.broker().purge(queue, client.session(), {}, unit);
  CHECK_OK(first.status());
  client.send(queue, {"later"});
  const engine::PurgeRange rest = first.value().rest;
  CHECK_EQ(first.value().messages + purge(client, queue, rest), kMany);
  CHECK_EQ(countsOf(client, queue).ready, 1u);
}
