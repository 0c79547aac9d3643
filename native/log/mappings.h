// Reads records through mappings of the segment files, of which there are only so many: the kernel gives a
// process 65,530, and a backlog may have as many segments.
//
// Invariants
//  M1 A mapping is taken away only when nobody reads through it: a reader counts itself in `readers` before
//     it looks at `mapping`, and whoever takes one away looks at `readers` after it made `mapping` null.
//  M2 At most kMappedMax segments are mapped, and one more for each thread that reads in that moment.
#pragma once

#include <list>

#include "base/mutex.h"
#include "log/segment.h"
#include "os/file.h"

namespace millrace::log {

class Mappings {
 public:
  static constexpr size_t kMappedMax = 256;

  Mappings(os::Directory& directory, uint64_t segment_bytes)
      : directory_(directory), segment_bytes_(segment_bytes) {}
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

  // Any thread. The caller pinned the segment. kLimit: no descriptors or no memory for the moment.
  Status read(Segment& segment, uint64_t offset, MutableBytes out);
  // Nobody reads it any more: the file goes.
  void forget(Segment& segment);

 private:
  Status mapLocked(Segment& segment);
  void unmapOldestLocked();

  os::Directory& directory_;
  const uint64_t segment_bytes_;
  Mutex mutex_{LockRank::kMappings};
  std::list<Segment*> mapped_;  // the one that was mapped last in front
};

}  // namespace millrace::log
