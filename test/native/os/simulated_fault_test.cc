// Failing calls, full disks, hooks and threads on the simulated disk.
#include <atomic>
#include <thread>

#include "os/simulated_run.h"

namespace millrace::test {

TEST(SimulatedFailedSyncIsNeverMadeGoodByALaterOne) {
  Started run("aaa");
  run.put(1, "b");
  run.disk.inject({.call = Call::kSync});
  CHECK(run.file->sync().code() == Code::kIo);
  CHECK(run.file->sync().code() == Code::kIo);  // sticks to the file
  auto again = run.directory->open("file");
  CHECK_OK(again.value()->sync());
  CHECK(outcomes(run.disk.image(), "file") == (std::set<std::string>{"aaa", "aba"}));
  run.put(1, "c");
  CHECK_OK(again.value()->sync());
  CHECK(outcomes(run.disk.image(), "file") == std::set<std::string>{"aca"});
}

TEST(SimulatedDroppedCacheMayShowTheOldContentAfterAFailedSync) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < 50; ++i) {
    SimulatedDisk disk(seed() + i);
    auto directory = disk.directory();
    auto file = created(*directory, "file");
    CHECK_OK(file->write(0, bytesOf(sectors("aa"))));
    CHECK_OK(file->sync());
    disk.inject({.call = Call::kSync});
    CHECK_OK(file->write(0, bytesOf(sectors("b"))));
    CHECK(!file->sync().ok());
    disk.dropCaches();
    seen.insert(lettersOf(contentOf(disk, "file")));
    CHECK_OK(file->write(0, bytesOf(sectors("c"))));  // written since the failure: not for the disk to change
    disk.dropCaches();
    CHECK_EQ(lettersOf(contentOf(disk, "file")), "ca");
  }
  CHECK(seen == (std::set<std::string>{"aa", "ba"}));
}

TEST(SimulatedFaultHitsTheCallItNames) {
  Started run("a");
  run.disk.inject({.call = Call::kWrite, .nth = 2, .error = ENOSPC, .name = "fil"});
  run.disk.inject({.call = Call::kCreate, .persistent = true});
  const uint64_t writes = run.disk.calls(Call::kWrite);
  CHECK_OK(run.file->write(0, bytesOf("x")));
  CHECK(run.file->write(0, bytesOf("x")).code() == Code::kDiskFull);
  CHECK_OK(run.file->write(0, bytesOf("x")));
  CHECK_EQ(run.disk.calls(Call::kWrite), writes + 3);
  CHECK(run.directory->create("a").status().code() == Code::kIo);
  CHECK(run.directory->create("b").status().code() == Code::kIo);
  CHECK(run.directory->list().take() == std::vector<std::string>{"file"});
  run.disk.clearFaults();
  CHECK_OK(run.directory->create("b").status());
}

TEST(SimulatedFaultReachesEveryCall) {
  Started run("a");
  std::byte out[8];
  auto mapping = run.file->map(512);
  for (size_t i = 0; i < static_cast<size_t>(Call::kCount); ++i) {
    run.disk.inject({.call = static_cast<Call>(i), .persistent = true});
  }
  CHECK(run.directory->open("file").status().code() == Code::kIo);
  CHECK(run.directory->create("other").status().code() == Code::kIo);
  CHECK(run.directory->list().status().code() == Code::kIo);
  CHECK(run.directory->rename("file", "other").code() == Code::kIo);
  CHECK(run.directory->remove("file").code() == Code::kIo);
  CHECK(run.directory->sync().code() == Code::kIo);
  CHECK(run.file->read(0, out).code() == Code::kIo);
  CHECK(run.file->write(0, out).code() == Code::kIo);
  CHECK(run.file->sync().code() == Code::kIo);
  CHECK(run.file->truncate(0).code() == Code::kIo);
  CHECK(run.file->map(8).status().code() == Code::kIo);
  CHECK(mapping.value()->copyOut(0, out).code() == Code::kIo);
  run.disk.clearFaults();
  CHECK_EQ(contentOf(run.disk, "file").size(), kSectorBytes);
}

TEST(SimulatedFailingWriteIsTornAnywhere) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < 300; ++i) {
    SimulatedDisk disk(seed() + i);
    auto file = created(*disk.directory(), "file");
    CHECK_OK(file->write(0, bytesOf("aaaa")));
    disk.inject({.call = Call::kWrite});
    CHECK(!file->write(0, bytesOf("bbbb")).ok());
    seen.insert(contentOf(disk, "file"));
  }
  for (const char* expected : {"aaaa", "bbbb", "bbaa", "abba", "aabb"}) CHECK(seen.count(expected) == 1);
}

TEST(SimulatedDirectorySyncFailureSticks) {
  SimulatedDisk disk;
  auto directory = disk.directory();
  created(*directory, "file");
  disk.inject({.call = Call::kDirectorySync});
  CHECK(directory->sync().code() == Code::kIo);
  CHECK(directory->sync().code() == Code::kIo);
  CHECK(outcomes(disk.image(), "file") == (std::set<std::string>{"absent", ""}));
}

TEST(SimulatedCapacityRefusesAndComesBack) {
  SimulatedDisk disk;
  disk.setCapacity(4 * kPageBytes);
  auto directory = disk.directory();
  auto file = created(*directory, "file");
  CHECK_OK(file->truncate(2 * kPageBytes));
  auto other = created(*directory, "other");
  CHECK_OK(other->write(0, bytesOf("x")));
  CHECK_EQ(disk.usedBytes(), 3 * kPageBytes);
  CHECK(file->truncate(3 * kPageBytes + 1).code() == Code::kDiskFull);
  CHECK(file->write(3 * kPageBytes - 2, bytesOf("1234")).code() == Code::kDiskFull);
  CHECK_EQ(file->size().take(), 3 * kPageBytes);  // cut short, not refused whole
  CHECK_OK(file->write(0, bytesOf("in place")));
  CHECK_OK(directory->remove("other"));
  CHECK_OK(file->truncate(4 * kPageBytes));
  CHECK_OK(file->truncate(0));
  CHECK_EQ(disk.usedBytes(), 0u);
  SimulatedDisk after(disk.cutPower(1));
  CHECK(created(*after.directory(), "big")->truncate(5 * kPageBytes).code() == Code::kDiskFull);
}

TEST(SimulatedHooksSeeTheDiskBeforeAndAfter) {
  Started run("a");
  std::vector<std::pair<Moment, uint64_t>> seen;
  run.disk.setHook([&](Moment moment, const std::string& name) {
    CHECK(name == "file" || name.empty());
    seen.emplace_back(moment, run.disk.image().sectorsAtRisk());
  });
  run.put(0, "b");
  CHECK_OK(run.file->sync());
  CHECK_OK(run.directory->sync());
  run.disk.inject({.call = Call::kSync});
  CHECK(!run.file->sync().ok());
  run.disk.setHook(nullptr);
  run.put(0, "c");
  CHECK(seen == (std::vector<std::pair<Moment, uint64_t>>{{Moment::kBeforeWrite, 0},
                                                          {Moment::kBeforeSync, 1},
                                                          {Moment::kAfterSync, 0},
                                                          {Moment::kBeforeDirectorySync, 0},
                                                          {Moment::kAfterDirectorySync, 0},
                                                          {Moment::kBeforeSync, 0}}));
}

TEST(SimulatedLockDoesNotOutliveTheSystem) {
  SimulatedDisk disk;
  auto directory = disk.directory();
  CHECK_OK(directory->lock());
  SimulatedDisk restarted = disk.reopenAfterKill();
  CHECK_OK(restarted.directory()->lock());
}

TEST(SimulatedDiskServesThreads) {
  SimulatedDisk disk(seed());
  auto directory = disk.directory();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      const std::string name = std::to_string(i);
      auto file = created(*directory, name);
      auto mapping = file->map(8192);
      CHECK_OK(mapping.status());
      std::byte out[512];
      for (int round = 0; round < 300; ++round) {
        CHECK_OK(file->write(0, bytesOf(sectors("abcdefghijklmnop"))));
        CHECK_OK(file->sync());
        CHECK_OK(mapping.value()->copyOut(512, out));
        created(*directory, name + "next");
        CHECK_OK(directory->rename(name + "next", name + "last"));
        CHECK_OK(directory->sync());
      }
      stop.store(true);
    });
  }
  // Cut on this thread what the others go on writing.
  for (uint64_t i = 0; !stop.load() || i < 10; ++i) {
    SimulatedDisk after(disk.cutPower(seed() + i));
    for (const std::string& name : after.directory()->list().take()) contentOf(after, name);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace millrace::test
