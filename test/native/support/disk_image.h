// Everything a simulated disk holds at one moment, synced or not: a value that costs a few pointers per file,
// so that a test can keep one for every step of a run and cut the power in each of them later.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/simulated_file.h"

namespace millrace::test {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// A create, rename or remove that Directory::sync has not made certain.
struct DirectoryChange {
  enum class Kind : uint8_t { kCreate, kRename, kRemove };
  Kind kind;
  std::string name;
  std::string to;     // kRename
  uint64_t file = 0;  // kCreate
};

using DirectoryEntries = std::map<std::string, uint64_t>;
void applyChange(DirectoryEntries& entries, const DirectoryChange& change);

struct DiskImage {
  DirectoryEntries entries;              // as seen by the running system
  DirectoryEntries synced_entries;       // as after a power cut that loses every change below
  std::vector<DirectoryChange> changes;  // oldest first: entries == synced_entries + changes
  std::map<uint64_t, std::shared_ptr<SimulatedFile>> files;
  uint64_t next_file = 1;
  uint64_t capacity = kUnlimited;

  // The disk after a power cut: an ordered prefix of the directory changes (as a journal gives them) and, for
  // each file by itself, some of the sectors not synced. Everything in it is certain. The same image, seed
  // and cut give the same disk.
  DiskImage cutPower(uint64_t seed, Cut cut = Cut::kAny) const;
  uint64_t sectorsAtRisk() const;
};

}  // namespace millrace::test
