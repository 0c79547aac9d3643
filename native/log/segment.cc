#include "log/segment.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace millrace::log {
namespace {

constexpr uint64_t kMagic = 0x544E4D474553524D;  // "MRSEGMNT"
constexpr size_t kCrcAt = 52;
constexpr size_t kFillBytes = 1 << 20;

}  // namespace

void SegmentHeader::encode(std::byte* to) const {
  store(to, kMagic);
  store(to + 8, kFormatVersion);
  store(to + 12, index);
  std::copy(id.begin(), id.end(), to + 16);
  store(to + 32, sequence);
  store(to + 40, segment_bytes);
  store(to + 48, uint32_t{0});
  store(to + kCrcAt, saltedCrc(id, {to, kCrcAt}));
}

std::optional<SegmentHeader> SegmentHeader::decode(Bytes from, uint32_t& version) {
  if (from.size() < kBytes || load<uint64_t>(from.data()) != kMagic) return std::nullopt;
  const std::byte* at = from.data();
  SegmentHeader header;
  std::copy_n(at + 16, header.id.size(), header.id.begin());
  if (load<uint32_t>(at + kCrcAt) != saltedCrc(header.id, from.first(kCrcAt))) return std::nullopt;
  version = load<uint32_t>(at + 8);
  header.index = load<uint32_t>(at + 12);
  header.sequence = load<uint64_t>(at + 32);
  header.segment_bytes = load<uint64_t>(at + 40);
  return header;
}

Status writeSegmentHeader(os::File& file, const SegmentHeader& header) {
  std::array<std::byte, kPageBytes> page{};
  header.encode(page.data());
  MILLRACE_RETURN_IF_ERROR(file.write(0, page));
  return file.sync();
}

Status fillWithZeros(os::File& file, uint64_t from, uint64_t segment_bytes, const std::atomic<bool>& stop) {
  const std::vector<std::byte> zeros(static_cast<size_t>(std::min<uint64_t>(kFillBytes, segment_bytes)));
  for (uint64_t at = from; at < segment_bytes;) {
    if (stop.load(std::memory_order_relaxed))
      return Status(Code::kClosed, "closed while preparing a segment");
    const uint64_t bytes = std::min<uint64_t>(zeros.size(), segment_bytes - at);
    MILLRACE_RETURN_IF_ERROR(file.write(at, Bytes(zeros).first(static_cast<size_t>(bytes))));
    at += bytes;
  }
  return file.sync();
}

SegmentIndex::~SegmentIndex() {
  for (auto& chunk : chunks_) std::unique_ptr<Chunk>(chunk.load(std::memory_order_relaxed)).reset();
}

Segment* SegmentIndex::find(uint64_t index) const {
  if (index >= kSegmentsMax) return nullptr;
  // I1 acquire: pairs with the release stores of set().
  const Chunk* chunk = chunks_[static_cast<size_t>(index / kPerChunk)].load(std::memory_order_acquire);
  if (chunk == nullptr) return nullptr;
  return (*chunk)[static_cast<size_t>(index % kPerChunk)].load(std::memory_order_acquire);
}

void SegmentIndex::set(uint32_t index, Segment* segment) {
  MILLRACE_CHECK(index < kSegmentsMax);
  std::atomic<Chunk*>& slot = chunks_[index / kPerChunk];
  Chunk* chunk = slot.load(std::memory_order_relaxed);
  if (chunk == nullptr) {
    chunk = std::make_unique<Chunk>().release();
    slot.store(chunk, std::memory_order_release);  // I1
  }
  (*chunk)[index % kPerChunk].store(segment, std::memory_order_release);  // I1
}

}  // namespace millrace::log
