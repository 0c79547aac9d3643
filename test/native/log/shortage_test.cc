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

// What no listener is told of: looked at again and again.
bool becomes(const std::function<bool()>& state) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!state()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
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
    CHECK(store.log().stats().segments > log::Mappings::kMappedMax + 30);
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

// The space that a block waits for is a segment's that is given up, and no other segment takes it.
TEST(LogBlockHeldForSpaceGetsThatOfAPreparedSegment) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  CHECK(store.send({100}) == StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(becomes([&] { return store.log().stats().segments_free >= 3; }));
  disk.setCapacity(disk.usedBytes() +
                   kPageBytes);  // one page to copy to: enough for a header, and not for a block
  disk.copyOnWrite();
  for (int i = 0; i < 4; ++i) {
    CHECK(store.send({9000}) == StageOutcome::kStaged);
    CHECK(store.commit());
    CHECK(sendsAgain(store));
  }
  expectEverything(store);
  CHECK_OK(store.close());
}

// A checkpoint that finds no space is tried again when there is some, though nothing else happens.
TEST(LogCheckpointThatFoundNoSpaceIsWrittenLater) {
  for (const int error : {ENOSPC, ENOMEM}) {
    SimulatedDisk disk(seed());
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
    CHECK(becomes([&] { return store.log().stats().segments_free >= 3; }));
    const uint64_t checkpoints = store.log().stats().checkpoints;
    std::atomic<uint64_t> tried{0};
    disk.setHook([&](Moment moment, const std::string& name) {
      if (moment == Moment::kBeforeWrite && name.starts_with("checkpoint")) ++tried;
    });
    disk.inject({.call = Call::kWrite, .error = error, .persistent = true, .name = "checkpoint"});
    store.log().requestCheckpoint();
    CHECK(becomes([&] { return tried > 5; }));
    CHECK_EQ(store.log().stats().checkpoints, checkpoints);
    CHECK_EQ(store.log().stats().disk_full, error == ENOSPC);
    disk.clearFaults();
    CHECK(becomes([&] { return store.log().stats().checkpoints > checkpoints; }));
    CHECK(sendsAgain(store));
    CHECK(becomes([&] { return store.log().stats().segments_free >= 3; }));
    expectEverything(store);
    CHECK_OK(store.close());
  }
}

// What is to be moved cannot be read for a while: it is moved later, though nothing else happens.
TEST(LogMoveThatWasRefusedIsTriedAgain) {
  SimulatedDisk disk(seed());
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (int i = 0; i < 600; ++i) CHECK(store.send({9000}) == StageOutcome::kStaged);
  CHECK(store.commit());
  disk.inject({.call = Call::kRead, .error = ENOMEM, .persistent = true, .name = "segment"});
  std::vector<MessageKey> dead;
  const ModelState state = store.state();
  for (const auto& [key, message] : state.live) {
    if (key.second % 20 != 0) dead.push_back(key);
  }
  const uint64_t reads = disk.calls(Call::kRead);
  CHECK(store.settle(dead) == StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(becomes([&] { return disk.calls(Call::kRead) > reads + 3; }));
  CHECK(!store.log().failed());
  CHECK_EQ(store.log().stats().moved_messages, 0u);
  disk.clearFaults();
  CHECK(becomes([&] { return store.log().stats().moved_messages > 0; }));
  expectEverything(store);
  CHECK_OK(store.close());
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

// A look at the files that fails itself says nothing of them: for want of memory it is repeated, and anything
// else is told as what it is.
TEST(LogFilesThatCannotBeLookedAtAreNotSaidToBeGone) {
  for (const int error : {ENOMEM, EACCES, EIO}) {
    SimulatedDisk disk(seed());
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
    disk.inject({.call = Call::kStat, .error = error, .persistent = true});
    if (error == ENOMEM) {
      for (int i = 0; i < 100; ++i) CHECK(store.send({8000}) == StageOutcome::kStaged);
      CHECK(store.commit());
    } else {
      (void)sendUntilFailed(store);
    }
    const Status closed = store.close();
    CHECK_EQ(closed.ok(), error == ENOMEM);
    CHECK(closed.ok() || closed.detail().find("injected into stat") != std::string::npos);
    CHECK(closed.detail().find("deleted") == std::string::npos);
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
