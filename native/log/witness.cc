#include "log/witness.h"

#include <vector>

namespace millrace::log {
namespace {

constexpr uint64_t kMagic = 0x53454E544957524D;  // "MRWITNES"
constexpr size_t kCrcAt = 60;

Status unlessPassing(const Status& status) { return status.isPassing() ? Status() : status; }

}  // namespace

void Word::encode(const StoreId& id, std::byte* to) const {
  store(to, kMagic);
  store(to + 8, kFormatVersion);
  store(to + 12, segment_index);
  store(to + 16, segment_sequence);
  store(to + 24, offset);
  store(to + 32, written_through);
  store(to + 40, synced_through);
  store(to + 48, epoch);
  store(to + 56, uint32_t{0});
  store(to + kCrcAt, saltedCrc(id, {to, kCrcAt}));
}

std::optional<Word> Word::decode(const StoreId& id, Bytes from) {
  const std::byte* at = from.data();
  if (from.size() < kBytes || load<uint64_t>(at) != kMagic || load<uint32_t>(at + 8) != kFormatVersion ||
      load<uint32_t>(at + kCrcAt) != saltedCrc(id, from.first(kCrcAt))) {
    return std::nullopt;
  }
  Word word;
  word.segment_index = load<uint32_t>(at + 12);
  word.segment_sequence = load<uint64_t>(at + 16);
  word.offset = load<uint64_t>(at + 24);
  word.written_through = load<uint64_t>(at + 32);
  word.synced_through = load<uint64_t>(at + 40);
  word.epoch = load<uint64_t>(at + 48);
  return word;
}

Result<std::optional<Word>> readWord(os::Directory& directory, const StoreId& id) {
  using Found = std::optional<Word>;
  if (!directory.exists(kWitnessName)) return Found();
  auto file = directory.open(kWitnessName);
  if (!file.ok()) return file.status();
  const auto size = file.value()->size();
  if (!size.ok()) return size.status();
  if (size.value() < Word::kBytes) return Found();
  std::array<std::byte, Word::kBytes> bytes;
  MILLRACE_RETURN_IF_ERROR(file.value()->read(0, bytes));
  return Word::decode(id, bytes);
}

// A whole page at once: no later word needs space.
Status createWitness(os::Directory& directory) {
  auto file = directory.create(kWitnessName);
  if (!file.ok()) return file.status();
  MILLRACE_RETURN_IF_ERROR(file.value()->write(0, std::vector<std::byte>(kPageBytes)));
  return file.value()->sync();
}

Result<std::unique_ptr<Witness>> Witness::open(os::Directory& directory, const StoreId& id,
                                               const Word& word) {
  const auto none = [&] { return std::make_unique<Witness>(nullptr, id); };
  if (!directory.exists(kWitnessName)) {
    const Status created = createWitness(directory);
    if (created.code() == Code::kDiskFull) {
      // A leftover would be in the way of nothing: it holds no word, and is used by the next open.
      return none();
    }
    MILLRACE_RETURN_IF_ERROR(created);
    MILLRACE_RETURN_IF_ERROR(directory.sync());
  }
  auto file = directory.open(kWitnessName);
  if (!file.ok()) return file.status();
  auto witness = std::make_unique<Witness>(file.take(), id);
  MILLRACE_RETURN_IF_ERROR(witness->note(word));
  MILLRACE_RETURN_IF_ERROR(witness->sync());
  return witness;
}

Status Witness::note(const Word& word) {
  if (file_ == nullptr) return Status();
  std::array<std::byte, Word::kBytes> bytes;
  word.encode(id_, bytes.data());
  return unlessPassing(file_->write(0, bytes));
}

Status Witness::sync() { return file_ == nullptr ? Status() : file_->sync(); }

}  // namespace millrace::log
