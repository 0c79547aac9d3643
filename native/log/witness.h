// The file `witness`: how far the log had come, told by another file than the one that it came to. A segment
// whose newest blocks are gone looks like one that never had them; the word in here knows better. FORMAT.md:
// "Witness".
//
// Invariants
//  V1 `synced_through` names a block whose sync had returned when the word was written, so the word stays
//     true for the life of the store: an older one that a power cut brings back says less, never anything
//     wrong.
//  V2 The word is written after its block and synced by the janitor alone, once for each segment that is
//     opened: no commit waits for more than a write to the page cache.
#pragma once

#include <memory>
#include <optional>

#include "log/format.h"
#include "log/open_files.h"
#include "os/file.h"

namespace millrace::log {

struct Word {
  static constexpr size_t kBytes = 64;
  uint64_t segment_sequence = 0;  // of the segment with the newest block
  uint32_t segment_index = 0;
  uint64_t offset = 0;           // behind that block
  uint64_t written_through = 0;  // its commit sequence
  uint64_t synced_through = 0;   // the highest commit sequence known to be synced
  uint64_t epoch = 0;            // of the block

  void encode(const StoreId& id, std::byte* to) const;
  static std::optional<Word> decode(const StoreId& id, Bytes from);
};

// Empty where there is none, or none that holds: a store of an older program, or a file that somebody
// removed.
Result<std::optional<Word>> readWord(os::Directory& directory, const StoreId& id);

Status createWitness(os::Directory& directory);

class Witness {
 public:
  // Makes the file if it is missing and syncs `word`. On a full disk there may be none: then nothing is
  // noted.
  static Result<std::unique_ptr<Witness>> open(os::Directory& directory, const StoreId& id, const Word& word);
  Witness(std::unique_ptr<os::File> file, const StoreId& id) : file_(std::move(file)), id_(id) {}

  // Committer, after each block. A disk without room for a word keeps the one before, which is true (V1).
  Status note(const Word& word);
  // Janitor.
  Status sync();
  Status checkFile(os::Directory& directory) const {
    return file_ == nullptr ? Status() : checkNamed(directory, kWitnessName, *file_);
  }

 private:
  const std::unique_ptr<os::File> file_;
  const StoreId id_;
};

}  // namespace millrace::log
