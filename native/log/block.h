// The header of a commit block, the unit of recovery. FORMAT.md: "Commit blocks".
#pragma once

#include <optional>

#include "log/format.h"

namespace millrace::log {

struct BlockHeader {
  static constexpr size_t kBytes = 64;

  uint64_t segment_sequence = 0;
  uint64_t commit_sequence = 0;
  uint64_t epoch = 0;
  uint64_t synced_through = 0;
  uint32_t body_bytes = 0;
  uint32_t units = 0;
  uint32_t previous_crc = 0;
  uint32_t body_crc = 0;
  uint32_t crc = 0;  // of this header: what the next block names. Set by encode() and decode()

  // Header, body and padding.
  uint64_t blockBytes() const { return alignUp(kBytes + static_cast<uint64_t>(body_bytes), kPageBytes); }

  // Writes kBytes bytes.
  void encode(const StoreId& id, std::byte* to);
  // Empty unless `from` starts with a header of this store and format whose CRC holds. `body_bytes` may still
  // be anything: the caller checks it against the segment.
  static std::optional<BlockHeader> decode(const StoreId& id, Bytes from);
  // Could bytes of a header that was damaged: the magic is there.
  static bool looksLike(Bytes from);
};

// May `next` follow a block that left the log at `at`?
bool continues(const Position& at, const BlockHeader& next);

}  // namespace millrace::log
