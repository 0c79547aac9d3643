// One segment file: its header page, and how much of it is live. FORMAT.md: "Segments".
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "log/format.h"
#include "log/open_files.h"
#include "os/file.h"

namespace millrace::log {

struct SegmentHeader {
  static constexpr size_t kBytes = 56;
  uint32_t index = 0;
  StoreId id{};
  uint64_t sequence = 0;
  uint64_t segment_bytes = 0;

  void encode(std::byte* to) const;  // kBytes bytes
  // Salted with the id it names: the caller compares that with its own. Empty if damaged or no header at all.
  static std::optional<SegmentHeader> decode(Bytes from, uint32_t& version);
};

// Writes the header page (zeros behind the header) and syncs it. A crash before the sync leaves the old
// header or the new one: the header lies in one sector.
Status writeSegmentHeader(os::File& file, const SegmentHeader& header);

// Writes zeros over [from, segment_bytes) and syncs, so that later writes need no space and no metadata.
// `stop` ends it early with kClosed. A crash leaves a file without a header, which the next open prepares
// again.
Status fillWithZeros(os::File& file, uint64_t from, uint64_t segment_bytes, const std::atomic<bool>& stop);

enum class SegmentState : uint8_t { kFree, kTaken, kPrepared, kActive, kSealed };

// Owned by SegmentPool, whose mutex guards state, sequence and in_checkpoint. Any thread may read and count.
struct Segment {
  Segment(uint32_t index_of_file, uint64_t number_of_file, std::unique_ptr<OpenFiles::Lent> file_of_segment)
      : index(index_of_file), number(number_of_file), file(std::move(file_of_segment)) {}
  ~Segment() { std::unique_ptr<os::Mapping>(mapping.load(std::memory_order_relaxed)).reset(); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  const uint32_t index;
  const uint64_t number;                        // Directory::numberOf
  const std::unique_ptr<OpenFiles::Lent> file;  // the janitor's; while it is held, the committer's too
  // Mappings (M1) owns these three.
  std::atomic<os::Mapping*> mapping{nullptr};
  std::atomic<uint32_t> readers{0};
  std::atomic<bool> read_lately{false};
  // Bytes of live messages and pins, apart from what readers write: the committer writes it with each message, which
  // would keep those waiting who read. Relaxed: the janitor acts on zero only for sealed segments, where it
  // never rises again, and orders itself behind the releases by the pool's mutex or the next look.
  alignas(64) std::atomic<int64_t> live{0};
  std::atomic<bool> sealed{false};  // state == kSealed, for those without the mutex
  SegmentState state = SegmentState::kFree;
  uint64_t sequence = 0;
  bool in_checkpoint = false;  // the newest durable checkpoint's table names it
};

// Finds a segment by its file index without a lock. Any thread may look; one thread at a time changes it.
class SegmentIndex {
 public:
  SegmentIndex() = default;
  ~SegmentIndex();
  SegmentIndex(const SegmentIndex&) = delete;
  SegmentIndex& operator=(const SegmentIndex&) = delete;
  Segment* find(uint64_t index) const;
  void set(uint32_t index, Segment* segment);

 private:
  static constexpr uint32_t kPerChunk = 256;
  using Chunk = std::array<std::atomic<Segment*>, kPerChunk>;
  std::array<std::atomic<Chunk*>, kSegmentsMax / kPerChunk> chunks_{};
};

}  // namespace millrace::log
