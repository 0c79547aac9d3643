// The file `store`: what makes a directory a store. FORMAT.md: "`store`".
#pragma once

#include "log/format.h"
#include "os/file.h"

namespace millrace::log {

struct Identity {
  static constexpr size_t kBytes = 48;
  StoreId id{};
  uint64_t segment_bytes = 0;

  void encode(std::byte* to) const;  // kBytes bytes
  // kIncompatible: not a store, or of another format version. kCorrupt: damaged.
  static Result<Identity> decode(Bytes from);
};

bool isValidSegmentBytes(uint64_t bytes);

Result<Identity> readIdentity(os::Directory& directory);

// Makes an empty store in a directory without `store`. What an interrupted creation left is removed; other
// files under our names are kCorrupt. Afterwards everything is synced.
Result<Identity> createStore(os::Directory& directory, uint64_t segment_bytes);

}  // namespace millrace::log
