// A disk that is full stays a state: what waits on it can be drained, however slowly.
#include "engine/client.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::Broker;
using test::Client;
using test::Got;
using test::SimulatedDisk;

namespace {

constexpr uint64_t kSegmentBytes = 256 << 10;

std::shared_ptr<Broker> openOn(SimulatedDisk& disk) {
  engine::BrokerOptions options;
  options.segment_bytes = kSegmentBytes;
  options.checkpoint_bytes = 1 << 20;
  Result<std::shared_ptr<Broker>> broker = Broker::open(options, disk.directory());
  CHECK_OK(broker.status());
  return broker.take();
}

// Sends until the disk is full. Returns how many were accepted.
uint64_t fill(Client& client, uint32_t queue) {
  const std::vector<std::string> one{std::string(64, 'x')};
  for (uint64_t sent = 0;;) {
    std::vector<double> results;
    client.send(queue, one, &results);
    if (results.empty()) {
      client.until([&] { return !client.session().wants_room.load(); });
    } else if (results[0] < 0) {
      CHECK_EQ(results[0], -static_cast<double>(Code::kDiskFull));
      return sent;
    } else {
      ++sent;
    }
  }
}

}  // namespace

// Each message costs a commit for its delivery and one for its ack: many segments of them, on a disk that has
// room for none.
TEST(FullDiskIsDrainedOneMessageAtATime) {
  SimulatedDisk disk(test::seed());
  disk.setCapacity(7 * kSegmentBytes + (400 << 10));
  const std::shared_ptr<Broker> broker = openOn(disk);
  Client client(broker);
  const uint32_t queue = client.declare("slow");
  const uint64_t sent = fill(client, queue);
  CHECK(sent > 1000);
  engine::Consumer& consumer = client.consume(queue);
  const uint64_t wanted = test::kSanitized ? 500 : sent;
  for (uint64_t n = 0; n < wanted; ++n) {
    std::vector<Got> got;
    client.until([&] { return !(got = client.take(consumer, 1)).empty(); });
    CHECK(client.awaitCommitted(client.ack(consumer, got)));
  }
  client.until([&] { return broker->queueStats(queue).value().counts.settling == 0; });
  CHECK_EQ(broker->queueStats(queue).value().counts.ready, sent - wanted);
  // And then there is room again.
  if (wanted < sent) return;
  client.until([&] {
    std::vector<double> results;
    client.send(queue, {"again"}, &results);
    return !results.empty() && results[0] > 0;
  });
}
