// From the files of a store to the place where the next block goes. FORMAT.md: "Recovery". One thread, before
// any other exists; everything read is input, never an invariant.
#pragma once

#include <memory>
#include <vector>

#include "log/checkpoint.h"
#include "log/format.h"
#include "log/identity.h"
#include "log/log.h"
#include "os/file.h"

namespace millrace::log {

// A segment file as it was found.
struct FoundSegment {
  uint32_t index = 0;
  std::unique_ptr<os::File> file;  // while recovery runs
  uint64_t bytes = 0;              // of the file
  bool prepared = false;  // has a valid header: was filled and synced. Otherwise it must be filled again
  uint64_t sequence = 0;  // 0 when not prepared
};

struct Recovered {
  Identity identity;
  Position tail;       // where the next block goes
  uint64_t epoch = 0;  // of the blocks to come
  uint64_t replayed_bytes = 0;
  CheckpointHeader checkpoint;
  size_t checkpoint_slot = 0;
  std::vector<SegmentEntry> checkpoint_table;
  std::vector<FoundSegment> segments;  // by index
};

// Reads everything and replays it into `sink`, then hardens what it accepted. May be repeated after a crash
// at any point: it only ever writes bytes that are there already, and zeros behind a file that was cut short.
Result<Recovered> recover(os::Directory& directory, const Identity& identity, RecoverySink& sink,
                          RecoveryReport& report);

}  // namespace millrace::log
