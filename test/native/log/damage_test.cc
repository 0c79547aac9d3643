// Damaged, truncated, foreign and hostile files: detected or harmless, and never a wrong byte delivered.
#include <algorithm>

#include "harness/test.h"
#include "log/block.h"
#include "log/format.h"
#include "log/identity.h"
#include "log/model_store.h"
#include "log/segment.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

std::vector<std::byte> contentOf(SimulatedDisk& disk, const std::string& name) {
  auto file = disk.directory()->open(name);
  CHECK_OK(file.status());
  std::vector<std::byte> content(static_cast<size_t>(file.value()->size().take()));
  CHECK_OK(file.value()->read(0, content));
  return content;
}

void overwrite(SimulatedDisk& disk, const std::string& name, uint64_t offset, Bytes bytes) {
  auto directory = disk.directory();
  auto file = directory->exists(name) ? directory->open(name) : directory->create(name);
  CHECK_OK(file.status());
  CHECK_OK(file.value()->write(offset, bytes));
}

void flipBit(SimulatedDisk& disk, const std::string& name, uint64_t bit) {
  auto file = disk.directory()->open(name).take();
  std::byte value[1];
  CHECK_OK(file->read(bit / 8, value));
  value[0] ^= static_cast<std::byte>(1u << bit % 8);
  CHECK_OK(file->write(bit / 8, value));
}

void truncate(SimulatedDisk& disk, const std::string& name, uint64_t bytes) {
  CHECK_OK(disk.directory()->open(name).take()->truncate(bytes));
}

// "file:offset: what; what to do".
void checkWords(const std::string& detail) {
  const size_t colon = detail.find(':');
  CHECK(colon != std::string::npos && colon > 0 && colon <= std::string("segment-00000").size());
  const size_t digits = detail.find_first_not_of("0123456789", colon + 1);
  CHECK(digits > colon + 1 && detail.compare(digits, 2, ": ") == 0);
  CHECK(detail.find("keep a copy of the whole directory") != std::string::npos);
}

// A store with `commits` blocks of one page after its last checkpoint (at creation), ended by a kill. Some
// messages are settled.
struct SmallLog {
  explicit SmallLog(uint64_t commits = 6, bool sync = true) : options(smallOptions(sync)) {
    ModelStore store(disk.directory(), options);
    store.history = history;
    CHECK_OK(store.openAndStart());
    while (history->size() <= commits) {
      CHECK(store.send({40, history->size() * 10}) == StageOutcome::kStaged);
      CHECK(store.commit());
      if (history->size() % 3 != 0 || history->size() > commits) continue;
      CHECK(store.settleOldest(1) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
    while (store.log().stats().segments_free < 2) std::this_thread::yield();
    store.crash();
    image = disk.image();
  }
  // Opens a copy that `change` was made to. Checks that what opens is a whole prefix; gives the error or OK.
  Status reopen(const std::function<void(SimulatedDisk&)>& change, uint64_t* operations = nullptr) {
    SimulatedDisk copy(image);
    change(copy);
    ModelStore store(copy.directory(), options);
    *store.history = *history;
    const Status opened = store.open();
    report = store.report();
    if (opened.code() == Code::kCorrupt) checkWords(opened.detail());
    if (!opened.ok()) return opened;
    const uint64_t got = expectPrefix(store, 0);
    if (operations != nullptr) *operations = got;
    return opened;
  }
  uint64_t offsetOfBlock(uint64_t commit) const { return commit * log::kPageBytes; }  // from 1

  log::Options options;
  SimulatedDisk disk;
  std::shared_ptr<History> history = std::make_shared<History>(1);
  DiskImage image;
  log::RecoveryReport report;
};

const std::string kFirst = "segment-00000";

}  // namespace

// A segment never gets shorter by itself, so a cut is told from a torn tail: where it may have taken a block
// it is damage, at either level, and behind the last one it takes nothing.
TEST(LogTruncatedAtEveryByteOfTheLastBlockIsCorruptAndBehindItHarmless) {
  SmallLog log(5);
  const uint64_t last = log.offsetOfBlock(log.history->size() - 1);
  const uint64_t end = log.offsetOfBlock(log.history->size());
  // Every byte; under a sanitizer, where an open costs 30 ms, every 16th of them, others with each seed.
  const uint64_t step = kSanitized ? 16 : 1;
  for (uint64_t bytes = last + seed() % step; bytes <= end + 4096; bytes += step) {
    uint64_t operations = 0;
    const Status opened =
        log.reopen([&](SimulatedDisk& disk) { truncate(disk, kFirst, bytes); }, &operations);
    if (bytes < end + log::BlockHeader::kBytes) {
      CHECK(opened.code() == Code::kCorrupt);
    } else {
      CHECK_OK(opened);
      CHECK_EQ(operations, log.history->size() - 1);
    }
  }
}

TEST(LogTruncatedAtEverySectorIsWholeOrCorrupt) {
  for (const bool sync : {true, false}) {
    SmallLog log(9, sync);
    const uint64_t end = log.offsetOfBlock(log.history->size());
    for (uint64_t bytes = 0; bytes <= end + 4096; bytes += 512) {
      const Status opened = log.reopen([&](SimulatedDisk& disk) { truncate(disk, kFirst, bytes); });
      CHECK(opened.code() == (bytes > end ? Code::kOk : Code::kCorrupt));
    }
  }
}

TEST(LogAfterHarmlessTruncationGoesOnAndReadsBack) {
  SmallLog log(5);
  SimulatedDisk disk(log.image);
  truncate(disk, kFirst, log.offsetOfBlock(log.history->size()) + 100);
  auto history = std::make_shared<History>(*log.history);
  for (int session = 0; session < 3; ++session) {
    ModelStore store(disk.directory());
    store.history = history;
    CHECK_OK(store.open());
    store.forgetLost();
    expectEverything(store);
    store.start();
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
  }
}

// At level sync each block proves the one before it: a hole is damage, wherever it is but at the end.
TEST(LogDamagedBlockBeforeOthersIsCorruptWithItsPlace) {
  SmallLog log(6);
  const uint64_t blocks = log.history->size() - 1;
  for (uint64_t commit = 1; commit < blocks; ++commit) {
    for (const uint64_t byte : {0, 9, 17, 41, 61, 70, 100}) {
      const uint64_t at = log.offsetOfBlock(commit);
      const Status opened = log.reopen([&](SimulatedDisk& disk) { flipBit(disk, kFirst, (at + byte) * 8); });
      CHECK(opened.code() == Code::kCorrupt);
      CHECK(opened.detail().find(kFirst + ":" + std::to_string(at) + ":") == 0);
    }
  }
}

TEST(LogDamagedLastBlockIsATornTailAndReported) {
  SmallLog log(6);
  const uint64_t at = log.offsetOfBlock(log.history->size() - 1);
  for (const uint64_t byte : {20, 61, 70}) {
    uint64_t operations = 0;
    CHECK_OK(log.reopen([&](SimulatedDisk& disk) { flipBit(disk, kFirst, (at + byte) * 8); }, &operations));
    CHECK_EQ(operations, log.history->size() - 2);
    CHECK_EQ(log.report.torn_at, kFirst + ":" + std::to_string(at));
    CHECK_EQ(log.report.torn_bytes, 4096u);
  }
}

TEST(LogCleanEndIsNotReportedAsTorn) {
  SmallLog log(4);
  CHECK_OK(log.reopen([](SimulatedDisk&) {}));
  CHECK_EQ(log.report.torn_bytes, 0u);
  CHECK(log.report.torn_at.empty());
  CHECK_EQ(log.report.blocks, log.history->size() - 1);
}

// Every bit of the identity, the headers, the checkpoint and the blocks.
TEST(LogEveryFlippedBitIsDetectedOrHarmless) {
  SmallLog log(4);
  uint64_t detected = 0;
  uint64_t harmless = 0;
  const auto flipAll = [&](const std::string& name, uint64_t from, uint64_t to) {
    for (uint64_t bit = from * 8; bit < to * 8; ++bit) {
      const Status opened = log.reopen([&](SimulatedDisk& disk) { flipBit(disk, name, bit); });
      CHECK(opened.ok() || opened.code() == Code::kCorrupt || opened.code() == Code::kIncompatible);
      ++(opened.ok() ? harmless : detected);
    }
  };
  flipAll("store", 0, log::Identity::kBytes);
  CHECK_EQ(harmless, 0u);
  flipAll(kFirst, 0, log::SegmentHeader::kBytes);
  CHECK_EQ(harmless, 0u);
  flipAll("checkpoint-a", 0, 104);
  flipAll("checkpoint-a", 4096, 4096 + 12);
  flipAll("segment-00001", 0, log::SegmentHeader::kBytes);
  flipAll("deliveries", 0, 64);
  flipAll(kFirst, 4096, 4096 + 200);
  flipAll(kFirst, log.offsetOfBlock(log.history->size() - 1),
          log.offsetOfBlock(log.history->size() - 1) + 200);
  CHECK(detected > 0 && harmless > 0);
}

TEST(LogPagesSwappedOrDuplicatedAreDetectedOrHarmless) {
  SmallLog log(7);
  const auto pages = contentOf(log.disk, kFirst);
  const auto page = [&](uint64_t n) { return Bytes(pages).subspan(n * 4096, 4096); };
  for (uint64_t from = 0; from < 10; ++from) {
    for (uint64_t to = 0; to < 10; ++to) {
      const Status opened = log.reopen([&](SimulatedDisk& disk) {
        overwrite(disk, kFirst, to * 4096, page(from));
        if ((from + to) % 2 == 1) overwrite(disk, kFirst, from * 4096, page(to));
      });
      CHECK(opened.ok() || opened.code() == Code::kCorrupt);
    }
  }
}

TEST(LogSegmentsSwappedOrOfAnotherStoreAreCorrupt) {
  SmallLog log(4);
  SmallLog other(4);
  const auto first = contentOf(log.disk, kFirst);
  const auto second = contentOf(log.disk, "segment-00001");
  const auto foreign = contentOf(other.disk, kFirst);
  const auto replace = [&](const std::string& name, const std::vector<std::byte>& content) {
    return log.reopen([&](SimulatedDisk& disk) { overwrite(disk, name, 0, content); }).code();
  };
  CHECK(replace(kFirst, second) == Code::kCorrupt);
  CHECK(replace("segment-00001", first) == Code::kCorrupt);
  CHECK(replace("segment-00007", first) == Code::kCorrupt);
  CHECK(replace(kFirst, foreign) == Code::kCorrupt);
  CHECK(replace("checkpoint-a", contentOf(other.disk, "checkpoint-a")) == Code::kCorrupt);
  CHECK(replace("store", contentOf(other.disk, "store")) == Code::kCorrupt);
}

TEST(LogBlocksOfAnotherStoreAreNoBlocks) {
  SmallLog log(3);
  SmallLog other(6);
  const auto foreign = contentOf(other.disk, kFirst);
  uint64_t operations = 0;
  const uint64_t end = log.offsetOfBlock(log.history->size());
  CHECK_OK(log.reopen(
      [&](SimulatedDisk& disk) {
        overwrite(disk, kFirst, end, Bytes(foreign).subspan(static_cast<size_t>(end), 3 * 4096));
      },
      &operations));
  CHECK_EQ(operations, log.history->size() - 1);
}

TEST(LogMissingFilesAreCorruptUnlessTheyDoNotMatter) {
  SmallLog log(4);
  const auto without = [&](const std::string& name) {
    return log.reopen([&](SimulatedDisk& disk) { CHECK_OK(disk.directory()->remove(name)); });
  };
  CHECK(without("store").code() == Code::kCorrupt);
  CHECK(without(kFirst).code() == Code::kCorrupt);
  CHECK(without("checkpoint-a").code() == Code::kCorrupt);
  CHECK_OK(without("checkpoint-b"));
  CHECK_OK(without("segment-00001"));  // prepared, never used
  CHECK_OK(without("deliveries"));
}

TEST(LogRubbishUnderItsOwnNamesIsHarmlessOrCorrupt) {
  SmallLog log(4);
  const std::vector<std::byte> rubbish(10'000, std::byte{0x5a});
  const auto with = [&](const std::string& name) {
    return log.reopen([&](SimulatedDisk& disk) { overwrite(disk, name, 0, rubbish); });
  };
  CHECK_OK(with("notes.txt"));
  CHECK_OK(with("segment-1"));
  CHECK_OK(with("segment-99999"));
  CHECK_OK(with("segment-00009"));
  CHECK_OK(with("deliveries"));
  CHECK_OK(with("checkpoint-b"));
  CHECK_OK(with("store.new"));
  CHECK(with("checkpoint-a").code() == Code::kCorrupt);
  CHECK(with(kFirst).code() == Code::kCorrupt);
  CHECK(with("store").code() == Code::kIncompatible);
}

TEST(LogRubbishBeforeCreationIsCorruptAndLeftAlone) {
  for (const char* name : {"segment-00000", "checkpoint-b"}) {
    SimulatedDisk disk;
    overwrite(disk, name, 0, bytesOf("not one of ours"));
    ModelStore store(disk.directory());
    CHECK(store.open().code() == Code::kCorrupt);
    const auto content = contentOf(disk, name);
    CHECK_EQ(textOf(content), "not one of ours");
  }
  SimulatedDisk disk;
  overwrite(disk, "README", 0, bytesOf("somebody's"));
  ModelStore store(disk.directory());
  CHECK_OK(store.open());
}

TEST(LogOfAnotherVersionIsIncompatible) {
  SmallLog log(2);
  const Status opened = log.reopen([](SimulatedDisk& disk) {
    std::vector<std::byte> head = contentOf(disk, "store");
    store(head.data() + 8, uint32_t{2});
    store(head.data() + 12, crc32c(Bytes(head).first(12)));
    overwrite(disk, "store", 0, head);
  });
  CHECK(opened.code() == Code::kIncompatible);
  CHECK(opened.detail().find("version 2") != std::string::npos);
}

TEST(LogOptionsOfAnotherSegmentSizeDoNotMatterToAnExistingStore) {
  SmallLog log(2);
  log.options.segment_bytes = 1 << 20;
  CHECK_OK(log.reopen([](SimulatedDisk&) {}));
  log::Options odd;
  odd.segment_bytes = 300'000;
  SimulatedDisk disk;
  ModelStore store(disk.directory(), odd);
  CHECK(store.open().code() == Code::kOutOfRange);
}

// Only the newest checkpoint counts. The older one is good while nothing that it needs is gone.
TEST(LogTornNewestCheckpointFallsBackToTheOlder) {
  for (int checkpoints = 1; checkpoints < 4; ++checkpoints) {
    SimulatedDisk disk;
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    for (int i = 0; i < checkpoints; ++i) {
      CHECK(store.send({100, 200}) == StageOutcome::kStaged);
      CHECK(store.commit());
      store.checkpoint();
    }
    store.crash();
    for (uint64_t byte = 0; byte < 300; byte += 7) {
      SimulatedDisk copy(disk.image());
      flipBit(copy, checkpoints % 2 == 1 ? "checkpoint-b" : "checkpoint-a",
              (byte < 104 ? byte : byte + 3992) * 8);
      ModelStore reopened(copy.directory());
      reopened.history = store.history;
      CHECK_OK(reopened.open());
      expectEverything(reopened);
    }
  }
}

namespace {

void churn(ModelStore& store, int operations) {
  for (int i = 0; i < operations; ++i) {
    CHECK(store.send({5000}) == StageOutcome::kStaged);
    CHECK(store.commit());
    CHECK(store.settleOldest(1) == StageOutcome::kStaged);
  }
  CHECK(store.commit());
}

// One of the two opens the store: with everything, or with an error.
void rotEitherCheckpoint(const SimulatedDisk& disk, const ModelStore& store, bool sync) {
  for (const char* name : {"checkpoint-a", "checkpoint-b"}) {
    SimulatedDisk copy(disk.image());
    flipBit(copy, name, 90 * 8);
    ModelStore reopened(copy.directory(), smallOptions(sync));
    *reopened.history = *store.history;
    const Status opened = reopened.open();
    CHECK(opened.ok() || opened.code() == Code::kCorrupt);
    if (opened.ok()) expectEverything(reopened);
  }
}

}  // namespace

TEST(LogRottenNewestCheckpointIsCorruptOnceSegmentsWereFreed) {
  SimulatedDisk disk;
  ModelStore store(disk.directory());
  CHECK_OK(store.openAndStart());
  for (int i = 0; i < 8; ++i) {  // far more than the segments that are kept
    churn(store, 40);
    store.checkpoint();
  }
  store.crash();
  rotEitherCheckpoint(disk, store, true);
}

// At level process blocks do not prove each other, but segments are used in turn: blocks behind one that is
// not there, whoever removed or recycled it, say that it was used.
TEST(LogSegmentThatIsMissingBetweenOthersIsCorrupt) {
  for (const bool sync : {true, false}) {
    SimulatedDisk disk;
    ModelStore store(disk.directory(), smallOptions(sync));
    CHECK_OK(store.openAndStart());
    for (int i = 0; i < 90; ++i) {  // of 8 KiB each
      CHECK(store.send({5000}) == StageOutcome::kStaged);
      CHECK(store.commit());
    }
    store.crash();
    for (const bool missing : {false, true}) {
      SimulatedDisk copy(disk.image());
      if (missing) CHECK_OK(copy.directory()->remove("segment-00001"));
      ModelStore reopened(copy.directory(), smallOptions(sync));
      *reopened.history = *store.history;
      CHECK(reopened.open().code() == (missing ? Code::kCorrupt : Code::kOk));
    }
  }
}

// A cut tail must not come back behind blocks that were written later.
TEST(LogWhatWasCutOffIsNeverReadAgain) {
  SmallLog log(6, false);  // level process: later blocks do not prove earlier ones
  const uint64_t blocks = log.history->size() - 1;
  for (uint64_t cut = 1; cut <= blocks; ++cut) {
    SimulatedDisk disk(log.image);
    flipBit(disk, kFirst, (log.offsetOfBlock(cut) + 70) * 8);
    auto history = std::make_shared<History>(*log.history);
    for (uint64_t session = 0; session < blocks; ++session) {
      ModelStore store(disk.directory(), log.options);
      store.history = history;
      CHECK_OK(store.open());
      if (session == 0) {
        CHECK_EQ(store.state().operation, cut - 1);
        CHECK_EQ(store.report().torn_bytes, (blocks - cut + 1) * 4096);
      }
      store.forgetLost();
      expectEverything(store);
      store.start();
      // First what was lost with the cut, so that the block is the same but for its epoch; then blocks of the
      // same size as the old ones.
      const Operation lost = session == 0 ? (*log.history)[cut] : Operation();
      std::vector<size_t> bodies = {40, 7};
      if (!lost.sent.empty()) bodies = {40, cut * 10};
      const auto outcome = lost.settled.empty() ? store.send(bodies) : store.settle(lost.settled);
      CHECK(outcome == StageOutcome::kStaged);
      CHECK(store.commit());
      store.crash();
    }
  }
}

}  // namespace millrace::test
