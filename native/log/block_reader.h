// Reads the blocks of one segment file, for recovery and for copying forward.
#pragma once

#include <functional>
#include <vector>

#include "log/block.h"
#include "os/file.h"

namespace millrace::log {

struct Block {
  BlockHeader header;
  uint64_t offset = 0;
  Bytes body;  // valid until the reader's next read
};

class BlockReader {
 public:
  BlockReader(const StoreId& id, uint64_t segment_bytes) : id_(id), segment_bytes_(segment_bytes) {}

  // The whole valid block at `offset`, written under `segment_sequence`; empty if there is none. An error
  // only when the file cannot be read. Allocates at most segment_bytes / 8.
  Result<std::optional<Block>> read(os::File& file, uint64_t file_bytes, uint64_t segment_sequence,
                                    uint64_t offset);

 private:
  const StoreId id_;
  const uint64_t segment_bytes_;
  std::vector<std::byte> buffer_;
};

// Tries every page of [from, file_bytes) as a block header; `each` gets those whose CRC holds.
Status scanHeaders(os::File& file, uint64_t file_bytes, uint64_t from, const StoreId& id,
                   const std::function<void(uint64_t offset, const BlockHeader& header)>& each);

}  // namespace millrace::log
