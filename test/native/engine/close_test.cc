// What a close leaves behind: no promise that is not true, no failure that was none, no memory.
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "engine/client.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::Broker;
using engine::Verb;
using test::Client;
using test::Got;
using test::SimulatedDisk;

namespace {

std::shared_ptr<Broker> openOn(SimulatedDisk& disk) {
  engine::BrokerOptions options;
  options.segment_bytes = 256 << 10;
  options.checkpoint_bytes = 256 << 10;
  options.message_bytes_max = 8 << 10;
  Result<std::shared_ptr<Broker>> broker = Broker::open(options, disk.directory());
  CHECK_OK(broker.status());
  return broker.take();
}

}  // namespace

TEST(EngineRejectWithoutRoomIsRefusedAtClose) {
  SimulatedDisk disk(test::seed());
  {
    const std::shared_ptr<Broker> broker = openOn(disk);
    Client client(broker);
    engine::QueueSettings graves = engine::defaultSettings("full.dead", false);
    graves.capacity = 1;
    (void)client.declare(graves);
    const uint32_t queue = client.declare("full");
    CHECK(client.awaitCommitted(client.send(queue, {"a", "b"})));
    engine::Consumer& consumer = client.consume(queue);
    const std::vector<Got> got = client.takeAll(consumer, 2);
    uint64_t unit = 0;
    CHECK_OK(broker->answer(consumer, Verb::kReject, got[0].seq, got[0].count, 0, "no", unit));
    CHECK(client.awaitCommitted(unit));
    CHECK_OK(broker->answer(consumer, Verb::kReject, got[1].seq, got[1].count, 0, "no", unit));
    CHECK_EQ(unit, engine::kDeferred);
    CHECK_OK(broker->close());
    CHECK(broker->burial(client.session(), queue, got[1].seq, unit).code() == Code::kClosed);
    CHECK_OK(broker->burial(client.session(), queue, got[0].seq, unit));
    client.leave();
  }
  // It is dying still: no consumer gets it, and the letter comes once there is room.
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  const uint32_t queue = client.declare("full");
  CHECK(client.take(client.consume(queue)).empty());
  CHECK_EQ(broker->queueStats(queue).value().counts.dying, 1u);
  engine::Consumer& undertaker = client.consume(broker->lookup("full.dead").value().first);
  client.ack(undertaker, client.takeAll(undertaker, 1));
  CHECK_EQ(client.takeAll(undertaker, 1)[0].body, "b");
}

TEST(EngineDropOfADeadMessageIsRefusedAtClose) {
  SimulatedDisk disk(test::seed());
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  engine::QueueSettings settings = engine::defaultSettings("drops", false);
  settings.dead_letter.clear();
  const uint32_t queue = client.declare(settings);
  CHECK(client.awaitCommitted(client.send(queue, {"a"})));
  engine::Consumer& consumer = client.consume(queue);
  const std::vector<Got> got = client.takeAll(consumer, 1);
  CHECK_OK(broker->close());
  uint64_t unit = 0;
  CHECK(!broker->answer(consumer, Verb::kReject, got[0].seq, got[0].count, 0, "no", unit).ok());
  CHECK_EQ(broker->queueStats(queue).value().counters.dropped, 0u);
}

TEST(EngineCloseGivesBackWhatOtherThreadsHoldUncounted) {
  SimulatedDisk disk(test::seed());
  engine::QueueSettings settings = engine::defaultSettings("q", false);
  settings.max_deliveries = 1;
  for (const bool begun : {false, true}) {
    const std::shared_ptr<Broker> broker = openOn(disk);
    Client owner(broker);
    Client other(broker);
    const uint32_t queue = owner.declare(settings);
    if (!begun) CHECK(owner.awaitCommitted(owner.send(queue, std::vector<std::string>(65, "x"))));
    engine::Consumer& consumer = other.consume(queue);
    CHECK_EQ(other.takeAll(consumer, 65).size(), 65u);
    if (begun) consumer.started = 65;
    CHECK_OK(broker->close());  // while the other thread has them
  }
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  const ledger::Counts counts = broker->queueStats(client.declare("q")).value().counts;
  CHECK_EQ(counts.ready, 65u);
  CHECK_EQ(counts.suspects, 0u);
}

// Before each queue was closed under its own mutex a sender that had passed the door left its message behind.
TEST(EngineCloseUnderSendersLeavesNothingInMemory) {
  constexpr int kSenders = 12;
  const int rounds = test::kSanitized ? 40 : 200;
  for (int round = 0; round < rounds; ++round) {
    Result<std::shared_ptr<Broker>> opened = Broker::open({});
    CHECK_OK(opened.status());
    const std::shared_ptr<Broker> broker = opened.take();
    Client client(broker);
    const uint32_t queue = client.declare("q", true);
    std::atomic<int> sending{0};
    std::vector<std::thread> senders;
    for (int i = 0; i < kSenders; ++i) {
      senders.emplace_back([&, whole = i % 2 == 0] {
        Client mine(broker);
        sending.fetch_add(1);
        std::vector<double> results;
        for (bool open = true; open;) {
          const bool taken = mine.trySend(queue, {"one", "two"}, results, whole).ok();
          open = taken && results[0] > 0;
        }
      });
    }
    while (sending.load() < kSenders) std::this_thread::yield();
    CHECK_OK(broker->close());
    for (std::thread& sender : senders) sender.join();
    const ledger::Counts counts = broker->queueStats(queue).value().counts;
    CHECK_EQ(counts.ready + counts.in_flight + counts.settling, 0u);
    CHECK_EQ(counts.bytes, 0u);
  }
}

TEST(EngineSecondCloseWaitsForTheFirst) {
  SimulatedDisk disk(test::seed());
  for (int round = 0; round < 20; ++round) {
    const std::shared_ptr<Broker> broker = openOn(disk);
    std::thread first([&] { CHECK_OK(broker->close()); });
    CHECK_OK(broker->close());
    CHECK(broker->finished());
    first.join();
  }
}

TEST(EngineAnswersWithNumbersThatAreNoneAreLost) {
  Result<std::shared_ptr<Broker>> opened = Broker::open({});
  CHECK_OK(opened.status());
  Client client(opened.value());
  const uint32_t queue = client.declare("q", true);
  (void)client.send(queue, {"one"});
  engine::Consumer& consumer = client.consume(queue);
  CHECK_EQ(client.take(consumer).size(), 1u);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> seqs{std::nan(""), infinity, -infinity,          -1,  0,
                                 0.5,          1e300,    9007199254740993.0, -0.0};
  const std::vector<uint32_t> counts(seqs.size(), 1);
  std::vector<uint8_t> lost(seqs.size());
  CHECK_OK(client.broker().ack(consumer, seqs, counts, lost, true).status());
  for (const uint8_t one : lost) CHECK_EQ(int{one}, 1);
}
