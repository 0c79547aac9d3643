// What a power cut may and may not take from the simulated disk, and that a run can be replayed.
#include <algorithm>

#include "os/simulated_run.h"

namespace millrace::test {

TEST(SimulatedUnsyncedSectorsSurviveInAnyCombination) {
  Started run("aaa");
  run.put(0, "bbb");
  CHECK(outcomes(run.disk.image(), "file") ==
        (std::set<std::string>{"aaa", "aab", "aba", "abb", "baa", "bab", "bba", "bbb"}));
}

TEST(SimulatedSyncedSectorsAlwaysSurvive) {
  Started run("aaaa");
  run.put(1, "b");
  CHECK_OK(run.file->sync());
  run.put(2, "c");
  CHECK(outcomes(run.disk.image(), "file") == (std::set<std::string>{"abaa", "abca"}));
}

TEST(SimulatedNamedCutsDoWhatTheySay) {
  Started run("aaaa");
  run.put(0, "bbbb");
  const DiskImage image = run.disk.image();
  CHECK_EQ(image.sectorsAtRisk(), 4u);
  for (uint64_t i = 0; i < 100; ++i) {
    CHECK_EQ(lettersOf(contentAfterCut(image, "file", i, Cut::kAllLost)), "aaaa");
    CHECK_EQ(lettersOf(contentAfterCut(image, "file", i, Cut::kAllKept)), "bbbb");
    CHECK_EQ(lettersOf(contentAfterCut(image, "file", i, Cut::kOnlyLast)), "aaab");
    const std::string prefix = lettersOf(contentAfterCut(image, "file", i, Cut::kPrefix));
    CHECK(std::is_sorted(prefix.rbegin(), prefix.rend()));
    const std::string but_one = lettersOf(contentAfterCut(image, "file", i, Cut::kAllButOne));
    CHECK_EQ(std::count(but_one.begin(), but_one.end(), 'a'), 1);
  }
}

TEST(SimulatedAppendedExtentIsMissingOrZerosOrThere) {
  Started run("a");
  run.put(1, "bc");
  std::set<std::string> seen;
  for (const std::string& letters : outcomes(run.disk.image(), "file")) {
    CHECK(letters.size() <= 3 && letters[0] == 'a');
    CHECK(letters.size() < 2 || letters[1] == '.' || letters[1] == 'b');
    CHECK(letters.size() < 3 || letters[2] == '.' || letters[2] == 'c');
    seen.insert(letters);
  }
  for (const char* expected : {"a", "ab", "a.", "abc", "ab.", "a.c", "a.."}) CHECK(seen.count(expected) == 1);
}

TEST(SimulatedUnsyncedTruncationMayComeBack) {
  Started run("aaaa");
  CHECK_OK(run.file->truncate(kSectorBytes));
  const auto cut = outcomes(run.disk.image(), "file");
  CHECK(cut.count("aaaa") == 1 && cut.count("a") == 1);
  CHECK_OK(run.file->sync());
  CHECK(outcomes(run.disk.image(), "file") == std::set<std::string>{"a"});
  CHECK_OK(run.file->truncate(3 * kSectorBytes));
  CHECK_OK(run.file->sync());
  CHECK(outcomes(run.disk.image(), "file") == std::set<std::string>{"a.."});
}

TEST(SimulatedTruncationMaySurviveWithoutTheAppendAfterIt) {
  Started run("aaaa");
  CHECK_OK(run.file->truncate(0));
  run.put(0, "bbbb");
  const auto cut = outcomes(run.disk.image(), "file");
  CHECK(cut.count("") == 1 && cut.count("bbbb") == 1 && cut.count("aaaa") == 1);
}

TEST(SimulatedLostAppendLeavesNothingToGrowInto) {
  Started run("a");
  run.put(1, "bb");
  for (uint64_t i = 0; i < 200; ++i) {
    SimulatedDisk after(run.disk.cutPower(seed() + i));
    auto file = after.directory()->open("file").take();
    const uint64_t survived = file->size().take();
    CHECK_OK(file->truncate(3 * kSectorBytes));
    CHECK_EQ(contentOf(after, "file").find('b', static_cast<size_t>(survived)), std::string::npos);
  }
}

TEST(SimulatedDirectoryChangesSurviveAsAPrefix) {
  Started run("a");
  auto second = created(*run.directory, "second");
  CHECK_OK(second->write(0, bytesOf("x")));
  CHECK_OK(second->sync());
  CHECK_OK(run.directory->rename("second", "third"));
  CHECK_OK(run.directory->remove("file"));
  CHECK(listings(run.disk.image()) ==
        (std::set<std::string>{"file ", "file second ", "file third ", "third "}));
  CHECK_OK(run.directory->sync());
  CHECK(listings(run.disk.image()) == std::set<std::string>{"third "});
  CHECK(outcomes(run.disk.image(), "third") == std::set<std::string>{"x"});
}

TEST(SimulatedFileSyncDoesNotKeepTheEntry) {
  SimulatedDisk disk;
  auto directory = disk.directory();
  auto file = created(*directory, "file");
  CHECK_OK(file->write(0, bytesOf(sectors("a"))));
  CHECK_OK(directory->sync());
  const auto unsynced = outcomes(disk.image(), "file");
  CHECK(unsynced.count("") == 1 && unsynced.count("a") == 1);
  CHECK(unsynced.count("absent") == 0);
  auto other = created(*directory, "other");
  CHECK_OK(other->write(0, bytesOf("x")));
  CHECK_OK(other->sync());
  CHECK_EQ(contentAfterCut(disk.image(), "other", 1, Cut::kAllLost), "absent");
}

TEST(SimulatedKillKeepsEverythingButMakesNothingCertain) {
  Started run("aa");
  run.put(1, "b");
  SimulatedDisk restarted = run.disk.reopenAfterKill();
  CHECK_EQ(lettersOf(contentOf(restarted, "file")), "ab");
  CHECK(outcomes(restarted.image(), "file") == (std::set<std::string>{"aa", "ab"}));
  auto file = restarted.directory()->open("file");
  CHECK_OK(file.value()->sync());  // another process may make it certain
  CHECK(outcomes(restarted.image(), "file") == std::set<std::string>{"ab"});
}

TEST(SimulatedWriteBackMovesWhatASectorFallsBackTo) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < 50; ++i) {
    SimulatedDisk disk(seed() + i);
    auto file = created(*disk.directory(), "file");
    CHECK_OK(file->write(0, bytesOf(sectors("a"))));
    CHECK_OK(file->sync());
    CHECK_OK(disk.directory()->sync());
    CHECK_OK(file->write(0, bytesOf(sectors("b"))));
    disk.writeBackSome();
    CHECK_OK(file->write(0, bytesOf(sectors("c"))));
    for (const std::string& letters : outcomes(disk.image(), "file", 50)) seen.insert(letters);
  }
  CHECK(seen == (std::set<std::string>{"a", "b", "c"}));
}

TEST(SimulatedImagesDoNotChange) {
  Started run("aa");
  const DiskImage image = run.disk.image();
  run.put(0, "b");
  CHECK_OK(run.file->sync());
  SimulatedDisk first(image);
  SimulatedDisk second(image);
  CHECK_OK(first.directory()->open("file").take()->write(0, bytesOf(sectors("c"))));
  CHECK_EQ(lettersOf(contentOf(first, "file")), "ca");
  CHECK_EQ(lettersOf(contentOf(second, "file")), "aa");
  CHECK_EQ(lettersOf(contentOf(run.disk, "file")), "ba");
}

// Random writes, truncations and syncs against a model that knows for each sector which contents it may have.
namespace {

constexpr uint64_t kModelSectors = 40;

struct Model {
  std::string written = std::string(kModelSectors * kSectorBytes, '\0');
  std::vector<std::set<char>> possible = std::vector<std::set<char>>(kModelSectors, {'\0'});
};

void randomStep(Random& random, os::File& file, Model& model) {
  if (random.chance(20)) {
    CHECK_OK(file.sync());
    for (uint64_t sector = 0; sector < kModelSectors; ++sector) {
      model.possible[sector] = {model.written[sector * kSectorBytes]};
    }
    return;
  }
  const uint64_t begin = random.below(kModelSectors);
  const uint64_t end = random.between(begin + 1, kModelSectors);
  const char letter = static_cast<char>('a' + random.below(26));
  const std::string data((end - begin) * kSectorBytes, letter);
  CHECK_OK(file.write(begin * kSectorBytes, bytesOf(data)));
  model.written.replace(begin * kSectorBytes, data.size(), data);
  for (uint64_t sector = begin; sector < end; ++sector) model.possible[sector].insert(letter);
}

}  // namespace

TEST(SimulatedCutsAgreeWithAModel) {
  for (uint64_t run = 0; run < 30 * scale(); ++run) {
    Random random(seed() + run);
    SimulatedDisk disk(seed() + run);
    auto directory = disk.directory();
    auto file = created(*directory, "file");
    CHECK_OK(file->truncate(kModelSectors * kSectorBytes));
    CHECK_OK(file->sync());
    CHECK_OK(directory->sync());
    Model model;
    std::vector<std::pair<DiskImage, Model>> kept;
    for (int step = 0; step < 60; ++step) {
      randomStep(random, *file, model);
      if (random.chance(20)) disk.writeBackSome();
      kept.emplace_back(disk.image(), model);
    }
    for (const auto& [image, at_the_time] : kept) {
      SimulatedDisk restarted(image);
      CHECK(contentOf(restarted, "file") == at_the_time.written);
      const std::string after = contentAfterCut(image, "file", random.next());
      CHECK_EQ(after.size(), kModelSectors * kSectorBytes);
      for (size_t at = 0; at < after.size(); ++at) {
        CHECK_EQ(after[at], after[at / kSectorBytes * kSectorBytes]);  // no sector is torn
        CHECK(at_the_time.possible[at / kSectorBytes].count(after[at]) == 1);
      }
    }
  }
}

TEST(SimulatedRunsAndCutsReplay) {
  const auto once = [] {
    Random random(seed());
    SimulatedDisk disk(seed());
    auto directory = disk.directory();
    auto file = created(*directory, "file");
    Model model;
    std::string all;
    for (int step = 0; step < 50; ++step) {
      if (step % 10 == 9) {
        disk.inject({.call = Call::kWrite});
        CHECK(!file->write(0, bytesOf(std::string(5000, 'z'))).ok());
      }
      randomStep(random, *file, model);
      all += contentAfterCut(disk.image(), "file", random.next());
    }
    return all;
  };
  CHECK(once() == once());
}

}  // namespace millrace::test
