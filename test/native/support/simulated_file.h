// One file of the simulated disk: what was written and what is certain to survive a power cut, kept apart by
// 512-byte sectors.
//
// Invariants
//  S1 A sector that is neither unsynced nor in doubt reads the same in `pages` and in `synced_pages`.
//  S2 Bytes of `pages` past `size` are zero, so that a file that grows again shows zeros.
//  S3 A page of another epoch than its file's may be seen by an image or by another disk: it is never
//     changed, only replaced. Epochs are unique in the process. This makes an image a copy of pointers.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "support/random.h"

namespace millrace::test {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kPageBytes = 4096;
constexpr unsigned kSectorsPerPage = kPageBytes / kSectorBytes;

// Which unsynced sectors a power cut leaves with their new content.
enum class Cut : uint8_t {
  kAny,       // one of the following at random: for all files, or for each file by itself
  kAllLost,   // exactly what was synced; no unsynced directory change
  kAllKept,   // everything written; every directory change
  kSubset,    // each sector by a coin, with a probability drawn per file
  kPrefix,    // up to some sector, in file order
  kOnlyLast,  // the last one alone: a hole before it
  kAllButOne,
};

// Never 0 and never the same twice.
uint64_t freshEpoch();

struct SimulatedPage {
  uint64_t epoch;  // 0: shared for good
  std::array<std::byte, kPageBytes> bytes;
};

class SimulatedFile {
 public:
  explicit SimulatedFile(uint64_t epoch) : epoch_(epoch) {}

  uint64_t epoch() const { return epoch_; }
  uint64_t size() const { return size_; }
  // The copy that a disk of `epoch` may change.
  std::shared_ptr<SimulatedFile> copyFor(uint64_t epoch) const;

  // The caller has checked the range against size(), or, for a mapping, against the last page's end.
  void read(uint64_t offset, MutableBytes out) const;
  void write(uint64_t offset, Bytes data);
  void truncate(uint64_t bytes);

  // All sectors written so far become certain, except those in doubt.
  void sync();
  // The failed sync: unsynced sectors become sectors in doubt. Like a page that Linux could not write and
  // marked clean, a sector in doubt reads as written, is not written by a later sync, and may be gone after a
  // power cut. Writing it again makes it an unsynced sector.
  void failSync();
  // Each unsynced sector has, by a coin, reached the disk on its own: the content it may fall back to is no
  // longer the synced one.
  void writeBackSome(Random& random);
  // Reads sectors in doubt from the disk again: each either still shows its new content or the old for good.
  void dropCache(Random& random);

  // The file after a power cut: everything in it is certain.
  std::shared_ptr<SimulatedFile> cutPower(Random& random, Cut cut) const;
  // Unsynced sectors and sectors in doubt.
  uint64_t sectorsAtRisk() const;

 private:
  using Page = std::shared_ptr<SimulatedPage>;
  using Sectors = uint8_t;  // one bit for each sector of a page
  static_assert(kSectorsPerPage == 8);

  static const std::byte* sectorOf(const Page& page, unsigned sector);
  std::byte* writable(std::vector<Page>& pages, uint64_t index);
  void copySector(uint64_t index, unsigned sector, const Page& from, std::vector<Page>& to);
  void markUnsynced(uint64_t offset, uint64_t bytes);
  void growTo(uint64_t pages);
  static Page shared(const Page& page, uint64_t epoch);
  uint64_t sizeAfterCut(Random& random, Cut cut) const;
  bool isCertain() const;

  uint64_t epoch_;
  uint64_t size_ = 0;
  uint64_t synced_size_ = 0;
  uint64_t lowest_size_ = 0;  // since the last sync: a truncation may survive without what followed it
  // All four have one length, enough for the larger of the two sizes. A null page is zeros.
  std::vector<Page> pages_;
  std::vector<Page> synced_pages_;
  std::vector<Sectors> unsynced_;
  std::vector<Sectors> in_doubt_;
};

}  // namespace millrace::test
