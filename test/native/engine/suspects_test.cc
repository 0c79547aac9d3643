// Poison in front of a whole broker whose time is a number: handlers take as long as the test says, a poison
// kills the process some time after its handler began (the disk goes on as a SIGKILL leaves it), and the next
// life begins at once.
#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "engine/client.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::Broker;
using test::Client;
using test::Got;
using test::SimulatedDisk;

namespace {

// Whoever advances it waits until the timer's thread has looked at the new time.
class TestClock {
 public:
  ledger::Now now() {
    if (std::this_thread::get_id() != owner_) looks_.fetch_add(1);
    const uint64_t ms = ms_.load();
    return {ms, 1'700'000'000'000 + ms};
  }
  uint64_t ms() const { return ms_.load(); }
  void advance(uint64_t ms, Client& client) {
    ms_.fetch_add(ms);
    const uint64_t before = looks_.load();
    client.until([&] {
      std::this_thread::yield();
      return looks_.load() >= before + 4;
    });
  }

 private:
  const std::thread::id owner_ = std::this_thread::get_id();
  std::atomic<uint64_t> ms_{1'000'000};
  std::atomic<uint64_t> looks_{0};
};

struct Plan {
  std::vector<uint32_t> consumers;  // of each queue
  uint32_t messages = 20;           // of each queue
  uint32_t concurrency = 4;         // of a consumer
  uint32_t prefetch = 64;
  uint32_t max_deliveries = 5;
  uint64_t handler_ms = 5;
  uint64_t kill_ms = 0;  // after the poison's handler began
  uint32_t poison_queue = 0;
  uint32_t poison = 9;  // its place, from 0
};

struct Running {
  Got got;
  uint64_t ends_ms;
  bool poison;
};

// One consumer as JavaScript has it: takes ahead, begins as many as it may, acks what has ended.
struct Worker {
  engine::Consumer* consumer;
  uint32_t queue;
  std::deque<Got> ahead;
  std::vector<Running> running;
};

class PoisonRun {
 public:
  explicit PoisonRun(const Plan& plan) : plan_(plan), disk_(std::make_unique<SimulatedDisk>(test::seed())) {}

  // Lives until everything is settled or buried. Returns how often the process died.
  uint32_t live(uint32_t lives_max) {
    for (uint32_t deaths = 0;; ++deaths) {
      CHECK(deaths < lives_max);
      if (!oneLife(deaths == 0)) return deaths;
    }
  }

  // The bodies among the dead letters of all queues.
  std::set<std::string> dead() {
    std::set<std::string> bodies;
    const std::shared_ptr<Broker> broker = open();
    Client client(broker);
    for (uint32_t queue = 0; queue < plan_.consumers.size(); ++queue) {
      const uint32_t graves = client.declare("q" + std::to_string(queue) + ".dead");
      const uint64_t letters = broker->queueStats(graves).value().counts.ready;
      for (const Got& got : client.takeAll(client.consume(graves), letters)) bodies.insert(got.body);
    }
    return bodies;
  }
  std::string poisonBody() const { return body(plan_.poison_queue, plan_.poison); }

 private:
  static std::string body(uint32_t queue, uint32_t place) {
    return std::to_string(queue) + ":" + std::to_string(place);
  }

  std::shared_ptr<Broker> open() {
    engine::BrokerOptions options;
    options.segment_bytes = 256 << 10;
    options.checkpoint_bytes = 256 << 10;
    options.message_bytes_max = 8 << 10;
    options.clock = [this] { return clock_.now(); };
    Result<std::shared_ptr<Broker>> broker = Broker::open(options, disk_->directory());
    CHECK_OK(broker.status());
    return broker.take();
  }

  // True: it died.
  bool oneLife(bool first) {
    const std::shared_ptr<Broker> broker = open();
    Client client(broker);
    std::vector<Worker> workers;
    for (uint32_t i = 0; i < plan_.consumers.size(); ++i) {
      engine::QueueSettings settings = engine::defaultSettings("q" + std::to_string(i), false);
      settings.max_deliveries = plan_.max_deliveries;
      const uint32_t queue = client.declare(settings);
      if (first) {
        std::vector<std::string> bodies;
        for (uint32_t place = 0; place < plan_.messages; ++place) bodies.push_back(body(i, place));
        CHECK(client.awaitCommitted(client.send(queue, bodies)));
      }
      for (uint32_t n = 0; n < plan_.consumers[i]; ++n)
        workers.push_back({&client.consume(queue), queue, {}, {}});
    }
    uint64_t waited_ms = 0;
    while (!settled(*broker, workers)) {
      bool busy = false;
      for (Worker& worker : workers) {
        if (killed(worker)) {
          disk_ = std::make_unique<SimulatedDisk>(disk_->image(), test::seed());
          return true;
        }
        busy |= work(client, worker);
      }
      if (busy) continue;
      // Seconds only while nothing but the poison runs on.
      const uint64_t step_ms = waited_ms > 1000 ? 500 : 5;
      waited_ms += step_ms;
      clock_.advance(step_ms, client);
    }
    client.leave();
    CHECK_OK(broker->close());
    return false;
  }

  static bool settled(Broker& broker, const std::vector<Worker>& workers) {
    for (const Worker& worker : workers) {
      const ledger::Counts counts = broker.queueStats(worker.queue).value().counts;
      if (counts.ready + counts.suspects + counts.in_flight + counts.settling + counts.dying > 0)
        return false;
    }
    return true;
  }

  bool killed(const Worker& worker) const {
    for (const Running& one : worker.running) {
      if (one.poison && one.ends_ms <= clock_.ms()) return true;
    }
    return false;
  }

  bool work(Client& client, Worker& worker) {
    bool busy = false;
    for (size_t i = 0; i < worker.running.size();) {
      if (worker.running[i].ends_ms > clock_.ms()) {
        ++i;
        continue;
      }
      client.ack(*worker.consumer, {worker.running[i].got}, false);
      worker.running.erase(worker.running.begin() + static_cast<ptrdiff_t>(i));
      busy = true;
    }
    if (worker.ahead.empty() && worker.running.size() < plan_.concurrency) {
      for (Got& got : client.take(*worker.consumer, plan_.prefetch)) worker.ahead.push_back(std::move(got));
    }
    while (!worker.ahead.empty() && worker.running.size() < plan_.concurrency) {
      const bool poison = worker.ahead.front().body == poisonBody();
      worker.running.push_back({std::move(worker.ahead.front()),
                                clock_.ms() + (poison ? plan_.kill_ms : plan_.handler_ms), poison});
      worker.ahead.pop_front();
      busy = true;
    }
    return busy;
  }

  const Plan plan_;
  TestClock clock_;
  std::unique_ptr<SimulatedDisk> disk_;
};

void checkOnlyThePoisonDies(const Plan& plan, uint32_t uncharged_max) {
  PoisonRun run(plan);
  const uint32_t deaths = run.live(plan.max_deliveries + uncharged_max + 1);
  CHECK(run.dead() == std::set<std::string>{run.poisonBody()});
  CHECK(deaths >= plan.max_deliveries);
}

}  // namespace

TEST(EnginePoisonIsBuriedAfterItsOwnDeathsAndItsNeighboursNever) {
  std::mt19937_64 source(test::seed());
  const auto random = [&] { return static_cast<uint32_t>(source() >> 33); };
  for (uint64_t run = 0; run < 6 * test::scale(); ++run) {
    for (const uint32_t max_deliveries : {1u, 2u, 5u}) {
      Plan plan;
      plan.max_deliveries = max_deliveries;
      plan.consumers.assign(1 + random() % 3, 1);
      for (uint32_t& consumers : plan.consumers) consumers = 1 + random() % 3;
      plan.concurrency = 1 + random() % 8;
      plan.prefetch = plan.concurrency + random() % 64;
      plan.handler_ms = 1 + random() % 20;
      plan.kill_ms = random() % 20;
      plan.poison_queue = random() % static_cast<uint32_t>(plan.consumers.size());
      plan.poison = random() % plan.messages;
      // The first death, when none is suspect yet, charges nobody.
      checkOnlyThePoisonDies(plan, 1);
    }
  }
}

TEST(EnginePoisonThatKillsAfterItsHoldIsFoundByLongerHolds) {
  std::mt19937_64 source(test::seed());
  const auto random = [&] { return static_cast<uint32_t>(source() >> 33); };
  for (const uint32_t max_deliveries : {1u, 2u}) {
    Plan plan;
    plan.consumers = {1, 2};
    plan.max_deliveries = max_deliveries;
    plan.kill_ms = 30'000;
    plan.poison_queue = random() % 2;
    plan.poison = random() % plan.messages;
    checkOnlyThePoisonDies(plan, 2);
  }
}

// Handlers of ten minutes, all at work, and somebody ends the process: nobody is guilty.
TEST(EngineLongHandlersThatWereKilledTogetherAreAllAtWorkAgainWithinMinutes) {
  constexpr uint32_t kAgents = 64;
  constexpr uint64_t kMinute = 60'000;
  TestClock clock;
  auto disk = std::make_unique<SimulatedDisk>(test::seed());
  for (int life = 0; life < 3; ++life) {
    engine::BrokerOptions options;
    options.segment_bytes = 256 << 10;
    options.message_bytes_max = 8 << 10;
    options.clock = [&] { return clock.now(); };
    Result<std::shared_ptr<Broker>> broker = Broker::open(options, disk->directory());
    CHECK_OK(broker.status());
    Client client(broker.value());
    engine::QueueSettings settings = engine::defaultSettings("agents", false);
    settings.max_deliveries = 1;
    const uint32_t queue = client.declare(settings);
    if (life == 0) {
      CHECK(client.awaitCommitted(client.send(queue, std::vector<std::string>(kAgents, "ten minutes"))));
    }
    engine::Consumer& consumer = client.consume(queue);
    const uint64_t began_ms = clock.ms();
    std::vector<Got> at_work;
    while (at_work.size() < kAgents) {
      const std::vector<Got> some = client.take(consumer, kAgents);
      at_work.insert(at_work.end(), some.begin(), some.end());
      if (some.empty()) clock.advance(1000, client);
      CHECK(clock.ms() - began_ms < 15 * kMinute);
    }
    for (const Got& got : at_work) CHECK_EQ(got.count, static_cast<uint32_t>(life) + 1);
    CHECK_EQ(client.broker().queueStats(queue).value().counters.dead_lettered, 0u);
    if (life == 2) {
      CHECK(client.awaitCommitted(client.ack(consumer, at_work)));
      break;
    }
    // Past the last hold, so that the death meets none; not so far that the next holds take hours.
    for (int second = 0; second < 15; ++second) clock.advance(1000, client);
    disk = std::make_unique<SimulatedDisk>(disk->image(), test::seed());
    if (life == 1) break;
  }
}
