// The engine end to end on a simulated disk and in memory.
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

engine::BrokerOptions small() {
  engine::BrokerOptions options;
  options.segment_bytes = 256 << 10;
  options.checkpoint_bytes = 256 << 10;
  options.message_bytes_max = 8 << 10;
  return options;
}

std::shared_ptr<Broker> openOn(SimulatedDisk& disk) {
  Result<std::shared_ptr<Broker>> broker = Broker::open(small(), disk.directory());
  CHECK_OK(broker.status());
  return broker.take();
}

std::shared_ptr<Broker> openInMemory() {
  Result<std::shared_ptr<Broker>> broker = Broker::open({});
  CHECK_OK(broker.status());
  return broker.take();
}

std::vector<std::string> numbered(uint64_t from, uint64_t count) {
  std::vector<std::string> bodies;
  for (uint64_t i = 0; i < count; ++i) bodies.push_back("message " + std::to_string(from + i));
  return bodies;
}

}  // namespace

TEST(EngineDeliversInOrderAndForgetsWhatIsAcked) {
  SimulatedDisk disk(test::seed());
  for (const bool memory : {false, true}) {
    const std::shared_ptr<Broker> broker = memory ? openInMemory() : openOn(disk);
    Client client(broker);
    const uint32_t queue = client.declare("orders", memory);
    CHECK(client.awaitCommitted(client.send(queue, numbered(1, 100))));
    engine::Consumer& consumer = client.consume(queue);
    const std::vector<Got> got = client.takeAll(consumer, 100);
    for (size_t i = 0; i < got.size(); ++i) {
      CHECK_EQ(got[i].seq, i + 1);
      CHECK_EQ(got[i].body, "message " + std::to_string(i + 1));
    }
    CHECK(client.awaitCommitted(client.ack(consumer, got)));
    client.until([&] { return broker->queueStats(queue).value().counts.settling == 0; });
    CHECK_EQ(broker->queueStats(queue).value().counts.bytes, 0u);
    client.leave();
    CHECK_OK(broker->close());
  }
}

TEST(EngineKeepsWhatWasCommittedAcrossReopen) {
  SimulatedDisk disk(test::seed());
  for (uint64_t round = 0; round < 5; ++round) {
    const std::shared_ptr<Broker> broker = openOn(disk);
    Client client(broker);
    const uint32_t queue = client.declare("orders");
    CHECK(client.awaitCommitted(client.send(queue, numbered(round * 10 + 1, 10))));
    engine::Consumer& consumer = client.consume(queue);
    std::vector<Got> got = client.takeAll(consumer, 10 + round * 5);
    CHECK_EQ(got.front().seq, round * 5 + 1);
    got.resize(5);
    CHECK(client.awaitCommitted(client.ack(consumer, got)));
    client.leave();
    if (round % 2 == 0) CHECK_OK(broker->close());
  }
}

TEST(EngineCommitsAcksThatNobodyAwaits) {
  SimulatedDisk disk(test::seed());
  for (int session = 0; session < 2; ++session) {
    const std::shared_ptr<Broker> broker = openOn(disk);
    Client client(broker);
    const uint32_t queue = client.declare("orders");
    CHECK_EQ(broker->queueStats(queue).value().counts.ready, 0u);  // the second time: it was durable
    CHECK(client.awaitCommitted(client.send(queue, numbered(1, 10))));
    engine::Consumer& consumer = client.consume(queue);
    client.ack(consumer, client.takeAll(consumer, 10), false);
    client.until([&] { return broker->queueStats(queue).value().counts.settling == 0; });
    client.leave();
  }
}

TEST(EngineAcksThatNobodyAwaitsMakeRoomForASenderThatWaits) {
  SimulatedDisk disk(test::seed());
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  engine::QueueSettings settings = engine::defaultSettings("narrow", false);
  settings.capacity = 1;
  const uint32_t queue = client.declare(settings);
  engine::Consumer& consumer = client.consume(queue);
  for (uint64_t i = 1; i <= 200; ++i) {
    std::vector<double> seqs;
    uint64_t unit = client.send(queue, numbered(i, 1), &seqs);
    client.until([&] {
      if (seqs[0] < 0) unit = client.send(queue, numbered(i, 1), &seqs);
      return seqs[0] > 0;
    });
    CHECK(client.awaitCommitted(unit));
    client.ack(consumer, client.takeAll(consumer, 1), false);
  }
}

TEST(EngineReturnsTheLeasesOfAConsumerThatDies) {
  SimulatedDisk disk(test::seed());
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client first(broker);
  Client second(broker);
  const uint32_t queue = first.declare("orders");
  CHECK(first.awaitCommitted(first.send(queue, numbered(1, 10))));
  engine::Consumer& dying = first.consume(queue);
  const std::vector<Got> leased = first.takeAll(dying, 10);
  dying.started = 1;
  engine::Consumer& heir = second.consume(queue);
  CHECK(second.take(heir).empty());
  first.leave();
  const std::vector<Got> again = second.takeAll(heir, 10);
  for (size_t i = 0; i < again.size(); ++i) {
    CHECK_EQ(again[i].seq, i + 1);
    CHECK_EQ(again[i].count, 2u);
  }
}

TEST(EngineMovesAMessageToTheDeadLettersAfterItsLastDelivery) {
  SimulatedDisk disk(test::seed());
  for (const bool memory : {false, true}) {
    const std::shared_ptr<Broker> broker = memory ? openInMemory() : openOn(disk);
    Client client(broker);
    engine::QueueSettings settings = engine::defaultSettings("poison", memory);
    settings.max_deliveries = 3;
    const uint32_t queue = client.declare(settings);
    CHECK(client.awaitCommitted(client.send(queue, {"bad", "good"})));
    engine::Consumer& consumer = client.consume(queue);
    for (uint32_t delivery = 1; delivery <= 3; ++delivery) {
      const std::vector<Got> got = client.take(consumer, 1);
      CHECK_EQ(got.size(), 1u);
      CHECK_EQ(got[0].body, "bad");
      CHECK_EQ(got[0].count, delivery);
      CHECK(client.answer(consumer, Verb::kNack, got[0], 0, "cannot"));
    }
    const auto dead = broker->lookup("poison.dead");
    CHECK_OK(dead.status());
    engine::Consumer& undertaker = client.consume(dead.value().first);
    const std::vector<Got> letters = client.takeAll(undertaker, 1);
    CHECK_EQ(letters[0].body, "bad");
    CHECK_EQ(client.takeAll(consumer, 1)[0].body, "good");
    CHECK_EQ(broker->queueStats(queue).value().counters.dead_lettered, 1u);
  }
}

TEST(EngineHoldsBackDeadLettersWhileTheirQueueIsFull) {
  SimulatedDisk disk(test::seed());
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  engine::QueueSettings graves = engine::defaultSettings("full.dead", false);
  graves.capacity = 1;
  const uint32_t dead = client.declare(graves);
  const uint32_t queue = client.declare("full");
  CHECK(client.awaitCommitted(client.send(queue, {"a", "b"})));
  engine::Consumer& consumer = client.consume(queue);
  for (const Got& got : client.takeAll(consumer, 2))
    CHECK(client.answer(consumer, Verb::kReject, got, 0, "no"));
  engine::Consumer& undertaker = client.consume(dead);
  const std::vector<Got> first = client.takeAll(undertaker, 1);
  CHECK_EQ(first[0].body, "a");
  CHECK(client.take(undertaker).empty());
  CHECK(client.awaitCommitted(client.ack(undertaker, first)));
  CHECK_EQ(client.takeAll(undertaker, 1)[0].body, "b");
  uint64_t unit = engine::kDeferred;
  client.until([&] {
    CHECK_OK(broker->burial(client.session(), queue, 2, unit));
    return unit != engine::kDeferred;
  });
  CHECK(client.awaitCommitted(unit));
}

TEST(EngineRefusesASenderOfAFullQueueAndTellsItOfRoom) {
  SimulatedDisk disk(test::seed());
  for (const bool memory : {false, true}) {
    const std::shared_ptr<Broker> broker = memory ? openInMemory() : openOn(disk);
    Client client(broker);
    engine::QueueSettings settings = engine::defaultSettings("narrow", memory);
    settings.capacity = 2;
    const uint32_t queue = client.declare(settings);
    std::vector<double> seqs;
    CHECK(client.awaitCommitted(client.send(queue, numbered(1, 3), &seqs)));
    CHECK_EQ(seqs[1], 2.0);
    CHECK_EQ(seqs[2], -static_cast<double>(Code::kQueueFull));
    engine::Consumer& consumer = client.consume(queue);
    CHECK(client.awaitCommitted(client.ack(consumer, client.takeAll(consumer, 2))));
    client.until([&] { return !client.session().wants_room.load(); });
    CHECK(client.awaitCommitted(client.send(queue, {"third"}, &seqs)));
    CHECK_EQ(seqs[0], 3.0);
  }
}

TEST(EngineCompetingConsumersGetEachMessageOnce) {
  constexpr uint64_t kMessages = 200'000;
  for (const bool memory : {true, false}) {
    SimulatedDisk disk(test::seed());
    const std::shared_ptr<Broker> broker = memory ? openInMemory() : openOn(disk);
    Client sender(broker);
    const uint32_t queue = sender.declare("work", memory);
    const uint64_t messages = memory ? kMessages : kMessages / 10;
    std::vector<std::atomic<uint32_t>> seen(messages + 1);
    std::atomic<uint64_t> total{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        Client worker(broker);
        engine::Consumer& consumer = worker.consume(queue);
        worker.until([&] {
          for (;;) {
            const std::vector<Got> got = worker.take(consumer);
            if (got.empty()) break;
            for (const Got& one : got) seen[one.seq].fetch_add(1);
            worker.ack(consumer, got);
            total += got.size();
          }
          return total.load() == messages;
        });
      });
    }
    uint64_t sent = 0;
    while (sent < messages) {
      std::vector<double> seqs;
      sender.send(queue, numbered(sent + 1, std::min<uint64_t>(64, messages - sent)), &seqs);
      for (const double seq : seqs) CHECK(seq > 0);
      sent += seqs.size();
    }
    for (std::thread& thread : threads) thread.join();
    for (uint64_t seq = 1; seq <= messages; ++seq) CHECK_EQ(seen[seq].load(), 1u);
  }
}

TEST(EngineStopsAtTheFirstFailedSyncAndKeepsWhatWasAccepted) {
  SimulatedDisk disk(test::seed());
  {
    const std::shared_ptr<Broker> broker = openOn(disk);
    Client client(broker);
    const uint32_t queue = client.declare("orders");
    CHECK(client.awaitCommitted(client.send(queue, {"kept"})));
    disk.inject({test::Call::kSync, 1, EIO, true, "segment"});
    CHECK(!client.awaitCommitted(client.send(queue, {"lost"})));
    std::vector<double> seqs;
    client.send(queue, {"refused"}, &seqs);
    CHECK_EQ(seqs[0], -static_cast<double>(Code::kStoreFailed));
    client.leave();
    CHECK(broker->close().code() == Code::kStoreFailed);
  }
  disk.clearFaults();
  SimulatedDisk after(disk.cutPower(test::seed()));
  const std::shared_ptr<Broker> broker = openOn(after);
  Client client(broker);
  engine::Consumer& consumer = client.consume(client.declare("orders"));
  std::vector<Got> got;
  client.until([&] { return !(got = client.take(consumer)).empty(); });
  CHECK_EQ(got[0].body, "kept");
}

// Of the first death nobody knows whose it was: the message was one of those in flight. From then on it is
// alone.
TEST(EngineCountsADeliveryThatKilledTheProcess) {
  SimulatedDisk disk(test::seed());
  engine::QueueSettings settings = engine::defaultSettings("poison", false);
  settings.max_deliveries = 2;
  for (uint32_t round = 1; round <= 4; ++round) {
    SimulatedDisk killed = disk.reopenAfterKill(test::seed());
    // Abandoned without close: what the kernel has by then is what a SIGKILL leaves.
    const std::shared_ptr<Broker> broker = openOn(killed);
    Client client(broker);
    const uint32_t queue = client.declare(settings);
    if (round == 1) CHECK(client.awaitCommitted(client.send(queue, {"bad"})));
    engine::Consumer& consumer = client.consume(queue);
    if (round <= 3) {
      const std::vector<Got> got = client.takeAll(consumer, 1);
      CHECK_EQ(got[0].count, round);
    } else {
      CHECK(client.take(consumer).empty());
      engine::Consumer& undertaker = client.consume(client.declare("poison.dead"));
      CHECK_EQ(client.takeAll(undertaker, 1)[0].body, "bad");
    }
    disk = SimulatedDisk(killed.image(), test::seed());
  }
}

TEST(EngineShowsWhatWasSentOnceTheSendIsConfirmed) {
  SimulatedDisk disk(test::seed());
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  const uint32_t queue = client.declare("q");
  const int rounds = test::kSanitized ? 300 : 3000;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t unit = client.send(queue, {"x"});
    while (broker->committedThrough() < unit) std::this_thread::yield();
    uint64_t purge_unit = 0;
    const Result<engine::Purged> purged = broker->purge(queue, client.session(), {}, purge_unit);
    CHECK_OK(purged.status());
    CHECK_EQ(purged.value().messages, 1u);
    CHECK(client.awaitCommitted(purge_unit));
  }
}
