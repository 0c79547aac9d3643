// The delivery journal: who was handed out, in the page cache before the hand-out. FORMAT.md: "Delivery
// journal".
//
// Invariants
//  J1 A slot is claimed again only after its record's block was written (covered()) and its own write has
//     ended (done_): no two threads ever write one slot at once, and no count that only the journal has is
//     overwritten.
//  J2 Never synced, never trusted for more than raising a count.
#pragma once

#include <atomic>
#include <memory>

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

  // Opens the file, making a missing or short one whole, and hands every valid entry to the sink.
  static Result<std::unique_ptr<Journal>> open(os::Directory& directory, const StoreId& id,
                                               RecoverySink& sink);
  Journal(std::unique_ptr<os::File> file, const StoreId& id, bool had_entries);

  // The stage's mutex is held for these.
  bool hasRoom() const;
  uint64_t claim();  // hasRoom() was true
  uint64_t claimed() const { return claimed_; }
  Status eraseStale(uint64_t page);  // entries of earlier sessions in this page of the file

  Status checkFile(os::Directory& directory) const { return checkNamed(directory, kJournalName, *file_); }

  // Any thread, without the mutex.
  Status write(uint64_t entry, const DeliverRecord& delivered);
  // Committer: the records of all entries before `entry` are in written blocks.
  void covered(uint64_t entry) { covered_.store(entry, std::memory_order_release); }  // J1 pairs with hasRoom

  bool hasStaleEntries() const { return has_stale_; }  // janitor only, after open
  void forgetStale() { has_stale_ = false; }
  static constexpr uint64_t kPages = kEntries * kEntryBytes / kPageBytes;

 private:
  const std::unique_ptr<os::File> file_;
  const StoreId id_;
  bool has_stale_;
  uint64_t claimed_ = 0;  // entries claimed in this session; entry n lies in slot n % kEntries
  std::atomic<uint64_t> covered_{0};
  std::unique_ptr<std::atomic<uint64_t>[]> done_;  // by slot: 1 + the entry whose write ended last
};

}  // namespace millrace::log
