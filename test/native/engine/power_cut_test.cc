// Power cuts under a working engine: at sync points of a run with sends, acks, nacks, dead letters,
// checkpoints, recycling and copying forward, the disk is rebuilt with a random part of what was not synced;
// the store is opened again and every promise made by then is checked (P1 to P5, P7).
#include <algorithm>
#include <map>
#include <set>
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

engine::BrokerOptions tiny(bool sync) {
  engine::BrokerOptions options;
  options.segment_bytes = 256 << 10;
  options.checkpoint_bytes = 128 << 10;
  options.message_bytes_max = 8 << 10;
  options.sync = sync;
  return options;
}

// What the run has promised, as it goes: append-only, so that a moment of it is three numbers.
class Promises {
 public:
  struct Moment {
    uint64_t accepted = 0;  // seqs 1..accepted are durable
    size_t asked = 0;       // settlements asked for
    size_t settled = 0;     // settlements confirmed
  };

  void accept(uint64_t through) {
    const std::lock_guard lock(mutex_);
    now_.accepted = through;
  }
  void ask(uint64_t seq) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(seq);
    now_.asked = asked_.size();
  }
  void settle(uint64_t seq) {
    const std::lock_guard lock(mutex_);
    settled_.push_back(seq);
    now_.settled = settled_.size();
  }
  void sent(uint64_t seq, const std::string& body) {
    const std::lock_guard lock(mutex_);
    bodies_[seq] = body;
  }
  Moment moment() {
    const std::lock_guard lock(mutex_);
    return now_;
  }

  // `found`: the messages of the queue and of its dead-letter queue (by body) in a store opened after a cut.
  void check(const Moment& then, const std::vector<Got>& found, const std::vector<Got>& dead) {
    const std::lock_guard lock(mutex_);
    std::set<std::string> present;
    uint64_t last = 0;
    for (const Got& got : found) {
      CHECK(got.seq > last);  // order, and no duplicates
      last = got.seq;
      CHECK(bodies_.contains(got.seq));
      CHECK_EQ(got.body, bodies_[got.seq]);
      present.insert(got.body);
    }
    std::set<std::string> bodies;
    for (const auto& [seq, body] : bodies_) bodies.insert(body);
    for (const Got& got : dead) {
      CHECK(bodies.contains(got.body));
      CHECK(present.insert(got.body).second);  // in one queue, not in both
    }
    // Asked for later than the moment: may have been on its way when the image was taken.
    const std::set<uint64_t> maybe(asked_.begin(), asked_.end());
    const std::set<uint64_t> gone(settled_.begin(), settled_.begin() + static_cast<ptrdiff_t>(then.settled));
    for (uint64_t seq = 1; seq <= then.accepted; ++seq) {
      if (!maybe.contains(seq)) CHECK(present.contains(bodies_[seq]));
      if (gone.contains(seq)) CHECK(!present.contains(bodies_[seq]));
    }
  }

 private:
  std::mutex mutex_;
  Moment now_;
  std::vector<uint64_t> asked_;
  std::vector<uint64_t> settled_;
  std::map<uint64_t, std::string> bodies_;
};

struct Shot {
  test::DiskImage image;
  Promises::Moment moment;
};

// Runs a random workload on `disk`, taking a shot at about one sync point in `every`.
void work(SimulatedDisk& disk, std::mt19937_64& random, Promises& promises, std::vector<Shot>& shots,
          int steps, bool sync, int every) {
  std::mutex shots_mutex;
  std::mt19937_64 shot_random(random());
  disk.setHook([&](test::Moment, const std::string&) {
    const std::lock_guard lock(shots_mutex);
    if (shot_random() % static_cast<uint64_t>(every) != 0) return;
    // The promises first: what is promised after this may be missing from the image.
    const Promises::Moment moment = promises.moment();
    shots.push_back({disk.image(), moment});
  });
  Result<std::shared_ptr<Broker>> opened = Broker::open(tiny(sync), disk.directory());
  CHECK_OK(opened.status());
  {
    Client client(opened.value());
    const uint32_t queue = client.declare("orders");
    engine::Consumer& consumer = client.consume(queue);
    std::vector<Got> held;
    uint64_t next = 1;
    for (int step = 0; step < steps; ++step) {
      switch (random() % 4) {
        case 0:
        case 1: {
          std::vector<std::string> bodies;
          const uint64_t count = 1 + random() % 20;
          for (uint64_t i = 0; i < count; ++i) {
            bodies.push_back(std::to_string(next + i) + std::string(random() % 1000, 'x'));
            promises.sent(next + i, bodies.back());
          }
          // The stage may take a part, or none while the next segment is being prepared: the rest goes again.
          const bool whole = random() % 2 == 0;
          uint64_t unit = 0;
          size_t taken = 0;
          client.until([&] {
            std::vector<double> seqs;
            const std::vector<std::string> rest(bodies.begin() + static_cast<ptrdiff_t>(taken), bodies.end());
            unit = std::max(unit, client.send(queue, rest, &seqs, whole));
            for (const double seq : seqs) CHECK_EQ(static_cast<uint64_t>(seq), next + taken++);
            return taken == bodies.size();
          });
          next += count;
          CHECK(client.awaitCommitted(unit));
          promises.accept(next - 1);
          break;
        }
        case 2: {
          const std::vector<Got> got = client.take(consumer, 1 + static_cast<uint32_t>(random() % 64));
          held.insert(held.end(), got.begin(), got.end());
          break;
        }
        default: {
          std::shuffle(held.begin(), held.end(), random);
          // A few stay behind for long: they are what is copied forward.
          const size_t keep = std::min<size_t>(held.size(), random() % 12);
          std::vector<Got> done(held.begin() + static_cast<ptrdiff_t>(keep), held.end());
          held.resize(keep);
          std::sort(done.begin(), done.end(), [](const Got& a, const Got& b) { return a.seq < b.seq; });
          if (!done.empty() && random() % 4 == 0) {
            const Got one = done.back();
            done.pop_back();
            if (random() % 2 == 0) {
              CHECK(client.answer(consumer, Verb::kNack, one, random() % 2 * 5));
            } else {
              CHECK(client.answer(consumer, Verb::kReject, one, 0, "no"));
            }
          }
          for (const Got& got : done) promises.ask(got.seq);
          const uint64_t unit = client.ack(consumer, done);
          CHECK(client.awaitCommitted(unit));
          for (const Got& got : done) promises.settle(got.seq);
        }
      }
    }
    client.leave();
  }
  CHECK_OK(opened.value()->close());
  disk.setHook({});
}

// What waits in this queue: seen without a lease, or taken and acked (suspects come one by one, each after
// the one before is settled durably).
std::vector<Got> contents(Client& client, const std::string& name, bool take) {
  const auto queue = client.broker().lookup(name);
  if (!queue.ok()) return {};
  const uint32_t id = queue.value().first;
  const auto counts = [&] { return client.broker().queueStats(id).value().counts; };
  // A letter that was on its way arrives with the next commit.
  client.until([&] { return counts().delayed + counts().dying + counts().settling == 0; });
  if (!take) return client.peek(id, 1 << 20);
  engine::Consumer& consumer = client.consume(id);
  std::vector<Got> all;
  client.until([&] {
    for (;;) {
      const std::vector<Got> some = client.take(consumer);
      if (some.empty()) break;
      client.ack(consumer, some);
      all.insert(all.end(), some.begin(), some.end());
    }
    return counts().ready + counts().suspects == 0;
  });
  return all;
}

void checkShot(const Shot& shot, Promises& promises, std::mt19937_64& random, bool sync, bool kill) {
  SimulatedDisk disk(kill ? shot.image : shot.image.cutPower(random()), random());
  // Every tenth time the power goes again while the store recovers.
  if (random() % 10 == 0) {
    std::vector<test::DiskImage> during;
    disk.setHook([&](test::Moment, const std::string&) {
      if (during.size() < 4) during.push_back(disk.image());
    });
    (void)Broker::open(tiny(sync), disk.directory());
    disk.setHook({});
    if (!during.empty()) {
      const test::DiskImage& image = during[random() % during.size()];
      disk = SimulatedDisk(kill ? image : image.cutPower(random()), random());
    }
  }
  Result<std::shared_ptr<Broker>> broker = Broker::open(tiny(sync), disk.directory());
  CHECK_OK(broker.status());
  Client client(broker.value());
  const auto queue = broker.value()->lookup("orders");
  if (!queue.ok()) {
    promises.check(shot.moment, {}, {});
    return;
  }
  const bool take = random() % 8 == 0;
  std::vector<Got> found = contents(client, "orders", take);
  std::sort(found.begin(), found.end(), [](const Got& a, const Got& b) { return a.seq < b.seq; });
  promises.check(shot.moment, found, contents(client, "orders.dead", take));
}

void campaign(uint64_t cuts, bool sync, bool kill) {
  std::mt19937_64 random(test::seed() + (sync ? 1 : 0) + (kill ? 2 : 0));
  uint64_t checked = 0;
  while (checked < cuts) {
    SimulatedDisk disk(random());
    Promises promises;
    std::vector<Shot> shots;
    work(disk, random, promises, shots, 300, sync, kill ? 20 : 5);
    std::shuffle(shots.begin(), shots.end(), random);
    for (const Shot& shot : shots) {
      if (checked++ == cuts) return;
      checkShot(shot, promises, random, sync, kill);
    }
  }
}

}  // namespace

TEST(EnginePowerCutsBreakNoPromiseAtSync) {
  campaign((test::kSanitized ? 100 : 2000) * test::scale(), true, false);
}

TEST(EngineKillsBreakNoPromiseAtProcess) {
  campaign((test::kSanitized ? 30 : 300) * test::scale(), false, true);
}
