#include "log/journal.h"

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
  std::vector<std::byte> bytes(kFileBytes);
  MILLRACE_RETURN_IF_ERROR(file.value()->read(0, bytes));
  std::vector<DeliverRecord> entries;
  std::vector<uint64_t> slots;
  for (uint64_t slot = 0; slot < kEntries; ++slot) {
    const auto delivered = decodeEntry(id, Bytes(bytes).subspan(slot * kEntryBytes, kEntryBytes));
    if (!delivered) continue;
    entries.push_back(*delivered);
    slots.push_back(slot);
  }
  const std::vector<bool> needed = sink.onJournal(entries);
  auto journal = std::make_unique<Journal>(file.take(), id);
  journal->has_stale_ = !entries.empty();
  for (size_t i = 0; i < slots.size(); ++i) journal->kept_[slots[i]] = needed[i];
  return journal;
}

Journal::Journal(std::unique_ptr<os::File> file, const StoreId& id)
    : file_(std::move(file)),
      id_(id),
      kept_(kEntries),
      holder_(kEntries),
      done_(std::make_unique<std::atomic<uint64_t>[]>(kEntries)) {}

bool Journal::hasRoom() {
  for (uint64_t passed = 0; kept_[slot_]; slot_ = (slot_ + 1) % kEntries) {
    if (++passed == kEntries) return false;
  }
  const uint64_t earlier = holder_[slot_];
  // J1 both acquire: pair with covered() and with the end of write().
  return earlier == 0 || (covered_.load(std::memory_order_acquire) >= earlier &&
                          done_[slot_].load(std::memory_order_acquire) == earlier);
}

Journal::Claimed Journal::claim() {
  const Claimed claimed{claimed_++, slot_};
  holder_[slot_] = claimed_;
  slot_ = (slot_ + 1) % kEntries;
  return claimed;
}

Status Journal::write(const Claimed& claimed, const DeliverRecord& delivered) {
  std::array<std::byte, kEntryBytes> bytes;
  encodeEntry(id_, delivered, bytes.data());
  const Status written = file_->write(claimed.slot * kEntryBytes, bytes);
  done_[claimed.slot].store(claimed.entry + 1, std::memory_order_release);  // J1
  return written;
}

Status Journal::eraseStale(uint64_t page) {
  constexpr uint64_t kPerPage = kPageBytes / kEntryBytes;
  const std::array<std::byte, kPageBytes> zeros{};
  const uint64_t end = (page + 1) * kPerPage;
  for (uint64_t slot = page * kPerPage; slot < end;) {
    if (holder_[slot] != 0) {  // this session's own
      ++slot;
      continue;
    }
    const uint64_t first = slot;
    for (; slot < end && holder_[slot] == 0; ++slot) kept_[slot] = false;
    const uint64_t bytes = (slot - first) * kEntryBytes;
    MILLRACE_RETURN_IF_ERROR(
        file_->write(first * kEntryBytes, Bytes(zeros).first(static_cast<size_t>(bytes))));
  }
  return Status();
}

}  // namespace millrace::log
