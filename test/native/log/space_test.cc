// Space that comes back: within one and a half of what is live once it is quiet, and from a full disk always.
#include <algorithm>

#include "harness/test.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

// README.md, Limits: what a store takes beyond one and a half of what is live, and its other files.
constexpr uint64_t kConstantBytes = 10 * kSmallSegment;
constexpr uint64_t kOtherFilesBytes = 2 * kSmallSegment;

uint64_t liveBytes(ModelStore& store) {
  uint64_t bytes = 0;
  for (const auto& [key, message] : store.state().live) bytes += message.bytes;
  return bytes;
}

std::vector<MessageKey> shuffledKeys(ModelStore& store, Random& random) {
  std::vector<MessageKey> keys;
  for (const auto& [key, message] : store.state().live) keys.push_back(key);
  for (size_t i = keys.size(); i > 1; --i) std::swap(keys[i - 1], keys[random.between(0, i - 1)]);
  return keys;
}

// Message sizes of one kind of use: small, large, just above what divides a block evenly, or anything.
size_t drawBytes(Random& random, uint64_t kind) {
  const size_t most = static_cast<size_t>(log::unitBytesMax(kSmallSegment)) - 200;
  switch (kind) {
    case 0:
      return random.between(600, 900);
    case 1:
      return random.between(most / 2 + 50, most);
    case 2:
      return (16 << 10) - 40;
    default:
      return random.between(600, most);
  }
}

// Settles in the order of `keys`, `at_once` in one unit, until no more than `bytes` are live.
void settleDownTo(ModelStore& store, std::vector<MessageKey>& keys, uint64_t bytes, size_t at_once) {
  while (liveBytes(store) > bytes) {
    CHECK(!keys.empty());
    const size_t count = std::min(at_once, keys.size());
    const std::vector<MessageKey> some(keys.end() - static_cast<ptrdiff_t>(count), keys.end());
    keys.resize(keys.size() - count);
    CHECK(store.settle(some) == StageOutcome::kStaged);
    CHECK(store.commit());
  }
}

StageOutcome sendUntil(ModelStore& store, size_t bytes, int seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (;;) {
    const StageOutcome outcome = store.send({bytes});
    if (outcome != StageOutcome::kDiskFull || std::chrono::steady_clock::now() > deadline) return outcome;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void fill(ModelStore& store, Random& random, uint64_t kind) {
  for (int n = 0;; ++n) {
    CHECK(n < 20'000);
    const StageOutcome outcome = store.send({drawBytes(random, kind)});
    if (outcome == StageOutcome::kDiskFull) break;
    CHECK(outcome == StageOutcome::kStaged);
    if (random.chance(20)) CHECK(store.commit());
  }
  CHECK(store.commit());
}

}  // namespace

// From a full disk with at least eight segments, three fifths of them live: wherever the live messages lie,
// however large they are, and however often it happens.
TEST(LogFullDiskTakesSendsAgainOnceThreeFifthsAreLive) {
  Random random(seed());
  for (uint64_t run = 0; run < 8 * scale(); ++run) {
    const uint64_t segments = random.between(8, 14);
    SimulatedDisk disk(random.next());
    disk.setCapacity(segments * kSmallSegment + (500 << 10) + random.between(0, kSmallSegment - 1));
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    const uint64_t kind = run % 4;
    for (int round = 0; round < 3; ++round) {
      fill(store, random, kind);
      std::vector<MessageKey> keys = shuffledKeys(store, random);
      // Those of the beginning, every so many, or at random.
      if (random.chance(30)) std::sort(keys.rbegin(), keys.rend());
      settleDownTo(store, keys, store.log().stats().segments * kSmallSegment / 10 * 6, random.between(1, 40));
      CHECK(sendUntil(store, drawBytes(random, kind), 30) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
    expectEverything(store);
    std::printf("  %llu segments, kind %llu: %llu moved\n", static_cast<unsigned long long>(segments),
                static_cast<unsigned long long>(kind),
                static_cast<unsigned long long>(store.log().stats().moved_messages));
  }
}

// However few segments the disk has room for, with one message that nobody settles.
TEST(LogOnATinyDiskGoesOnBesideAStraggler) {
  for (const uint64_t segments : {2, 3, 4}) {
    SimulatedDisk disk(seed());
    disk.setCapacity(segments * kSmallSegment + (500 << 10));
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({9000}, 2) == StageOutcome::kStaged);
    for (int round = 0; round < 150; ++round) {
      CHECK(sendUntil(store, 8000, 30) == StageOutcome::kStaged);
      CHECK(store.commit());
      CHECK(store.settleOldest(1) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
    expectEverything(store);
    CHECK_EQ(store.liveCount(), 1u);
  }
}

// Settled one by one: each is a block of its own, far more of them than the disk has room for.
TEST(LogFullDiskIsDrainedInAnyOrder) {
  Random random(seed());
  for (const uint64_t segments : {2, 3, 5, 9}) {
    SimulatedDisk disk(random.next());
    disk.setCapacity(segments * kSmallSegment + (500 << 10));
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    fill(store, random, 0);
    std::vector<MessageKey> keys = shuffledKeys(store, random);
    const size_t steps = std::max<size_t>(1, keys.size() / 400);
    settleDownTo(store, keys, 0, steps);
    CHECK(sendUntil(store, 8000, 30) == StageOutcome::kStaged);
    CHECK(store.commit());
    expectEverything(store);
  }
}

TEST(LogDiskStaysWithinOneAndAHalfOfWhatIsLive) {
  Random random(seed());
  for (uint64_t run = 0; run < 4 * scale(); ++run) {
    SimulatedDisk disk(random.next());
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    for (int i = 0; i < 600; ++i) {
      CHECK(store.send({drawBytes(random, run % 4)}) == StageOutcome::kStaged);
      CHECK(store.send({drawBytes(random, 0)}) == StageOutcome::kStaged);
      if (random.chance(30)) CHECK(store.commit());
    }
    CHECK(store.commit());
    std::vector<MessageKey> keys = shuffledKeys(store, random);
    settleDownTo(store, keys, liveBytes(store) / 100 * random.between(5, 65), 50);
    const uint64_t bound = liveBytes(store) / 2 * 3 + kConstantBytes + kOtherFilesBytes;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (disk.usedBytes() > bound) {
      if (std::chrono::steady_clock::now() > deadline) CHECK_EQ(disk.usedBytes(), bound);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    expectEverything(store);
  }
}

// A checkpoint that has to grow on a full disk takes the place of a segment: without it nothing would come
// back.
TEST(LogCheckpointFindsRoomOnAFullDisk) {
  SimulatedDisk disk(seed());
  disk.setCapacity(6 * kSmallSegment + (400 << 10));
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (;;) {  // many small ones: the model's snapshot takes more than the file has
    const StageOutcome outcome = store.send(std::vector<size_t>(20, 200));
    if (outcome == StageOutcome::kDiskFull) break;
    CHECK(outcome == StageOutcome::kStaged);
  }
  CHECK(store.commit());
  while (store.liveCount() > 0) {
    CHECK(store.settleOldest(700) == StageOutcome::kStaged);
    CHECK(store.commit());
  }
  CHECK(sendUntil(store, 8000, 30) == StageOutcome::kStaged);
  CHECK(store.commit());
  expectEverything(store);
}

}  // namespace millrace::test
