// The delivery journal: who was handed out, in the page cache before the hand-out. FORMAT.md: "Delivery
// journal".
//
// Invariants
//  J1 A slot is claimed again only after its record's block was written (covered()) and its own write has
//     ended (done_): no two threads ever write one slot at once, and no count that only the journal has is
//     overwritten. What an earlier session left and no record tells is kept until a checkpoint has it:
//     however often the process dies before that, each recovery finds it again.
//  J2 Never synced, never trusted for more than raising a count.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "log/format.h"
#include "log/log.h"
#include "log/open_files.h"
#include "os/file.h"

namespace millrace::log {

Status createJournal(os::Directory& directory);

class Journal {
 public:
  static constexpr uint64_t kEntries = 8192;
  static constexpr size_t kEntryBytes = 32;

  static void encodeEntry(const StoreId& id, const DeliverRecord& delivered, std::byte* to);
  static std::optional<DeliverRecord> decodeEntry(const StoreId& id, Bytes from);

  // Opens the file, making a missing or short one whole, and hands all valid entries to the sink.
  static Result<std::unique_ptr<Journal>> open(os::Directory& directory, const StoreId& id,
                                               RecoverySink& sink);
  Journal(std::unique_ptr<os::File> file, const StoreId& id);

  // The stage's mutex is held for these.
  struct Claimed {
    uint64_t entry = 0;  // numbered from 0 in this session
    uint64_t slot = 0;
  };
  bool hasRoom();   // passes over slots that are kept
  Claimed claim();  // hasRoom() was true
  uint64_t claimed() const { return claimed_; }
  Status eraseStale(uint64_t page);  // entries of earlier sessions in this page of the file

  Status checkFile(os::Directory& directory) const { return checkNamed(directory, kJournalName, *file_); }

  // Any thread, without the mutex.
  Status write(const Claimed& claimed, const DeliverRecord& delivered);
  // Committer: the records of all entries before `entry` are in written blocks.
  void covered(uint64_t entry) { covered_.store(entry, std::memory_order_release); }  // J1 pairs with hasRoom

  bool hasStaleEntries() const { return has_stale_; }  // janitor only, after open
  void forgetStale() { has_stale_ = false; }           // all pages were erased
  static constexpr uint64_t kPages = kEntries * kEntryBytes / kPageBytes;

 private:
  const std::unique_ptr<os::File> file_;
  const StoreId id_;
  bool has_stale_ = false;
  std::vector<bool> kept_;  // by slot: an earlier session's, still needed. The mutex's, as the next three
  std::vector<uint64_t> holder_;  // by slot: 1 + the entry of this session that claimed it last; 0: none did
  uint64_t slot_ = 0;             // to be claimed next, if it may be
  uint64_t claimed_ = 0;          // entries claimed in this session
  std::atomic<uint64_t> covered_{0};
  std::unique_ptr<std::atomic<uint64_t>[]> done_;  // by slot: 1 + the entry whose write ended last
};

}  // namespace millrace::log
