// The checkpoint files: reading, choosing and writing them. FORMAT.md: "Checkpoints".
//
// Invariants
//  C1 A checkpoint is written over the older of the two files only: the newest durable one is never touched.
//  C2 Nothing is freed on a checkpoint's account before its sync returned.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "log/format.h"
#include "log/log.h"
#include "os/file.h"

namespace millrace::log {

struct SegmentEntry {
  uint32_t index;
  uint64_t sequence;
};

struct CheckpointHeader {
  static constexpr size_t kBytes = 104;
  uint64_t serial = 0;
  Position position;
  uint64_t snapshot_bytes = 0;
  uint32_t snapshot_crc = 0;
  uint32_t table_entries = 0;
  uint32_t table_crc = 0;

  uint64_t fileBytes() const;  // header page, snapshot and table
  void encode(const StoreId& id, std::byte* to) const;
  // Empty if damaged, of another store or version. Its lengths may still be anything.
  static std::optional<CheckpointHeader> decode(const StoreId& id, Bytes from);
};

// A checkpoint that was read and checked as a whole.
struct FoundCheckpoint {
  CheckpointHeader header;
  size_t slot = 0;  // index into kCheckpointNames
  std::unique_ptr<os::File> file;
  std::vector<SegmentEntry> table;
};

// The valid checkpoint with the highest serial. kCorrupt when there is none.
Result<FoundCheckpoint> findCheckpoint(os::Directory& directory, const StoreId& id, uint64_t segment_bytes);
// Hands the snapshot to the sink; nothing if it is empty.
Status replaySnapshot(const FoundCheckpoint& checkpoint, uint64_t segment_bytes, RecoverySink& sink);
// Writes the whole file again, byte for byte, and syncs it. FORMAT.md: "Hardening".
Status hardenCheckpoint(const FoundCheckpoint& checkpoint);

// The first checkpoint of a new store: position at the start, nothing in it. Creates both files.
Status createCheckpoints(os::Directory& directory, const StoreId& id, const SegmentEntry& first);

// Janitor thread (and open). Knows which file is next.
class Checkpointer {
 public:
  Checkpointer(os::Directory& directory, const StoreId& id, uint64_t serial, size_t slot)
      : directory_(directory), id_(id), serial_(serial), slot_(slot) {}

  // Opens both files, before anything else: a checkpoint needs no descriptor.
  Status open();
  // kIo unless both are still the files of their names.
  Status checkFiles() const;

  // Writes and syncs the next checkpoint. `snapshot` streams the state; `finish` runs after it and before the
  // sync: it makes the log durable as far as the state may have seen it, and gives the table. An error that
  // is passing: the file had to grow and could not, say; the newest checkpoint is unharmed and the next
  // attempt uses this file again.
  Status write(const Position& position, const std::function<Status(SnapshotWriter&)>& snapshot,
               const std::function<Result<std::vector<SegmentEntry>>()>& finish);

 private:
  Status keepRoom(uint64_t file_bytes);

  os::Directory& directory_;
  const StoreId id_;
  uint64_t serial_;  // of the newest durable checkpoint
  size_t slot_;      // the file it is in
  std::array<std::unique_ptr<os::File>, 2> files_;
};

}  // namespace millrace::log
