// What passes is waited out: no descriptors, no memory, no space to write into what was prepared. And what
// does not pass is told: files that somebody took away, errors of a sync.
#include <cerrno>
#include <ctime>

#include "harness/test.h"
#include "log/mappings.h"
#include "log/model_store.h"
#include "log/open_files.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

// Sends until one is refused for good; gives how that was said.
StageOutcome sendUntilRefused(ModelStore& store) {
  for (int n = 0; n < 5000; ++n) {
    const StageOutcome outcome = store.send({8000});
    if (outcome != StageOutcome::kStaged) return outcome;
  }
  return StageOutcome::kStaged;
}

bool sendsAgain(ModelStore& store) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    if (store.send({100}) == StageOutcome::kStaged) return store.commit();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// Sends, a commit each, until the store fails. Gives how many were confirmed.
uint64_t sendUntilFailed(ModelStore& store) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (uint64_t sent = 0;; ++sent) {
    if (std::chrono::steady_clock::now() > deadline) CHECK_EQ(sent, 0u);
    if (store.send({8000}) != StageOutcome::kStaged || !store.commit()) return sent;
    if (sent % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

// Every call that a new segment or a checkpoint needs, refused for a while in every way that passes.
TEST(LogOutOfDescriptorsOrMemoryForAWhileIsNoFailure) {
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    for (const Call call : {Call::kOpen, Call::kCreate, Call::kMap, Call::kList, Call::kWrite}) {
      SimulatedDisk disk(seed());
      ModelStore store(disk.directory());
      CHECK_OK(store.openAndStart());
      for (int i = 0; i < 100; ++i) {
        CHECK(store.send({9000}) == StageOutcome::kStaged);
        if (i % 10 == 0) CHECK(store.commit());
      }
      CHECK(store.settleOldest(40) == StageOutcome::kStaged);
      CHECK(store.commit());
      Fault fault{.call = call, .error = error, .persistent = true};
      // A refused write holds the block that is being written: that one is for the test below.
      if (call == Call::kWrite) fault.name = "checkpoint";
      disk.inject(fault);
      const StageOutcome refused = sendUntilRefused(store);
      CHECK(refused == StageOutcome::kLimit || (refused == StageOutcome::kStaged && call != Call::kCreate));
      store.log().requestCheckpoint();
      CHECK(!store.log().failed());
      CHECK(!store.log().stats().disk_full);
      disk.clearFaults();
      CHECK(sendsAgain(store));
      store.checkpoint();
      expectEverything(store);
      CHECK_OK(store.close());
    }
  }
}

TEST(LogReadWithoutADescriptorIsTriedAgain) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  CHECK(store.send({9000}) == StageOutcome::kStaged);
  CHECK(store.commit());
  for (const Call call : {Call::kOpen, Call::kMap}) {
    disk.inject({.call = call, .error = call == Call::kOpen ? EMFILE : ENOMEM, .persistent = true});
    CHECK(store.readAll().code() == Code::kLimit);
    disk.clearFaults();
  }
  expectEverything(store);
}

TEST(LogHoldsFewFilesOpenHoweverLargeTheBacklog) {
  SimulatedDisk disk(seed());
  // The directory is none of them; journal, witness, checkpoints, active and prepared segments, and those not
  // yet let go.
  constexpr size_t kAlwaysOpen = 4 + 1 + 3 + 4;
  constexpr size_t kOpenMax = log::OpenFiles::kOpenMax + kAlwaysOpen;
  for (const bool sync : {true, false}) {
    ModelStore store(disk.directory(), smallOptions(sync));
    CHECK_OK(store.open());  // the second time recovery looks at all of them
    CHECK(disk.openFiles() <= kOpenMax);
    store.start();
    for (int i = 0; sync && i < 330; ++i) {
      for (int j = 0; j < 8; ++j) CHECK(store.send({28'000}) == StageOutcome::kStaged);
      CHECK(disk.openFiles() <= kOpenMax);
    }
    CHECK(store.commit());
    CHECK(store.log().stats().segments > log::Mappings::kMappedMax + 40);
    CHECK_OK(store.readAll());
    CHECK(disk.openFiles() <= kOpenMax);
    CHECK(disk.mappings() <= log::Mappings::kMappedMax);
    CHECK_OK(store.close());
  }
}

// A file system that copies on write: the block waits, whoever sends meanwhile is told, settlements wait with
// it.
TEST(LogWriteThatFindsNoSpaceIsWrittenLater) {
  for (const int error : {ENOSPC, EDQUOT, ENOMEM}) {
    SimulatedDisk disk(seed());
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({9000, 100}) == StageOutcome::kStaged);
    CHECK(store.commit());
    disk.inject({.call = Call::kWrite, .error = error, .persistent = true, .name = "segment"});
    CHECK(store.send({500}) == StageOutcome::kStaged);  // held
    StageOutcome refused = StageOutcome::kStaged;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (refused == StageOutcome::kStaged && std::chrono::steady_clock::now() < deadline) {
      refused = store.send({500});
    }
    CHECK(refused == (error == ENOMEM ? StageOutcome::kLimit : StageOutcome::kDiskFull));
    CHECK(store.settleOldest(1) == StageOutcome::kStaged);
    CHECK(!store.log().failed());
    const DiskImage killed = disk.image();
    disk.clearFaults();
    CHECK(store.commit());
    CHECK(sendsAgain(store));
    expectEverything(store);
    CHECK_OK(store.close());
    for (const bool cut : {false, true}) {
      SimulatedDisk after(cut ? killed.cutPower(seed()) : killed);
      ModelStore reopened(after.directory());
      reopened.history = store.history;
      CHECK_OK(reopened.open());
      expectPrefix(reopened, 1);
    }
  }
}

TEST(LogCloseDoesNotWaitForSpaceThatNeverComes) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  CHECK(store.send({100}) == StageOutcome::kStaged);
  CHECK(store.commit());
  disk.inject({.call = Call::kWrite, .error = ENOSPC, .persistent = true, .name = "segment"});
  CHECK(store.send({100}) == StageOutcome::kStaged);
  const Status closed = store.close();
  CHECK(closed.code() == Code::kStoreFailed);
  CHECK(closed.detail().find("DISK_FULL") != std::string::npos);
  CHECK_EQ(store.committedOperation(), 1u);
}

// Whatever it says: nobody knows what reached the disk (P8).
TEST(LogSyncThatFailsForLackOfSpaceIsAFailure) {
  for (const int error : {ENOSPC, EDQUOT, ENOMEM, EMFILE}) {
    SimulatedDisk disk(seed());
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
    disk.inject({.call = Call::kSync, .error = error});
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(!store.commit());
    CHECK(store.close().code() == Code::kStoreFailed);
  }
}

// Deleted, replaced or moved away under the open store: no more than a segment's worth is confirmed, and the
// error names what is gone.
TEST(LogFilesGoneUnderTheOpenStoreAreAFailure) {
  constexpr uint64_t kSegmentsWorth = kSmallSegment / 8000;
  for (const std::string name : {"", "store", "checkpoint-a", "checkpoint-b", "deliveries", "witness",
                                 "segment-00000", "active", "prepared"}) {
    for (const bool replaced : {false, true}) {
      SimulatedDisk disk(seed());
      ModelStore store(disk.directory());
      CHECK_OK(store.openAndStart());
      for (int i = 0; i < 100; ++i) {
        CHECK(store.send({8000}) == StageOutcome::kStaged);
        if (i % 10 == 0) CHECK(store.commit());
      }
      CHECK(store.commit());
      std::string gone = name;
      const uint32_t active = static_cast<uint32_t>(store.state().live.rbegin()->second.ref >> 32);
      if (name == "active") gone = log::segmentName(active);
      if (name == "prepared") gone = log::segmentName(active + 1);
      if (replaced && (name.empty() || name == "store")) continue;  // `store` is only looked for
      if (name.empty()) {
        disk.moveAway();
      } else {
        CHECK_OK(disk.directory()->remove(gone));
        if (replaced) CHECK(disk.directory()->create(gone).ok());
      }
      const uint64_t confirmed = sendUntilFailed(store);
      // What is not open is looked for every second, and this disk is faster than any.
      if (name.empty()) CHECK(confirmed <= kSegmentsWorth + 1);
      const Status closed = store.close();
      CHECK(closed.code() == Code::kStoreFailed);
      CHECK(closed.detail().find(name.empty() ? "moved away" : gone) != std::string::npos);
    }
  }
}

TEST(LogCloseTellsOfFilesThatAreGone) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  CHECK(store.send({100}) == StageOutcome::kStaged);
  CHECK(store.commit());
  disk.moveAway();
  CHECK(store.close().code() == Code::kStoreFailed);
}

// What is staged while the write fails stays staged: nobody is to look for it for ever.
TEST(LogFailedStoreIsIdle) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  std::atomic<bool> staged{false};
  disk.setHook([&](Moment moment, const std::string& name) {
    if (moment != Moment::kBeforeWrite || !name.starts_with("segment") || staged.exchange(true)) return;
    CHECK(store.send({100}) == StageOutcome::kStaged);
    disk.inject({.call = Call::kWrite, .name = "segment"});
  });
  CHECK(store.send({100}) == StageOutcome::kStaged);
  CHECK(!store.commit());
  const std::clock_t cpu = std::clock();
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  CHECK(!store.waitUntil([&] { return std::chrono::steady_clock::now() > end + std::chrono::hours(1); }, 1));
  // A committer that spins takes all of that second; a slow machine gives it less.
  CHECK((std::clock() - cpu) * 2 < CLOCKS_PER_SEC);
}

}  // namespace millrace::test
