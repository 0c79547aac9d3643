#include "log/journal.h"

#include <algorithm>
#include <array>
#include <vector>

namespace millrace::log {
namespace {

constexpr size_t kCrcAt = 28;
constexpr uint64_t kFileBytes = Journal::kEntries * Journal::kEntryBytes;
static_assert(kFileBytes % kPageBytes == 0);

}  // namespace

Status createJournal(os::Directory& directory) {
  auto file = directory.create(kJournalName);
  if (!file.ok()) return file.status();
  MILLRACE_RETURN_IF_ERROR(file.value()->write(0, std::vector<std::byte>(kFileBytes)));
  return file.value()->sync();  // the one sync of its life: its space is there when the disk is full
}

void Journal::encodeEntry(const StoreId& id, const DeliverRecord& delivered, std::byte* to) {
  store(to, delivered.queue);
  store(to + 4, delivered.count);
  store(to + 8, delivered.first);
  store(to + 16, delivered.delivery_count);
  store(to + 20, uint64_t{0});
  store(to + kCrcAt, saltedCrc(id, {to, kCrcAt}));
}

std::optional<DeliverRecord> Journal::decodeEntry(const StoreId& id, Bytes from) {
  const std::byte* at = from.data();
  if (from.size() < kEntryBytes || load<uint32_t>(at + kCrcAt) != saltedCrc(id, from.first(kCrcAt))) {
    return std::nullopt;
  }
  DeliverRecord delivered{load<uint32_t>(at), load<uint32_t>(at + 4), load<uint64_t>(at + 8),
                          load<uint32_t>(at + 16)};
  if (delivered.count == 0) return std::nullopt;
  return delivered;
}

Result<std::unique_ptr<Journal>> Journal::open(os::Directory& directory, const StoreId& id,
                                               RecoverySink& sink) {
  if (!directory.exists(kJournalName)) {
    MILLRACE_RETURN_IF_ERROR(createJournal(directory));
    MILLRACE_RETURN_IF_ERROR(directory.sync());
  }
  auto file = directory.open(kJournalName);
  if (!file.ok()) return file.status();
  const auto size = file.value()->size();
  if (!size.ok()) return size.status();
  if (size.value() < kFileBytes) {
    const std::vector<std::byte> zeros(static_cast<size_t>(kFileBytes - size.value()));
    MILLRACE_RETURN_IF_ERROR(file.value()->write(size.value(), zeros));
  }
  std::vector<std::byte> entries(kFileBytes);
  MILLRACE_RETURN_IF_ERROR(file.value()->read(0, entries));
  bool had_entries = false;
  for (uint64_t slot = 0; slot < kEntries; ++slot) {
    const auto delivered = decodeEntry(id, Bytes(entries).subspan(slot * kEntryBytes, kEntryBytes));
    if (!delivered) continue;
    sink.onJournal(*delivered);
    had_entries = true;
  }
  return std::make_unique<Journal>(file.take(), id, had_entries);
}

Journal::Journal(std::unique_ptr<os::File> file, const StoreId& id, bool had_entries)
    : file_(std::move(file)),
      id_(id),
      has_stale_(had_entries),
      done_(std::make_unique<std::atomic<uint64_t>[]>(kEntries)) {}

bool Journal::hasRoom() const {
  if (claimed_ < kEntries) return true;
  const uint64_t earlier = claimed_ - kEntries;  // the entry that has the slot
  // J1 both acquire: pair with covered() and with the end of write().
  return covered_.load(std::memory_order_acquire) > earlier &&
         done_[claimed_ % kEntries].load(std::memory_order_acquire) == earlier + 1;
}

uint64_t Journal::claim() { return claimed_++; }

Status Journal::write(uint64_t entry, const DeliverRecord& delivered) {
  const uint64_t slot = entry % kEntries;
  std::array<std::byte, kEntryBytes> bytes;
  encodeEntry(id_, delivered, bytes.data());
  const Status written = file_->write(slot * kEntryBytes, bytes);
  done_[slot].store(entry + 1, std::memory_order_release);  // J1
  return written;
}

Status Journal::eraseStale(uint64_t page) {
  constexpr uint64_t kPerPage = kPageBytes / kEntryBytes;
  // Below claimed_ the slots are this session's own.
  const uint64_t first = std::max(page * kPerPage, claimed_);
  if (first >= (page + 1) * kPerPage) return Status();
  const std::array<std::byte, kPageBytes> zeros{};
  const uint64_t bytes = ((page + 1) * kPerPage - first) * kEntryBytes;
  return file_->write(first * kEntryBytes, Bytes(zeros).first(static_cast<size_t>(bytes)));
}

}  // namespace millrace::log
