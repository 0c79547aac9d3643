// Space that comes back: recycling, removal, copying forward.
#include "harness/test.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

void waitFor(const std::function<bool()>& state) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!state()) {
    CHECK(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void sendAndSettle(ModelStore& store, size_t messages, size_t bytes) {
  for (size_t i = 0; i < messages; ++i) {
    CHECK(store.send({bytes}) == StageOutcome::kStaged);
    if (i % 4 == 3) CHECK(store.commit());
    if (store.stagedOperation() > 20) CHECK(store.settleOldest(1) == StageOutcome::kStaged);
  }
  CHECK(store.commit());
}

// What a store with nothing in it keeps: the active segment, two prepared, two spare, one that waits for the
// next checkpoint, and less than two segments' worth of other files.
constexpr uint64_t kEmptyStoreBytes = 8 * kSmallSegment;

}  // namespace

TEST(LogSegmentsAreRecycledAndTheirOldBytesNeverRead) {
  SimulatedDisk disk;
  auto history = std::make_shared<History>(1);
  for (int session = 0; session < 4; ++session) {
    ModelStore store(disk.directory());
    store.history = history;
    CHECK_OK(store.openAndStart());
    expectEverything(store);
    sendAndSettle(store, 300, 9000);  // some ten segments' worth
    // The janitor may be about to give one back.
    waitFor([&] { return store.log().stats().segments <= 8; });
    expectEverything(store);
    if (session % 2 == 0) CHECK_OK(store.close());
  }
  CHECK(disk.usedBytes() <= 9 * kSmallSegment);
}

TEST(LogDiskReturnsWithinOneCheckpointOfTheLastSettlement) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (int i = 0; i < 400; ++i) CHECK(store.send({9000}) == StageOutcome::kStaged);
  CHECK(store.commit());
  const uint64_t full = disk.usedBytes();
  CHECK(full >= 14 * kSmallSegment);
  CHECK(store.settleOldest(400) == StageOutcome::kStaged);
  CHECK(store.commit());
  waitFor([&] { return disk.usedBytes() <= kEmptyStoreBytes; });
  expectEverything(store);
}

TEST(LogOneSlowQueueDoesNotPinTheLog) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (int i = 0; i < 60; ++i) {
    CHECK(store.send({500}, 2) == StageOutcome::kStaged);  // never settled: one in every block or so
    CHECK(store.send({9000, 9000}, 1) == StageOutcome::kStaged);
    CHECK(store.commit());
    CHECK(store.settleOldest(2, 1) == StageOutcome::kStaged);
  }
  CHECK(store.commit());
  waitFor([&] {
    return store.log().stats().moved_messages > 0 && disk.usedBytes() <= kEmptyStoreBytes + 4 * kSmallSegment;
  });
  expectEverything(store);
  CHECK_EQ(store.liveCount(), 60u);
  auto history = store.history;
  store.crash();
  SimulatedDisk cut(disk.cutPower(seed()));
  ModelStore reopened(cut.directory());
  reopened.history = history;
  CHECK_OK(reopened.open());
  expectEverything(reopened);
}

TEST(LogLiveSegmentsAreNeverFreed) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (int i = 0; i < 200; ++i) CHECK(store.send({9000}) == StageOutcome::kStaged);
  CHECK(store.commit());
  const auto pinned = store.state().live.begin()->second;
  store.log().retain(pinned.ref, 1);  // somebody reads while it is settled
  CHECK(store.settleOldest(200) == StageOutcome::kStaged);
  CHECK(store.commit());
  waitFor([&] { return disk.usedBytes() <= kEmptyStoreBytes + kSmallSegment; });
  std::vector<std::byte> record(pinned.bytes);
  CHECK_OK(store.log().read(pinned.ref, record));
  CHECK(log::MessageView::parse(record).value().computeCrc() ==
        log::MessageView::parse(record).value().storedCrc());
  store.log().release(pinned.ref, 1);
  store.checkpoint();
  CHECK_OK(store.close());
}

TEST(LogReadOutsideAnySegmentIsAnError) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  std::vector<std::byte> out(64);
  for (const log::Ref ref : {log::Ref{0}, log::Ref{511}, log::Ref{kSmallSegment / 8}, ~log::Ref{0},
                             (log::Ref{9} << 32) + 512, log::Ref{kSmallSegment / 8 - 7}}) {
    CHECK(store.log().read(ref, out).code() == Code::kCorrupt);
    store.log().retain(ref, 5);
    store.log().release(ref, 5);
  }
}

}  // namespace millrace::test
