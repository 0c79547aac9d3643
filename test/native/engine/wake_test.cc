// Who is woken, and when, where the consumer that waits first is busy and another one idles.
#include "engine/client.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::Broker;
using test::Client;

namespace {

std::shared_ptr<Broker> openInMemory() {
  Result<std::shared_ptr<Broker>> broker = Broker::open({});
  CHECK_OK(broker.status());
  return broker.take();
}

// Two consumers that wait for the queue. The first one's thread never looks at its wake-ups.
struct Waiting {
  explicit Waiting(const std::shared_ptr<Broker>& broker) : busy(broker), idle(broker) {
    queue = busy.declare("q", true);
    CHECK(busy.take(busy.consume(queue)).empty());
    CHECK(idle.take(idle.consume(queue)).empty());
  }
  void idleIsWoken() {
    idle.until([&] {
      std::vector<uint32_t> woken;
      idle.session().takeWoken(woken, 16);
      return !woken.empty();
    });
  }
  Client busy;
  Client idle;
  uint32_t queue = 0;
};

}  // namespace

TEST(WakeReachesAnIdleConsumerAfterASend) {
  const std::shared_ptr<Broker> broker = openInMemory();
  Waiting waiting(broker);
  waiting.idle.send(waiting.queue, {"one"});
  waiting.idleIsWoken();
}

TEST(WakeReachesAnIdleConsumerAfterABatch) {
  const std::shared_ptr<Broker> broker = openInMemory();
  Waiting waiting(broker);
  waiting.idle.send(waiting.queue, {"one"}, nullptr, true);
  waiting.idleIsWoken();
}

TEST(WakeReachesAnIdleConsumerAfterResume) {
  const std::shared_ptr<Broker> broker = openInMemory();
  Waiting waiting(broker);
  CHECK_OK(broker->pause(waiting.queue, true));
  waiting.idle.send(waiting.queue, {"one"});
  CHECK_OK(broker->pause(waiting.queue, false));
  waiting.idleIsWoken();
}

TEST(WakeReachesAnIdleConsumerAfterADeath) {
  const std::shared_ptr<Broker> broker = openInMemory();
  Client victim(broker);
  const uint32_t queue = victim.declare("q", true);
  engine::Consumer& holder = victim.consume(queue);
  victim.send(queue, {"one"});
  CHECK_EQ(victim.take(holder).size(), 1u);
  Waiting waiting(broker);
  victim.leave();
  waiting.idleIsWoken();
}

TEST(WakePassesOnWhenAWokenConsumerStops) {
  const std::shared_ptr<Broker> broker = openInMemory();
  Client stopping(broker);
  const uint32_t queue = stopping.declare("q", true);
  engine::Consumer& first = stopping.consume(queue);
  CHECK(stopping.take(first).empty());
  Waiting waiting(broker);
  stopping.send(queue, {"one"});
  broker->stopConsumer(first);
  waiting.idleIsWoken();
}
