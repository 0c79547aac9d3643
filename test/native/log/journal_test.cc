// The delivery journal: a count that was noted survives a kill before any commit.
#include "log/journal.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

#include "harness/test.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::Journal;
using log::StageOutcome;

bool journaled(const ModelStore& store, log::Seq seq, uint32_t count) {
  return std::any_of(store.journaled.begin(), store.journaled.end(), [&](const log::DeliverRecord& entry) {
    return entry.queue == 1 && entry.first == seq && entry.delivery_count == count;
  });
}

uint32_t deliveriesOf(ModelStore& store, log::Seq seq) { return store.state().live.at({1, seq}).deliveries; }

}  // namespace

TEST(JournalKeepsACountThatWasNeverCommitted) {
  SimulatedDisk disk;
  auto history = std::make_shared<History>(1);
  {
    ModelStore store(disk.directory());
    store.history = history;
    CHECK_OK(store.openAndStart());
    CHECK(store.send({10}) == StageOutcome::kStaged);
    CHECK(store.commit());
    CHECK(store.log().noteDelivered({1, 1, 1, 3}));
    CHECK_EQ(deliveriesOf(store, 1), 0u);  // lazy: it waits for company
  }
  ModelStore store(disk.directory());
  store.history = history;
  CHECK_OK(store.open());
  CHECK_EQ(deliveriesOf(store, 1), 3u);
  CHECK(journaled(store, 1, 3));
}

TEST(JournalRecordRidesAlongWithTheNextCommit) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  CHECK(store.send({10}) == StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(store.log().noteDelivered({1, 1, 1, 2}));
  CHECK(store.send({10}) == StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK_EQ(deliveriesOf(store, 1), 2u);
}

TEST(JournalFullRefusesUntilTheNextCommit) {
  SimulatedDisk disk;
  log::Options options = smallOptions();
  options.segment_bytes = 8 << 20;  // room in the stage for a whole journal
  ModelStore store(disk.directory(), options);
  CHECK_OK(store.openAndStart());
  std::atomic<bool> hold{true};
  disk.setHook([&](Moment moment, const std::string& name) {
    while (moment == Moment::kBeforeSync && name.find("segment") == 0 && hold) std::this_thread::yield();
  });
  CHECK(store.send({10}) == StageOutcome::kStaged);  // its commit is held in its sync
  uint64_t noted = 0;
  while (store.log().noteDelivered({1, 1, 1, 1})) ++noted;
  CHECK_EQ(noted, Journal::kEntries);
  hold = false;
  CHECK(store.commit());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!store.log().noteDelivered({1, 1, 1, 2})) CHECK(std::chrono::steady_clock::now() < deadline);
  disk.setHook({});
}

TEST(JournalEntriesOfAnEarlierSessionGoWithTheFirstCheckpoint) {
  SimulatedDisk disk;
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    for (uint32_t i = 1; i <= 300; ++i) CHECK(store.log().noteDelivered({1, 1, i, 9}));
  }
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.open());
    CHECK_EQ(store.journaled.size(), 300u);
    store.start();  // takes a checkpoint by itself: the counts are in its snapshot
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (store.log().stats().checkpoints == 0) CHECK(std::chrono::steady_clock::now() < deadline);
    CHECK(store.log().noteDelivered({1, 1, 7, 1}));
    CHECK_OK(store.close());
  }
  ModelStore store(disk.directory());
  CHECK_OK(store.open());
  CHECK_EQ(store.journaled.size(), 1u);
  CHECK(journaled(store, 7, 1));
}

namespace {

using Counts = std::map<log::Seq, uint32_t>;

// A kill at a moment of a life, and what had been noted by then.
struct Kill {
  DiskImage image;
  Counts noted;
};

// Opens what the kill left, checks that every count is still known, notes more of them at once, and goes on
// to each kill in between, `again` times in a row.
void openAfter(const Kill& kill, int again, Random& random, uint64_t& kills) {
  ++kills;
  SimulatedDisk disk(kill.image);
  std::mutex mutex;
  std::vector<Kill> next;
  Counts noted = kill.noted;
  // The hook is called by any thread, one at a time: a generator of its own, below the mutex.
  Random moments(random.next());
  disk.setHook([&](Moment, const std::string&) {
    const std::lock_guard guard(mutex);
    if (again > 0 && moments.chance(again > 1 ? 30 : 10)) next.push_back({disk.image(), noted});
  });
  ModelStore store(disk.directory());
  CHECK_OK(store.open());
  for (const auto& [seq, count] : kill.noted) CHECK(deliveriesOf(store, seq) >= count);
  store.start();
  for (int i = 0; i < 4; ++i) {
    const log::Seq seq = random.between(1, 30);
    const uint32_t count = deliveriesOf(store, seq) + static_cast<uint32_t>(random.between(1, 3));
    if (!store.log().noteDelivered({1, 1, seq, count})) continue;
    const std::lock_guard guard(mutex);
    noted[seq] = std::max(noted[seq], count);
  }
  if (random.chance(50)) {
    const std::lock_guard guard(mutex);
    next.push_back({disk.image(), noted});
  }
  store.crash();
  disk.setHook({});
  for (const Kill& one : next) openAfter(one, again - 1, random, kills);
}

}  // namespace

// What an earlier life noted and no record tells is found again by each opening, however many of them are
// killed in any phase before the first checkpoint.
TEST(JournalKeepsCountsThroughKillsInEveryPhaseOfOpening) {
  Random random(seed());
  SimulatedDisk disk(seed());
  Kill first;
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send(std::vector<size_t>(30, 10)) == StageOutcome::kStaged);
    CHECK(store.commit());
    for (log::Seq seq = 1; seq <= 10; ++seq) {
      CHECK(store.log().noteDelivered({1, 1, seq, 2}));
      first.noted[seq] = 2;
    }
    first.image = disk.image();
  }
  uint64_t kills = 0;
  openAfter(first, 3, random, kills);
  std::printf("  %llu kills\n", static_cast<unsigned long long>(kills));
  CHECK(kills > 50);
}

// With every slot kept, nothing is handed out until the first checkpoint has the counts.
TEST(JournalFullOfKeptEntriesRefusesUntilTheFirstCheckpoint) {
  SimulatedDisk disk;
  log::Options options = smallOptions();
  options.segment_bytes = 8 << 20;
  {
    ModelStore store(disk.directory(), options);
    CHECK_OK(store.openAndStart());
    CHECK(store.send({10}) == StageOutcome::kStaged);
    CHECK(store.commit());
    for (uint32_t count = 1; count <= Journal::kEntries; ++count) {
      CHECK(store.log().noteDelivered({1, 1, 1, count}));
    }
  }
  ModelStore store(disk.directory(), options);
  CHECK_OK(store.open());
  CHECK_EQ(deliveriesOf(store, 1), Journal::kEntries);
  CHECK(!store.log().noteDelivered({1, 1, 1, 1}));
  store.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!store.log().noteDelivered({1, 1, 1, 2})) CHECK(std::chrono::steady_clock::now() < deadline);
}

TEST(JournalDamagedEntriesAreIgnored) {
  const log::StoreId id{std::byte{1}};
  std::array<std::byte, Journal::kEntryBytes> entry;
  Journal::encodeEntry(id, {1, 2, 3, 4}, entry.data());
  CHECK(Journal::decodeEntry(id, entry).has_value());
  for (size_t bit = 0; bit < entry.size() * 8; ++bit) {
    entry[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    CHECK(!Journal::decodeEntry(id, entry).has_value());
    entry[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  CHECK(!Journal::decodeEntry(log::StoreId{}, entry).has_value());
}

}  // namespace millrace::test
