// What a killed store's segment files may lose: blocks, their ends, all of them, or their place to an older
// file. It is noticed, or nothing that was confirmed is missing. FORMAT.md: "What an unclean stop can hide".
#include <algorithm>
#include <chrono>
#include <thread>

#include "harness/test.h"
#include "log/block_reader.h"
#include "log/model_store.h"
#include "log/segment.h"
#include "log/witness.h"

namespace millrace::test {
namespace {

using log::StageOutcome;
using Content = std::vector<std::byte>;

Content contentOf(os::Directory& directory, const std::string& name) {
  auto file = directory.open(name);
  CHECK_OK(file.status());
  Content content(static_cast<size_t>(file.value()->size().take()));
  CHECK_OK(file.value()->read(0, content));
  return content;
}

void replace(os::Directory& directory, const std::string& name, Bytes content) {
  if (!directory.exists(name)) CHECK_OK(directory.create(name).status());
  auto file = directory.open(name).take();
  CHECK_OK(file->truncate(content.size()));
  CHECK_OK(file->write(0, content));
}

std::vector<std::string> segmentsOf(os::Directory& directory) {
  std::vector<std::string> names = directory.list().take();
  std::erase_if(names, [](const std::string& name) { return !log::parseSegmentName(name); });
  return names;
}

log::StoreId idOf(os::Directory& directory) {
  const Content identity = contentOf(directory, "store");
  log::StoreId id;
  std::copy_n(identity.begin() + 16, id.size(), id.begin());
  return id;
}

struct Boundary {
  uint64_t offset;
  uint64_t commit;
};

// Where the blocks of this use of the segment begin.
std::vector<Boundary> boundariesOf(os::Directory& directory, const std::string& name) {
  const Content content = contentOf(directory, name);
  uint32_t version = 0;
  const auto header = log::SegmentHeader::decode(content, version);
  std::vector<Boundary> found;
  if (!header) return found;
  auto file = directory.open(name).take();
  CHECK_OK(log::scanHeaders(*file, content.size(), log::kPageBytes, idOf(directory),
                            [&](uint64_t offset, const log::BlockHeader& block) {
                              if (block.segment_sequence != header->sequence) return;
                              found.push_back({offset, block.commit_sequence});
                            }));
  return found;
}

// Several lives of a store, each ended by a kill, with recycled segments, a checkpoint some blocks back, and
// live messages on both sides of it.
struct KilledStore {
  explicit KilledStore(bool sync) : options(smallOptions(sync)) {
    options.checkpoint_bytes = 1 << 30;
    Random random(seed());
    for (int life = 0; life < 3; ++life) {
      ModelStore store(disk.directory(), options);
      store.history = history;
      CHECK_OK(store.openAndStart());
      for (int round = 0; round < 3; ++round) {
        work(store, random, 30);
        if (round < 2) store.checkpoint();
        if (round < 2) remember();
      }
      work(store, random, static_cast<int>(random.between(80, 140)));  // segments that no checkpoint names
      waitForSyncedWord();
      store.crash();
      if (life < 2) remember();
    }
    image = disk.image();
    const auto directory = disk.directory();
    for (const std::string& name : segmentsOf(*directory)) {
      for (const Boundary& at : boundariesOf(*directory, name))
        last_commit = std::max(last_commit, at.commit);
    }
  }

  void work(ModelStore& store, Random& random, int operations) {
    for (int i = 0; i < operations; ++i) {
      CHECK(store.send({random.between(100, 9000)}) == StageOutcome::kStaged);
      CHECK(store.commit());
      if (store.liveCount() < 8) continue;
      CHECK(store.settleOldest(random.between(1, 3)) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
  }

  bool wordIsSynced() const {
    const SimulatedDisk cut(disk.cutPower(1, Cut::kAllLost));
    SimulatedDisk now(disk.image());
    const auto synced = log::readWord(*SimulatedDisk(cut.image()).directory(), idOf(*now.directory()));
    const auto written = log::readWord(*now.directory(), idOf(*now.directory()));
    return synced.ok() && synced.value() &&
           synced.value()->segment_sequence == written.value()->segment_sequence;
  }

  // The janitor has seen the newest segment opened.
  void waitForSyncedWord() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!wordIsSynced()) {
      CHECK(std::chrono::steady_clock::now() < deadline);
      std::this_thread::yield();
    }
  }

  void remember() { earlier.push_back(disk.image()); }

  Status readAll(ModelStore& store) const {
    for (const auto& [key, message] : store.state().live) {
      std::vector<std::byte> record(message.bytes);
      MILLRACE_RETURN_IF_ERROR(store.log().read(message.ref, record));
      const auto view = log::MessageView::parse(record);
      if (!view.ok()) return view.status();
      const bool holds = view.value().computeCrc() == view.value().storedCrc() &&
                         view.value().queue() == key.first && view.value().seq() == key.second;
      if (!holds) return Status(Code::kCorrupt, "another record is at the message's place");
    }
    return Status();
  }

  // Opens a copy that `change` was made to.
  void expectNoticed(const DiskImage& from, const std::string& what,
                     const std::function<void(os::Directory&)>& change) {
    ++changes;
    SimulatedDisk copy(from);
    change(*copy.directory());
    ModelStore store(copy.directory(), options);
    *store.history = *history;
    const Status opened = store.open();
    if (!opened.ok()) {
      ++noticed;
      if (opened.code() != Code::kCorrupt) std::printf("  %s: %s\n", what.c_str(), opened.detail().c_str());
      CHECK(opened.code() == Code::kCorrupt);
      return;
    }
    const uint64_t all = history->size() - 1;
    const uint64_t got = store.state().operation;
    const Status read = readAll(store);
    if (!read.ok()) {
      ++noticed;
      CHECK(read.code() == Code::kCorrupt);
      return;
    }
    // The last block is let go with a word of it; at level process so is what was never synced.
    const bool may_miss = store.report().torn_bytes > 0 && !store.report().torn_at.empty();
    const bool fine = got == all || (may_miss && (!options.sync || got + 1 == all));
    if (!fine) {
      std::printf("  %s: %llu of %llu operations, %llu torn\n", what.c_str(),
                  static_cast<unsigned long long>(got), static_cast<unsigned long long>(all),
                  static_cast<unsigned long long>(store.report().torn_bytes));
    }
    CHECK(fine);
  }

  log::Options options;
  SimulatedDisk disk{seed()};
  std::shared_ptr<History> history = std::make_shared<History>(1);
  std::vector<DiskImage> earlier;
  DiskImage image;
  uint64_t last_commit = 0;
  uint64_t changes = 0;
  uint64_t noticed = 0;
};

void zeroFrom(os::Directory& directory, const std::string& name, uint64_t offset) {
  Content content = contentOf(directory, name);
  std::fill(content.begin() + static_cast<ptrdiff_t>(offset), content.end(), std::byte{0});
  replace(directory, name, content);
}

void truncate(os::Directory& directory, const std::string& name, uint64_t bytes) {
  CHECK_OK(directory.open(name).take()->truncate(bytes));
}

void loseEachPart(KilledStore& store, const DiskImage& image) {
  SimulatedDisk before(image);
  const auto directory = before.directory();
  const std::vector<std::string> names = segmentsOf(*directory);
  for (const std::string& name : names) {
    for (const Boundary& at : boundariesOf(*directory, name)) {
      if (at.commit == store.last_commit) continue;
      const std::string place = name + ":" + std::to_string(at.offset);
      store.expectNoticed(image, "zeros from " + place,
                          [&](os::Directory& changed) { zeroFrom(changed, name, at.offset); });
      store.expectNoticed(image, "cut at " + place,
                          [&](os::Directory& changed) { truncate(changed, name, at.offset); });
    }
    store.expectNoticed(image, "emptied " + name,
                        [&](os::Directory& changed) { truncate(changed, name, 0); });
    store.expectNoticed(image, "only the header of " + name,
                        [&](os::Directory& changed) { truncate(changed, name, log::kPageBytes); });
    store.expectNoticed(image, "deleted " + name,
                        [&](os::Directory& changed) { CHECK_OK(changed.remove(name)); });
    for (const std::string& other : names) {
      const Content content = contentOf(*directory, other);
      store.expectNoticed(image, other + " over " + name,
                          [&](os::Directory& changed) { replace(changed, name, content); });
      const Content own = contentOf(*directory, name);
      store.expectNoticed(image, other + " and " + name + " exchanged", [&](os::Directory& changed) {
        replace(changed, name, content);
        replace(changed, other, own);
      });
    }
    for (const DiskImage& earlier : store.earlier) {
      SimulatedDisk then(earlier);
      if (!then.directory()->exists(name)) continue;
      const Content content = contentOf(*then.directory(), name);
      store.expectNoticed(image, "an earlier " + name,
                          [&](os::Directory& changed) { replace(changed, name, content); });
    }
  }
}

std::string newestOf(os::Directory& directory, uint64_t last_commit) {
  for (const std::string& name : segmentsOf(directory)) {
    const auto found = boundariesOf(directory, name);
    const auto holds = [&](const Boundary& at) { return at.commit == last_commit; };
    if (std::any_of(found.begin(), found.end(), holds)) return name;
  }
  return "";
}

void loseSegments(bool sync) {
  KilledStore store(sync);
  loseEachPart(store, store.image);
  std::printf("  %llu of %llu changes are noticed\n", static_cast<unsigned long long>(store.noticed),
              static_cast<unsigned long long>(store.changes));
  CHECK(store.noticed > store.changes / 4);
}

}  // namespace

TEST(VanishedBlocksOfAKilledStoreAreNoticedAtSync) { loseSegments(true); }
TEST(VanishedBlocksOfAKilledStoreAreNoticedAtProcess) { loseSegments(false); }

// A power cut may take back the newest words, not the one that was synced when the segment was opened.
TEST(VanishedNewestSegmentIsCorruptAlsoAfterAPowerCut) {
  for (const bool sync : {true, false}) {
    KilledStore store(sync);
    for (uint64_t cut = 0; cut < 10; ++cut) {
      const DiskImage image = store.image.cutPower(seed() + cut);
      const std::string name = newestOf(*SimulatedDisk(image).directory(), store.last_commit);
      if (name.empty()) continue;  // at level process the cut may have taken its blocks
      for (const uint64_t keep : {uint64_t{0}, log::kPageBytes, kSmallSegment}) {
        SimulatedDisk copy(image);
        const auto directory = copy.directory();
        if (keep == kSmallSegment) {
          CHECK_OK(directory->remove(name));
        } else {
          truncate(*directory, name, keep);
        }
        ModelStore reopened(copy.directory(), store.options);
        *reopened.history = *store.history;
        const Status opened = reopened.open();
        CHECK(opened.code() == Code::kCorrupt);
        CHECK(opened.detail().find(name) == 0);
      }
    }
  }
}

// Before there was a witness, the segments prepared ahead alone told.
TEST(VanishedNewestSegmentIsCorruptWithoutAWitness) {
  KilledStore store(true);
  const std::string name = newestOf(*store.disk.directory(), store.last_commit);
  store.expectNoticed(store.image, "without a witness",
                      [](os::Directory& changed) { CHECK_OK(changed.remove("witness")); });
  CHECK_EQ(store.noticed, 0u);
  for (const bool empty : {true, false}) {
    store.expectNoticed(store.image, "without " + name, [&](os::Directory& changed) {
      CHECK_OK(changed.remove("witness"));
      if (empty) truncate(changed, name, 0);
      if (!empty) CHECK_OK(changed.remove(name));
    });
  }
  CHECK_EQ(store.noticed, 2u);
}

TEST(WitnessOfEveryDamageIsNoWitness) {
  const log::StoreId id{std::byte{7}};
  std::array<std::byte, log::Word::kBytes> bytes;
  log::Word{3, 2, 8192, 40, 39, 5}.encode(id, bytes.data());
  CHECK(log::Word::decode(id, bytes).has_value());
  CHECK(!log::Word::decode(log::StoreId{}, bytes).has_value());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    CHECK(!log::Word::decode(id, bytes).has_value());
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
}

}  // namespace millrace::test
