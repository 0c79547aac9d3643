// Power cuts at the sync points of a store at work: creation, commits, checkpoints, recycling, recovery, and
// recovery again. What survives is always the state after a whole number of operations, never fewer than were
// confirmed, and nothing in it is altered.
#include <algorithm>

#include "harness/test.h"
#include "log/camera.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

log::Options optionsOf(bool sync) {
  log::Options options = smallOptions(sync);
  options.checkpoint_bytes = 200 << 10;
  return options;
}

void work(ModelStore& store, Random& random, uint64_t operations) {
  for (uint64_t n = 0; n < operations; ++n) {
    const uint64_t dice = random.below(100);
    if (dice < 55) {
      std::vector<size_t> bodies(random.between(1, 3));
      for (size_t& bytes : bodies) bytes = random.chance(10) ? random.below(8000) : random.below(4000);
      CHECK(store.send(bodies, static_cast<uint32_t>(random.between(1, 2))) == StageOutcome::kStaged);
    } else if (dice < 93) {
      const auto queue = static_cast<uint32_t>(random.between(1, 2));
      CHECK(store.settleOldest(random.between(1, 6), queue) == StageOutcome::kStaged);
    } else if (dice < 96) {
      store.log().requestCheckpoint();
    } else {
      CHECK(store.commit());
    }
    if (random.chance(40)) CHECK(store.commit());
  }
}

// Opens a store after one cut of `shot` and checks it. Shots of this recovery are appended to `deeper`.
void checkCut(const Shot& shot, const History& history, bool sync, uint64_t seed, std::vector<Shot>* deeper) {
  Random random(seed);
  SimulatedDisk disk(shot.image.cutPower(random.next()));
  Camera camera(disk, random.next(), deeper != nullptr ? 20 : 0);
  camera.promise(shot.promised);
  ModelStore store(disk.directory(), optionsOf(sync));
  *store.history = history;
  CHECK_OK(store.open());
  expectPrefix(store, shot.promised);
  if (deeper != nullptr) *deeper = camera.take();
  if (!random.chance(25)) return;
  store.forgetLost();
  store.start();
  work(store, random, random.between(1, 10));
  CHECK(store.commit());
  SimulatedDisk killed = disk.reopenAfterKill();
  if (random.chance(50)) CHECK_OK(store.close());
  SimulatedDisk cut(random.chance(50) && sync ? killed.cutPower(random.next()) : killed.image());
  ModelStore again(cut.directory(), optionsOf(sync));
  *again.history = *store.history;
  CHECK_OK(again.open());
  expectEverything(again);
}

// Returns the number of cuts.
uint64_t campaignRound(uint64_t seed, bool sync) {
  Random random(seed);
  SimulatedDisk disk(random.next());
  Camera camera(disk, random.next(), 8);
  std::vector<Shot> shots;
  auto history = std::make_shared<History>(1);
  for (int session = 0; session < 2; ++session) {
    ModelStore store(disk.directory(), optionsOf(sync));
    store.history = history;
    CHECK_OK(store.open());
    expectEverything(store);
    // At level process a power cut may take back everything; what it leaves must still be whole.
    if (sync) camera.committed = [&] { return store.committedOperation(); };
    store.start();
    work(store, random, 400);
    CHECK(store.commit());
    if (session == 0) CHECK_OK(store.close());
    store.crash();
    camera.committed = [] { return uint64_t{0}; };
    if (sync) camera.promise(history->size() - 1);
  }
  uint64_t cuts = 0;
  shots = camera.take();
  for (size_t i = 0; i < shots.size(); ++i) {
    std::vector<Shot> deeper;
    checkCut(shots[i], *history, sync, random.next(), &deeper);
    ++cuts;
    for (const Shot& shot : deeper) {
      checkCut(shot, *history, sync, random.next(), nullptr);
      ++cuts;
    }
  }
  return cuts;
}

void campaign(bool sync, uint64_t wanted) {
  uint64_t cuts = 0;
  for (uint64_t round = 0; cuts < wanted * scale(); ++round)
    cuts += campaignRound(seed() * 1000 + round, sync);
  std::printf("  %llu power cuts\n", static_cast<unsigned long long>(cuts));
}

}  // namespace

TEST(LogPowerCutsAtSyncLoseNothing) { campaign(true, kSanitized ? 500 : 2000); }

TEST(LogPowerCutsAtProcessLeaveAWholePrefix) { campaign(false, kSanitized ? 150 : 500); }

}  // namespace millrace::test
