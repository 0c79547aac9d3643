// Format version 1, byte for byte: a store that was written once (golden/store_v1.inc) opens and holds what
// was put into it, and every header in it is encoded today as it was then. If a change of the code breaks
// this, it is a change of the format: a new version, FORMAT.md and a new golden file (print describe() of the
// new store).
#include <cstdio>
#include <sstream>

#include "harness/test.h"
#include "log/block.h"
#include "log/checkpoint.h"
#include "log/identity.h"
#include "log/journal.h"
#include "log/model_store.h"
#include "log/segment.h"

namespace millrace::test {
namespace {

constexpr const char* kStoreV1 =
#include "log/golden/store_v1.inc"
    ;

using File = std::vector<std::byte>;

File contentOf(SimulatedDisk& disk, const std::string& name) {
  auto file = disk.directory()->open(name);
  CHECK_OK(file.status());
  File content(static_cast<size_t>(file.value()->size().take()));
  CHECK_OK(file.value()->read(0, content));
  return content;
}

// "name size" lines, each followed by the rows of 16 bytes that are not all zero: "offset hex".
std::string describe(SimulatedDisk& disk) {
  std::string text;
  char piece[64];
  for (const std::string& name : disk.directory()->list().take()) {
    const File content = contentOf(disk, name);
    text += name + " " + std::to_string(content.size()) + "\n";
    for (size_t row = 0; row < content.size(); row += 16) {
      std::string hex;
      bool zero = true;
      for (size_t at = row; at < row + 16 && at < content.size(); ++at) {
        zero = zero && content[at] == std::byte{0};
        std::snprintf(piece, sizeof piece, "%02x", static_cast<unsigned>(content[at]));
        hex += piece;
      }
      if (zero) continue;
      text += std::to_string(row) + " " + hex + "\n";
    }
  }
  return text;
}

void restore(SimulatedDisk& disk, const std::string& text) {
  auto directory = disk.directory();
  std::unique_ptr<os::File> file;
  std::istringstream lines(text);
  std::string first;
  std::string second;
  while (lines >> first >> second) {
    if (first[0] < '0' || first[0] > '9') {
      file = directory->create(first).take();
      CHECK_OK(file->truncate(std::strtoull(second.c_str(), nullptr, 10)));
      continue;
    }
    File row;
    for (size_t at = 0; at + 1 < second.size(); at += 2) {
      row.push_back(static_cast<std::byte>(std::strtoul(second.substr(at, 2).c_str(), nullptr, 16)));
    }
    CHECK_OK(file->write(std::strtoull(first.c_str(), nullptr, 10), row));
  }
}

// What golden/store_v1.inc was made of.
void writeStore(SimulatedDisk& disk, std::shared_ptr<History> history) {
  ModelStore store(disk.directory());
  store.history = history;
  CHECK_OK(store.openAndStart());
  CHECK(store.send({0, 5}) == log::StageOutcome::kStaged);
  CHECK(store.send({20}, 2) == log::StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(store.settleOldest(1) == log::StageOutcome::kStaged);
  CHECK(store.stageSettings("settings") == log::StageOutcome::kStaged);
  CHECK(store.commit());
  store.checkpoint();
  CHECK(store.log().noteDelivered({1, 1, 2, 1}));
  CHECK(store.send({33}) == log::StageOutcome::kStaged);
  CHECK(store.commit());
  CHECK(store.settleOldest(1, 2) == log::StageOutcome::kStaged);
  CHECK(store.commit());
  while (store.log().stats().segments_free < 2) std::this_thread::yield();
}

struct Golden {
  Golden() { restore(disk, kStoreV1); }
  SimulatedDisk disk;
};

}  // namespace

TEST(GoldenStoreOfVersion1HoldsWhatWasPutIntoIt) {
  CHECK_EQ(log::kFormatVersion, 1u);
  auto history = std::make_shared<History>(1);
  SimulatedDisk today;
  writeStore(today, history);
  if (kStoreV1[0] == '\0') std::printf("%s", describe(today).c_str());
  Golden golden;
  CHECK_EQ(describe(golden.disk), std::string(kStoreV1));
  ModelStore store(golden.disk.directory());
  store.history = history;
  CHECK_OK(store.open());
  expectEverything(store);
  const ModelState state = store.state();
  CHECK_EQ(state.settings.size(), 1u);
  CHECK_EQ(state.settings[0], "settings");
  CHECK_EQ(state.live.at({1, 2}).deliveries, 1u);
  CHECK_EQ(store.journaled.size(), 1u);
  CHECK(store.journaled[0].first == 2 && store.journaled[0].delivery_count == 1);
}

TEST(GoldenHeadersAreEncodedTodayAsTheyWereThen) {
  Golden golden;
  std::array<std::byte, 4096> page{};
  const auto same = [&](const File& file, size_t at, size_t bytes) {
    return std::equal(page.begin(), page.begin() + static_cast<ptrdiff_t>(bytes),
                      file.begin() + static_cast<ptrdiff_t>(at));
  };
  const File store = contentOf(golden.disk, "store");
  const log::Identity identity = log::Identity::decode(store).take();
  identity.encode(page.data());
  CHECK(same(store, 0, log::Identity::kBytes));

  const File segment = contentOf(golden.disk, "segment-00000");
  uint32_t version = 0;
  log::SegmentHeader::decode(segment, version)->encode(page.data());
  CHECK(same(segment, 0, log::SegmentHeader::kBytes));
  CHECK_EQ(version, 1u);

  const File checkpoint = contentOf(golden.disk, "checkpoint-b");
  const auto header = log::CheckpointHeader::decode(identity.id, checkpoint);
  CHECK_EQ(header->serial, 2u);
  header->encode(identity.id, page.data());
  CHECK(same(checkpoint, 0, log::CheckpointHeader::kBytes));

  size_t blocks = 0;
  for (size_t at = 4096; at + 4096 <= segment.size(); at += 4096) {
    auto block = log::BlockHeader::decode(identity.id, Bytes(segment).subspan(at));
    if (!block) break;
    ++blocks;
    CHECK_EQ(block->commit_sequence, blocks);
    block->encode(identity.id, page.data());
    CHECK(same(segment, at, log::BlockHeader::kBytes));
  }
  CHECK(blocks >= 4);

  const File journal = contentOf(golden.disk, "deliveries");
  log::Journal::encodeEntry(identity.id, *log::Journal::decodeEntry(identity.id, journal), page.data());
  CHECK(same(journal, 0, log::Journal::kEntryBytes));
}

}  // namespace millrace::test
