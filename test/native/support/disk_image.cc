#include "support/disk_image.h"

namespace millrace::test {
namespace {

constexpr Cut kDefinite[] = {Cut::kAllLost, Cut::kAllKept,  Cut::kSubset,   Cut::kSubset,
                             Cut::kPrefix,  Cut::kOnlyLast, Cut::kAllButOne};

Cut anyCut(Random& random) { return kDefinite[random.below(std::size(kDefinite))]; }

size_t changesAfterCut(size_t count, Random& random, Cut cut) {
  if (cut == Cut::kAllLost) return 0;
  if (cut == Cut::kAllKept) return count;
  return static_cast<size_t>(random.between(0, count));
}

}  // namespace

void applyChange(DirectoryEntries& entries, const DirectoryChange& change) {
  switch (change.kind) {
    case DirectoryChange::Kind::kCreate:
      entries[change.name] = change.file;
      break;
    case DirectoryChange::Kind::kRename: {
      const uint64_t file = entries[change.name];
      entries.erase(change.name);
      entries[change.to] = file;
      break;
    }
    case DirectoryChange::Kind::kRemove:
      entries.erase(change.name);
      break;
  }
}

DiskImage DiskImage::cutPower(uint64_t seed, Cut cut) const {
  Random random(seed);
  const bool each_file_by_itself = cut == Cut::kAny && random.chance(50);
  if (cut == Cut::kAny && !each_file_by_itself) cut = anyCut(random);
  DiskImage after;
  after.capacity = capacity;
  after.next_file = next_file;
  after.entries = synced_entries;
  const size_t kept = changesAfterCut(changes.size(), random, cut);
  for (size_t i = 0; i < kept; ++i) applyChange(after.entries, changes[i]);
  after.synced_entries = after.entries;
  for (const auto& [name, number] : after.entries) {
    after.files[number] = files.at(number)->cutPower(random, each_file_by_itself ? anyCut(random) : cut);
  }
  return after;
}

uint64_t DiskImage::sectorsAtRisk() const {
  uint64_t count = 0;
  for (const auto& [number, file] : files) count += file->sectorsAtRisk();
  return count;
}

}  // namespace millrace::test
