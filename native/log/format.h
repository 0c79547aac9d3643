// What all files of a store share; FORMAT.md has the tables.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "log/record.h"

namespace millrace::log {

constexpr uint32_t kFormatVersion = 1;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kSegmentBytesMin = 256ull << 10;
constexpr uint64_t kSegmentBytesMax = 1ull << 30;
// At most so many segments stand prepared behind the active one, so the one that lies further back than that
// from the newest was opened.
constexpr uint32_t kPreparedAheadMax = 3;
constexpr uint32_t kSegmentsMax = 65536;  // file indices are 16 bits of a ref
// Counters of a file (sequences, serials, epochs) above this are damage: no run of a store gets there, and
// one more must never wrap.
constexpr uint64_t kCounterMax = 1ull << 62;

using StoreId = std::array<std::byte, 16>;

inline uint32_t saltedCrc(const StoreId& id, Bytes data) { return crc32c(data, crc32c(id)); }

inline Ref makeRef(uint32_t index, uint64_t offset) { return static_cast<Ref>(index) << 32 | offset / 8; }
inline uint64_t segmentIndexOf(Ref ref) { return ref >> 32; }
inline uint64_t offsetOf(Ref ref) { return (ref & 0xffffffffu) * 8; }

// Where the next block goes and what it must continue.
struct Position {
  uint64_t segment_sequence = 0;
  uint32_t segment_index = 0;
  uint64_t offset = kPageBytes;  // or the start of the next segment, if the block does not fit here
  uint64_t commit_sequence = 1;
  uint32_t chain_crc = 0;  // header CRC of the block before
  uint64_t epoch = 0;      // of the block before
};

constexpr const char* kStoreName = "store";
constexpr const char* kStoreDraftName = "store.new";
constexpr const char* kJournalName = "deliveries";
constexpr const char* kWitnessName = "witness";
constexpr std::array<const char*, 2> kCheckpointNames = {"checkpoint-a", "checkpoint-b"};
std::string segmentName(uint32_t index);
// Empty unless `name` is exactly what segmentName() gives for some index.
std::optional<uint32_t> parseSegmentName(const std::string& name);

// "file:offset" in bytes, and the error that names it and says what to do.
std::string placeOf(const std::string& name, uint64_t offset);
Status corruptAt(const std::string& name, uint64_t offset, const std::string& what);

}  // namespace millrace::log
