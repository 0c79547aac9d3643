#include "support/simulated_file.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace millrace::test {
namespace {

const std::array<std::byte, kPageBytes> kZeros{};

constexpr uint8_t bitOf(unsigned sector) { return static_cast<uint8_t>(1u << sector); }

}  // namespace

uint64_t freshEpoch() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::shared_ptr<SimulatedFile> SimulatedFile::copyFor(uint64_t epoch) const {
  auto copy = std::make_shared<SimulatedFile>(*this);
  copy->epoch_ = epoch;
  return copy;
}

const std::byte* SimulatedFile::sectorOf(const Page& page, unsigned sector) {
  return (page ? page->bytes : kZeros).data() + sector * kSectorBytes;
}

std::byte* SimulatedFile::writable(std::vector<Page>& pages, uint64_t index) {
  Page& page = pages[index];
  if (!page) {
    page = std::make_shared<SimulatedPage>(SimulatedPage{epoch_, kZeros});
  } else if (page->epoch != epoch_) {
    page = std::make_shared<SimulatedPage>(SimulatedPage{epoch_, page->bytes});
  }
  return page->bytes.data();
}

// The page, from now on in two places and therefore never changed again (S3).
SimulatedFile::Page SimulatedFile::shared(const Page& page, uint64_t epoch) {
  if (page && page->epoch == epoch) page->epoch = 0;
  return page;
}

void SimulatedFile::copySector(uint64_t index, unsigned sector, const Page& from, std::vector<Page>& to) {
  const std::byte* content = sectorOf(from, sector);
  if (std::memcmp(content, sectorOf(to[index], sector), kSectorBytes) == 0) return;
  std::memcpy(writable(to, index) + sector * kSectorBytes, content, kSectorBytes);
}

void SimulatedFile::growTo(uint64_t pages) {
  if (pages <= pages_.size()) return;
  pages_.resize(pages);
  synced_pages_.resize(pages);
  unsynced_.resize(pages);
  in_doubt_.resize(pages);
}

void SimulatedFile::markUnsynced(uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return;
  for (uint64_t sector = offset / kSectorBytes; sector <= (offset + bytes - 1) / kSectorBytes; ++sector) {
    const uint8_t bit = bitOf(static_cast<unsigned>(sector % kSectorsPerPage));
    unsynced_[sector / kSectorsPerPage] |= bit;
    in_doubt_[sector / kSectorsPerPage] &= static_cast<uint8_t>(~bit);
  }
}

void SimulatedFile::read(uint64_t offset, MutableBytes out) const {
  while (!out.empty()) {
    const uint64_t index = offset / kPageBytes;
    const uint64_t within = offset % kPageBytes;
    const size_t count = static_cast<size_t>(std::min<uint64_t>(out.size(), kPageBytes - within));
    const bool present = index < pages_.size() && pages_[index] != nullptr;
    std::memcpy(out.data(), (present ? pages_[index]->bytes : kZeros).data() + within, count);
    out = out.subspan(count);
    offset += count;
  }
}

void SimulatedFile::write(uint64_t offset, Bytes data) {
  if (data.empty()) return;
  const uint64_t end = offset + data.size();
  growTo(alignUp(end, kPageBytes) / kPageBytes);
  markUnsynced(offset, data.size());
  size_ = std::max(size_, end);
  while (!data.empty()) {
    const uint64_t within = offset % kPageBytes;
    const size_t count = static_cast<size_t>(std::min<uint64_t>(data.size(), kPageBytes - within));
    std::memcpy(writable(pages_, offset / kPageBytes) + within, data.data(), count);
    data = data.subspan(count);
    offset += count;
  }
}

void SimulatedFile::truncate(uint64_t bytes) {
  growTo(alignUp(bytes, kPageBytes) / kPageBytes);
  if (bytes < size_) {
    markUnsynced(bytes, size_ - bytes);
    const uint64_t within = bytes % kPageBytes;
    uint64_t index = bytes / kPageBytes;
    if (within != 0 && pages_[index]) {
      std::memset(writable(pages_, index) + within, 0, kPageBytes - within);
    }
    if (within != 0) ++index;
    for (; index < pages_.size(); ++index) pages_[index] = nullptr;
  }
  size_ = bytes;
  lowest_size_ = std::min(lowest_size_, bytes);
}

void SimulatedFile::sync() {
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    if (unsynced_[index] == 0) continue;
    if (in_doubt_[index] == 0) {
      synced_pages_[index] = shared(pages_[index], epoch_);
    } else {
      for (unsigned sector = 0; sector < kSectorsPerPage; ++sector) {
        if ((unsynced_[index] & bitOf(sector)) != 0) copySector(index, sector, pages_[index], synced_pages_);
      }
    }
    unsynced_[index] = 0;
  }
  synced_size_ = size_;
  lowest_size_ = size_;
}

void SimulatedFile::failSync() {
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    in_doubt_[index] |= unsynced_[index];
    unsynced_[index] = 0;
  }
}

void SimulatedFile::writeBackSome(Random& random) {
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    for (unsigned sector = 0; sector < kSectorsPerPage; ++sector) {
      if ((unsynced_[index] & bitOf(sector)) == 0 || random.chance(50)) continue;
      copySector(index, sector, pages_[index], synced_pages_);
    }
  }
}

void SimulatedFile::dropCache(Random& random) {
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    for (unsigned sector = 0; sector < kSectorsPerPage; ++sector) {
      const uint8_t bit = bitOf(sector);
      if ((in_doubt_[index] & bit) == 0 || random.chance(50)) continue;
      copySector(index, sector, synced_pages_[index], pages_);
      in_doubt_[index] &= static_cast<uint8_t>(~bit);
    }
  }
}

uint64_t SimulatedFile::sectorsAtRisk() const {
  uint64_t count = 0;
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    count += static_cast<uint64_t>(std::popcount(static_cast<uint8_t>(unsynced_[index] | in_doubt_[index])));
  }
  return count;
}

bool SimulatedFile::isCertain() const {
  return size_ == synced_size_ && lowest_size_ == size_ && sectorsAtRisk() == 0;
}

// The size is metadata: it survives or not whatever became of the sectors. An extent that was appended may
// read as zeros (size kept, sectors lost) or be missing.
uint64_t SimulatedFile::sizeAfterCut(Random& random, Cut cut) const {
  if (cut == Cut::kAllLost) return synced_size_;
  if (cut == Cut::kAllKept) return size_;
  switch (random.below(4)) {
    case 0:
      return synced_size_;
    case 1:
      return size_;
    case 2:
      return lowest_size_;
    default:
      return random.between(lowest_size_, std::max(lowest_size_, size_));
  }
}

std::shared_ptr<SimulatedFile> SimulatedFile::cutPower(Random& random, Cut cut) const {
  auto after = copyFor(freshEpoch());
  if (isCertain()) return after;
  const uint64_t at_risk = sectorsAtRisk();
  const uint64_t chosen = at_risk == 0 ? 0 : random.below(at_risk + 1);
  const uint64_t left_out = at_risk == 0 ? 0 : random.below(at_risk);
  constexpr uint64_t kPercents[] = {3, 20, 50, 80, 97};
  const uint64_t percent = kPercents[random.below(std::size(kPercents))];
  uint64_t number = 0;  // of the sector at risk, in file order
  const auto survives = [&] {
    const uint64_t current = number++;
    switch (cut) {
      case Cut::kAllLost:
        return false;
      case Cut::kSubset:
        return random.chance(percent);
      case Cut::kPrefix:
        return current < chosen;
      case Cut::kOnlyLast:
        return current == at_risk - 1;
      case Cut::kAllButOne:
        return current != left_out;
      case Cut::kAllKept:
      case Cut::kAny:
        break;
    }
    return true;
  };
  after->pages_ = synced_pages_;
  for (uint64_t index = 0; index < pages_.size(); ++index) {
    const uint8_t risky = unsynced_[index] | in_doubt_[index];
    uint8_t kept = 0;
    for (unsigned sector = 0; risky != 0 && sector < kSectorsPerPage; ++sector) {
      if ((risky & bitOf(sector)) != 0 && survives()) kept |= bitOf(sector);
    }
    if (kept == risky) after->pages_[index] = pages_[index];  // S1
    for (unsigned sector = 0; kept != risky && sector < kSectorsPerPage; ++sector) {
      if ((kept & bitOf(sector)) != 0) after->copySector(index, sector, pages_[index], after->pages_);
    }
  }
  // A sector may have survived past the end that did: truncating from the last page's end takes it away.
  const uint64_t size = sizeAfterCut(random, cut);
  after->size_ = after->pages_.size() * kPageBytes;
  after->truncate(size);
  after->synced_pages_ = after->pages_;
  after->synced_size_ = after->lowest_size_ = size;
  std::fill(after->unsynced_.begin(), after->unsynced_.end(), Sectors{0});
  std::fill(after->in_doubt_.begin(), after->in_doubt_.end(), Sectors{0});
  return after;
}

}  // namespace millrace::test
