// Stores whose checksums all hold and whose content does not make sense: an error, never more than that.
#include "engine/client.h"
#include "log/block.h"
#include "log/checkpoint.h"
#include "log/identity.h"
#include "log/segment.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::Broker;
using test::Client;
using test::SimulatedDisk;

namespace {

Result<std::shared_ptr<Broker>> open(SimulatedDisk& disk) {
  engine::BrokerOptions options;
  options.segment_bytes = 256 << 10;
  options.checkpoint_bytes = 1 << 20;
  return Broker::open(options, disk.directory());
}

void makeStore(SimulatedDisk& disk) {
  auto broker = open(disk);
  CHECK_OK(broker.status());
  CHECK_OK(broker.value()->close());
}

// Makes `snapshot` the newest checkpoint.
void forgeCheckpoint(SimulatedDisk& disk, Bytes snapshot) {
  auto directory = disk.directory();
  auto identity = log::readIdentity(*directory);
  CHECK_OK(identity.status());
  const log::StoreId& id = identity.value().id;
  auto found = log::findCheckpoint(*directory, id, identity.value().segment_bytes);
  CHECK_OK(found.status());
  ByteWriter table;
  for (const log::SegmentEntry& entry : found.value().table) {
    table.fixed<uint64_t>(entry.index);
    table.fixed<uint64_t>(entry.sequence);
  }
  log::CheckpointHeader header = found.value().header;
  header.serial += 1;
  header.snapshot_bytes = snapshot.size();
  header.snapshot_crc = log::saltedCrc(id, snapshot);
  header.table_crc = log::saltedCrc(id, table.view());
  std::vector<std::byte> page(log::kPageBytes);
  header.encode(id, page.data());
  auto file = directory->open(log::kCheckpointNames[1 - found.value().slot]);
  CHECK_OK(file.status());
  CHECK_OK(file.value()->write(0, page));
  CHECK_OK(file.value()->write(log::kPageBytes, snapshot));
  CHECK_OK(file.value()->write(log::kPageBytes + snapshot.size(), table.view()));
}

struct Entry {
  uint64_t ref;
  uint64_t bytes;
  uint64_t deliveries = 0;
};

// A snapshot with one queue that holds one message.
std::vector<std::byte> snapshotOf(const engine::QueueSettings& settings, const Entry& entry) {
  ByteWriter encoded;
  settings.encode(encoded);
  ByteWriter out;
  out.varint(1);  // version
  out.varint(2);  // next queue
  out.varint(2);  // queue 1
  out.sizedText(textOf(encoded.view()));
  out.varint(10);             // last seq
  out.varint(1);              // seq 1
  out.varint(2 * entry.ref);  // zigzag
  out.varint(entry.bytes);
  out.varint(entry.deliveries);
  for (int i = 0; i < 3 && entry.deliveries > 0; ++i) out.varint(0);
  out.varint(0);
  out.varint(0);
  return out.buffer();
}

Code openWith(const std::vector<std::byte>& snapshot) {
  SimulatedDisk disk(test::seed());
  makeStore(disk);
  forgeCheckpoint(disk, snapshot);
  auto broker = open(disk);
  if (broker.ok()) return Code::kOk;
  const std::string detail = broker.status().detail();
  if (broker.status().code() == Code::kCorrupt) {
    CHECK(detail.find("checkpoint-") == 0 || detail.find("segment-") == 0);
    CHECK(detail.find("keep a copy") != std::string::npos);
  }
  return broker.status().code();
}

// The first place for a record in segment 0.
constexpr uint64_t kFirstRef = (log::kPageBytes + log::BlockHeader::kBytes) / 8;

}  // namespace

TEST(HostileSnapshotWithAMessageAtAPossiblePlaceOpens) {
  CHECK(openWith(snapshotOf(engine::defaultSettings("q", false), {kFirstRef, 48})) == Code::kOk);
}

TEST(HostileSnapshotWithAnImpossibleMessageIsCorrupt) {
  const engine::QueueSettings settings = engine::defaultSettings("q", false);
  const Entry impossible[] = {
      {kFirstRef, 0xfffffff0},                  // longer than a unit may be
      {kFirstRef, 8},                           // shorter than a record
      {0, 48},                                  // in the header page
      {(256 << 10) / 8 - 2, 48},                // over the end
      {uint64_t{1} << 32 | kFirstRef, 48},      // in a segment that holds nothing
      {uint64_t{40'000} << 32 | kFirstRef, 48}  // in a segment that is not there
  };
  for (const Entry& entry : impossible) CHECK(openWith(snapshotOf(settings, entry)) == Code::kCorrupt);
}

// Sparse and all at one place: what a segment can hold bounds them before memory is spent.
TEST(HostileSnapshotWhoseMessagesShareAPlaceIsCorrupt) {
  ByteWriter encoded;
  engine::defaultSettings("q", false).encode(encoded);
  ByteWriter out;
  out.varint(1);
  out.varint(2);
  out.varint(2);
  out.sizedText(textOf(encoded.view()));
  out.varint(64 * 7000);
  for (uint64_t i = 0; i < 7000; ++i) {
    out.varint(64);
    out.varint(i == 0 ? 2 * kFirstRef : 0);
    out.varint(40);
    out.varint(0);
  }
  out.varint(0);
  out.varint(0);
  CHECK(openWith(out.buffer()) == Code::kCorrupt);
}

TEST(HostileSnapshotWithAnImpossibleDeadLetterQueueIsRefused) {
  engine::QueueSettings settings = engine::defaultSettings("q", false);
  settings.max_deliveries = 1;
  settings.dead_letter = std::string(100'000, 'd');
  CHECK(openWith(snapshotOf(settings, {kFirstRef, 48, 1})) == Code::kOutOfRange);
}

// Checksums and chain hold.
void forgeBlock(SimulatedDisk& disk, const std::vector<std::byte>& body) {
  auto directory = disk.directory();
  auto identity = log::readIdentity(*directory);
  CHECK_OK(identity.status());
  const log::StoreId& id = identity.value().id;
  auto found = log::findCheckpoint(*directory, id, identity.value().segment_bytes);
  CHECK_OK(found.status());
  const log::Position& at = found.value().header.position;
  log::BlockHeader header;
  header.segment_sequence = at.segment_sequence;
  header.commit_sequence = at.commit_sequence;
  header.epoch = at.epoch + 1;
  header.synced_through = at.commit_sequence - 1;
  header.previous_crc = at.chain_crc;
  header.body_bytes = static_cast<uint32_t>(body.size());
  header.body_crc = log::saltedCrc(id, body);
  std::vector<std::byte> block(static_cast<size_t>(header.blockBytes()));
  header.encode(id, block.data());
  std::copy(body.begin(), body.end(), block.begin() + log::BlockHeader::kBytes);
  auto file = directory->open(log::segmentName(at.segment_index));
  CHECK_OK(file.status());
  CHECK_OK(file.value()->write(at.offset, block));
}

// The longest run that a consumer can be handed is taken, a longer one would name the whole backlog.
TEST(HostileDeliveryOfMoreThanIsHandedOutIsCorrupt) {
  for (const uint32_t count : {0u, 1u, 65'536u, 65'537u, 0xffff'ffffu}) {
    SimulatedDisk disk(test::seed());
    makeStore(disk);
    ByteWriter settings;
    engine::defaultSettings("q", false).encode(settings);
    const log::QueueRecord queue{1, settings.view()};
    std::vector<std::byte> body(static_cast<size_t>(queue.recordBytes()) + log::DeliverRecord::kRecordBytes);
    queue.encode(body.data());
    log::DeliverRecord{1, count, 1, 1}.encode(body.data() + queue.recordBytes());
    forgeBlock(disk, body);
    const auto broker = open(disk);
    const bool sound = count == 1 || count == 65'536;
    CHECK(broker.status().code() == (sound ? Code::kOk : Code::kCorrupt));
    if (!sound) CHECK(broker.status().detail().find("segment-00000:") == 0);
  }
}

// The blocks of the epochs to come could not be read again: what they hold would be lost.
TEST(HostileBlockWithTheLastEpochIsCorrupt) {
  SimulatedDisk disk(test::seed());
  makeStore(disk);
  auto directory = disk.directory();
  auto identity = log::readIdentity(*directory);
  CHECK_OK(identity.status());
  log::BlockHeader header;
  header.segment_sequence = 1;
  header.commit_sequence = 100;
  header.epoch = log::kCounterMax;
  std::vector<std::byte> page(log::kPageBytes);
  header.encode(identity.value().id, page.data());
  auto file = directory->open(log::segmentName(0));
  CHECK_OK(file.status());
  CHECK_OK(file.value()->write(63 * log::kPageBytes, page));
  const auto broker = open(disk);
  CHECK(!broker.ok() && broker.status().code() == Code::kCorrupt);
}

// The file that was to be used next loses its header while others wait behind it: none of them holds
// anything.
TEST(RottenHeaderOfAnUnusedSegmentHarmsNobody) {
  // How many segments are free, and which, differs with the length of the run.
  for (int rounds = 118; rounds <= 154; rounds += 6) {
    SimulatedDisk disk(test::seed());
    {
      auto broker = open(disk);
      CHECK_OK(broker.status());
      Client client(broker.value());
      const uint32_t queue = client.declare("q");
      engine::Consumer& consumer = client.consume(queue);
      for (int round = 0; round < rounds; ++round) {
        const std::vector<std::string> bodies(5, std::string(4000, 'x'));
        CHECK(client.awaitCommitted(client.send(queue, bodies)));
        CHECK(client.awaitCommitted(client.ack(consumer, client.takeAll(consumer, 5))));
      }
      client.until([&] { return broker.value()->stats().log.segments_free >= 3; });
      client.leave();
      CHECK_OK(broker.value()->close());
    }
    auto directory = disk.directory();
    auto identity = log::readIdentity(*directory);
    CHECK_OK(identity.status());
    const uint64_t segment_bytes = identity.value().segment_bytes;
    auto found = log::findCheckpoint(*directory, identity.value().id, segment_bytes);
    CHECK_OK(found.status());
    auto names = directory->list();
    CHECK_OK(names.status());
    for (const std::string& name : names.value()) {
      if (!log::parseSegmentName(name)) continue;
      auto file = directory->open(name);
      std::vector<std::byte> page(log::kPageBytes);
      CHECK_OK(file.value()->read(0, page));
      uint32_t version = 0;
      const auto header = log::SegmentHeader::decode(page, version);
      if (!header || header->sequence != found.value().header.position.segment_sequence + 1) continue;
      page[33] ^= std::byte{1};
      CHECK_OK(file.value()->write(0, page));
    }
    for (int session = 0; session < 2; ++session) {
      auto broker = open(disk);
      CHECK_OK(broker.status());
      Client client(broker.value());
      client.until([&] { return broker.value()->stats().log.segments_free >= 3; });
      client.leave();
      CHECK_OK(broker.value()->close());
    }
  }
}
