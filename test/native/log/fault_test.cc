// Failing writes and syncs at every index, and full disks.
#include <cerrno>

#include "harness/test.h"
#include "log/camera.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

log::Options busyOptions(bool sync) {
  log::Options options = smallOptions(sync);
  options.checkpoint_bytes = 100 << 10;
  return options;
}

// Sends, settles, delivers, checkpoints and recycles until it is done or the store fails.
void work(ModelStore& store, bool backlog) {
  // A backlog that goes at once leaves more free segments than are kept.
  for (int i = 0; backlog && i < 200; ++i) {
    if (store.send({9000, 9000}) != StageOutcome::kStaged) return;
  }
  if (backlog) {
    if (!store.commit() || store.settleOldest(400) != StageOutcome::kStaged || !store.commit()) return;
    store.checkpoint();
    store.checkpoint();
  }
  for (int i = 0; i < 60; ++i) {
    if (store.send({9000, 50}) != StageOutcome::kStaged) break;
    if (i % 3 == 0) (void)store.log().noteDelivered({1, 1, 1, 1});  // refused where the journal is full
    if (!store.commit()) break;
    if (store.settleOldest(i % 2 == 0 ? 3 : 1) != StageOutcome::kStaged) break;
    if (i % 20 == 10) store.checkpoint();
  }
  if (!store.isFailed()) (void)store.commit();  // fails or not: the callers look at what is left
}

void expectFailStop(ModelStore& store, uint64_t committed) {
  CHECK(store.waitForFailure());
  CHECK(store.log().failed());
  CHECK(store.send({10}) == StageOutcome::kFailed);
  CHECK(store.settleOldest(1) == StageOutcome::kFailed);
  CHECK(!store.log().noteDelivered({1, 1, 1, 1}));
  store.log().requestCheckpoint();
  CHECK_OK(store.readAll());  // what is in memory is still served
  CHECK_EQ(store.close().code() == Code::kStoreFailed, true);
  CHECK(store.log().stats().failed);
  CHECK_EQ(store.failures(), 1u);
  CHECK_EQ(store.committedOperation(), committed);  // nothing was committed after the failure
}

// Cuts the power while the reopened store works: what it was built on may look written and not be.
void workOnAndCut(SimulatedDisk& disk, ModelStore& store, bool sync, uint64_t seed_of_cut) {
  Camera camera(disk, seed_of_cut, 10);
  if (sync) camera.committed = [&] { return store.committedOperation(); };
  store.start();
  for (int i = 0; i < 40; ++i) {
    CHECK(store.send({9000}) == StageOutcome::kStaged);
    if (i % 8 == 0) CHECK(store.commit());
    if (i % 8 == 4) store.log().requestCheckpoint();
  }
  CHECK(store.commit());
  if (sync) camera.promise(store.stagedOperation());
  store.crash();
  camera.committed = [] { return uint64_t{0}; };
  std::vector<Shot> shots = camera.take();
  shots.push_back({disk.image(), sync ? store.stagedOperation() : 0});
  for (const Shot& shot : shots) {
    SimulatedDisk cut(shot.image.cutPower(++seed_of_cut));
    ModelStore last(cut.directory(), busyOptions(sync));
    *last.history = *store.history;
    CHECK_OK(last.open());
    expectPrefix(last, shot.promised);
  }
}

// Everything confirmed is there, and goes on being there: after a kill, after a power cut, and when the
// reopened store was worked on and cut again.
void expectAllCommitted(SimulatedDisk& disk, const History& history, uint64_t committed, bool sync,
                        uint64_t seed_of_cut) {
  SimulatedDisk killed = disk.reopenAfterKill();
  // At level process nothing is promised of what the disk refused and the kernel then forgot.
  if (sync && seed_of_cut % 2 == 0) killed.dropCaches();
  for (const bool cut : {false, true}) {
    if (cut && !sync) break;
    SimulatedDisk after(cut ? disk.cutPower(seed_of_cut) : killed.image());
    ModelStore store(after.directory(), busyOptions(sync));
    *store.history = history;
    CHECK_OK(store.open());
    expectPrefix(store, sync || !cut ? committed : 0);
    store.forgetLost();
    workOnAndCut(after, store, sync, seed_of_cut);
  }
}

// Returns false when the fault did not fire.
bool runWithFault(const Fault& fault, bool sync, uint64_t seed_of_run) {
  SimulatedDisk disk(seed_of_run);
  auto history = std::make_shared<History>(1);
  const auto fired = [&](uint64_t before) { return disk.calls(fault.call) - before >= fault.nth; };
  uint64_t committed = 0;
  bool hit = false;
  {
    ModelStore store(disk.directory(), busyOptions(sync));
    store.history = history;
    const uint64_t before = disk.calls(fault.call);
    disk.inject(fault);
    const Status opened = store.open();
    if (opened.ok()) {
      store.start();
      work(store, fault.call == Call::kRemove);
      if (!store.isFailed()) {
        const Status closed = store.close();
        CHECK(closed.ok() || closed.code() == Code::kStoreFailed);
        CHECK(closed.ok() == !store.log().failed());
      } else {
        expectFailStop(store, store.committedOperation());
      }
      committed = store.committedOperation();
    } else {
      CHECK(opened.code() == Code::kIo);
    }
    hit = fired(before);
    disk.clearFaults();
  }
  expectAllCommitted(disk, *history, committed, sync, seed_of_run);
  return hit;
}

void failEachCall(Call call, bool sync) {
  uint64_t nth = 1;
  for (; runWithFault({.call = call, .nth = nth}, sync, seed() + nth); ++nth) {
    CHECK(nth < 5000);
    if (scale() == 1 && nth > 40) nth += nth / 12;  // every index in campaigns
  }
  std::printf("  failed up to call %llu\n", static_cast<unsigned long long>(nth - 1));
}

// Sends until the disk is full. Gives the number of messages sent.
size_t fill(ModelStore& store) {
  size_t sent = 0;
  for (;; ++sent) {
    const StageOutcome outcome = store.send({8000});
    if (outcome == StageOutcome::kDiskFull) return sent;
    CHECK(outcome == StageOutcome::kStaged);
    CHECK(sent < 10'000);
  }
}

bool sendsAgain(ModelStore& store) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    const StageOutcome outcome = store.send({100});
    if (outcome == StageOutcome::kStaged) return store.commit();
    CHECK(outcome == StageOutcome::kDiskFull);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

TEST(LogFailedWriteAtEveryIndexStopsTheStoreAndLosesNothing) { failEachCall(Call::kWrite, true); }
TEST(LogFailedSyncAtEveryIndexStopsTheStoreAndLosesNothing) { failEachCall(Call::kSync, true); }
TEST(LogFailedDirectorySyncAtEveryIndexLosesNothing) { failEachCall(Call::kDirectorySync, true); }
TEST(LogFailedCreateAtEveryIndexLosesNothing) { failEachCall(Call::kCreate, true); }
TEST(LogFailedRemoveAtEveryIndexLosesNothing) { failEachCall(Call::kRemove, true); }
TEST(LogFailedOpenAtEveryIndexLosesNothing) { failEachCall(Call::kOpen, true); }
TEST(LogFailedReadAtEveryIndexLosesNothing) { failEachCall(Call::kRead, true); }
TEST(LogFailedWriteAtLevelProcessLosesNothing) { failEachCall(Call::kWrite, false); }
TEST(LogFailedSyncAtLevelProcessLosesNothing) { failEachCall(Call::kSync, false); }

TEST(LogFailedReadDuringRecoveryIsAnErrorAndNotATornTail) {
  SimulatedDisk disk;
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
  }
  for (uint64_t nth = 1;; ++nth) {
    SimulatedDisk copy(disk.image());
    copy.inject({.call = Call::kRead, .nth = nth});
    ModelStore store(copy.directory());
    const Status opened = store.open();
    if (opened.ok()) {
      CHECK(nth > 5);
      break;
    }
    CHECK(opened.code() == Code::kIo);
  }
}

TEST(LogFullDiskAtCreationIsAnErrorThatLeavesNothing) {
  for (uint64_t capacity = 0; capacity < 700 << 10; capacity += 60 << 10) {
    SimulatedDisk disk;
    disk.setCapacity(capacity);
    ModelStore store(disk.directory());
    const Status opened = store.open();
    if (opened.ok()) {
      CHECK(capacity >= kSmallSegment);
      break;
    }
    CHECK(opened.code() == Code::kDiskFull);
    CHECK_EQ(disk.usedBytes(), 0u);
  }
}

TEST(LogFullDiskRefusesSendsTakesSettlementsAndRecovers) {
  for (const uint64_t segments : {3, 4, 7}) {
    SimulatedDisk disk(seed());
    disk.setCapacity(segments * kSmallSegment + (500 << 10));
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    const size_t sent = fill(store);
    CHECK(store.commit());
    CHECK(store.log().stats().disk_full);
    CHECK(!store.isFailed());
    // One by one, each its own block: what is kept back for them is enough, and then the space comes back.
    for (size_t i = 0; i < sent; ++i) {
      CHECK(store.settleOldest(1) == StageOutcome::kStaged);
      if (i % 4 == 0) CHECK(store.commit());
    }
    CHECK(store.commit());
    CHECK(sendsAgain(store));
    expectEverything(store);
    CHECK_OK(store.close());
    ModelStore reopened(disk.directory());
    reopened.history = store.history;
    CHECK_OK(reopened.openAndStart());
    expectEverything(reopened);
    CHECK(sendsAgain(reopened));
  }
}

// With room for a few segments only, the active one may be used up when nothing is left to settle.
TEST(LogOnATinyDiskGoesOnOnceEverythingIsSettled) {
  for (const uint64_t segments : {2, 3, 4}) {
    SimulatedDisk disk(seed());
    disk.setCapacity(segments * kSmallSegment + (500 << 10));
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    for (int round = 0; round < 100; ++round) {
      StageOutcome outcome = store.send({8000});
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (outcome == StageOutcome::kDiskFull) {
        CHECK(std::chrono::steady_clock::now() < deadline);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        outcome = store.send({8000});
      }
      CHECK(outcome == StageOutcome::kStaged);
      CHECK(store.commit());
      CHECK(store.settleOldest(1) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
    expectEverything(store);
  }
}

TEST(LogSendsGoOnWhenSomebodyElseMakesRoom) {
  SimulatedDisk disk;
  disk.setCapacity(4 * kSmallSegment);
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  fill(store);
  disk.setCapacity(kUnlimited);
  CHECK(sendsAgain(store));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (store.log().stats().disk_full) CHECK(std::chrono::steady_clock::now() < deadline);
}

TEST(LogOpensAndSettlesOnAFullDisk) {
  SimulatedDisk disk;
  disk.setCapacity(4 * kSmallSegment);
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    fill(store);
    CHECK(store.commit());
    auto history = store.history;
    store.crash();
    ModelStore reopened(disk.directory());
    reopened.history = history;
    CHECK_OK(reopened.openAndStart());
    expectEverything(reopened);
    for (int i = 0; i < 20; ++i) CHECK(reopened.settleOldest(1) == StageOutcome::kStaged);
    CHECK(reopened.commit());
    CHECK_OK(reopened.close());
  }
}

TEST(LogStragglersAreMovedWhenTheDiskIsFull) {
  SimulatedDisk disk;
  disk.setCapacity(8 * kSmallSegment);
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  fill(store);
  CHECK(store.commit());
  std::vector<MessageKey> keys;  // all but every 20th: each segment keeps a straggler or two
  for (const auto& [key, message] : store.state().live) {
    if (key.second % 20 != 0) keys.push_back(key);
  }
  for (const MessageKey& key : keys) CHECK(store.settle({key}) == StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(sendsAgain(store));
  expectEverything(store);
}

}  // namespace millrace::test
