#include "log/checkpoint.h"

#include <algorithm>

#include "log/open_files.h"

namespace millrace::log {
namespace {

constexpr uint64_t kMagic = 0x504B43454843524D;  // "MRCHECKP"
constexpr size_t kCrcAt = 100;
constexpr size_t kEntryBytes = 16;
constexpr size_t kPieceBytes = 256 << 10;
constexpr uint64_t kInitialBytes = 64 << 10;

// Reads [from, from + bytes) in pieces; `each` gets them in order.
Status readPieces(os::File& file, uint64_t from, uint64_t bytes,
                  const std::function<Status(Bytes piece, uint64_t at, bool last)>& each) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(bytes, kPieceBytes)));
  for (uint64_t at = 0; at < bytes;) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(buffer.size(), bytes - at));
    const MutableBytes piece = MutableBytes(buffer).first(count);
    MILLRACE_RETURN_IF_ERROR(file.read(from + at, piece));
    MILLRACE_RETURN_IF_ERROR(each(piece, from + at, at + count == bytes));
    at += count;
  }
  return Status();
}

std::vector<std::byte> encodeTable(const std::vector<SegmentEntry>& table) {
  std::vector<std::byte> bytes(table.size() * kEntryBytes);
  for (size_t i = 0; i < table.size(); ++i) {
    store(bytes.data() + i * kEntryBytes, table[i].index);
    store(bytes.data() + i * kEntryBytes + 8, table[i].sequence);
  }
  return bytes;
}

// Grows the file with zeros: space that a later checkpoint will not have to find.
Status growFile(os::File& file, uint64_t from, uint64_t to) {
  const std::vector<std::byte> zeros(kPieceBytes);
  while (from < to) {
    const uint64_t bytes = std::min<uint64_t>(zeros.size(), to - from);
    MILLRACE_RETURN_IF_ERROR(file.write(from, Bytes(zeros).first(static_cast<size_t>(bytes))));
    from += bytes;
  }
  return Status();
}

bool isPlausible(const CheckpointHeader& header, uint64_t file_bytes, uint64_t segment_bytes) {
  const Position& at = header.position;
  return header.table_entries <= kSegmentsMax && header.snapshot_bytes <= file_bytes &&
         header.fileBytes() <= file_bytes && at.segment_index < kSegmentsMax && at.offset >= kPageBytes &&
         at.offset <= segment_bytes && at.offset % kPageBytes == 0 && at.commit_sequence > 0 &&
         at.commit_sequence <= kCounterMax && at.epoch <= kCounterMax && at.segment_sequence <= kCounterMax &&
         header.serial <= kCounterMax;
}

// Empty when the file holds no valid checkpoint; an error when it cannot be read.
Result<std::optional<FoundCheckpoint>> readCheckpoint(os::Directory& directory, size_t slot,
                                                      const StoreId& id, uint64_t segment_bytes) {
  using Found = std::optional<FoundCheckpoint>;
  if (!directory.exists(kCheckpointNames[slot])) return Found();
  auto file = directory.open(kCheckpointNames[slot]);
  if (!file.ok()) return file.status();
  const auto size = file.value()->size();
  if (!size.ok()) return size.status();
  if (size.value() < kPageBytes) return Found();
  std::array<std::byte, CheckpointHeader::kBytes> bytes;
  MILLRACE_RETURN_IF_ERROR(file.value()->read(0, bytes));
  const auto header = CheckpointHeader::decode(id, bytes);
  if (!header || !isPlausible(*header, size.value(), segment_bytes)) return Found();

  uint32_t crc = crc32c(id);
  const auto extend = [&](Bytes piece, uint64_t, bool) {
    crc = crc32c(piece, crc);
    return Status();
  };
  MILLRACE_RETURN_IF_ERROR(readPieces(*file.value(), kPageBytes, header->snapshot_bytes, extend));
  if (crc != header->snapshot_crc) return Found();
  std::vector<std::byte> table(header->table_entries * kEntryBytes);
  MILLRACE_RETURN_IF_ERROR(file.value()->read(kPageBytes + header->snapshot_bytes, table));
  if (saltedCrc(id, table) != header->table_crc) return Found();

  FoundCheckpoint found;
  found.header = *header;
  found.slot = slot;
  found.file = file.take();
  for (size_t at = 0; at < table.size(); at += kEntryBytes) {
    found.table.push_back({load<uint32_t>(&table[at]), load<uint64_t>(&table[at + 8])});
  }
  return Found(std::move(found));
}

// Collects what the owner streams and writes it in pieces behind the header page.
class PieceWriter final : public SnapshotWriter {
 public:
  PieceWriter(os::File& file, const StoreId& id) : file_(file), crc_(crc32c(id)) {
    pending_.reserve(kPieceBytes);
  }
  Status append(Bytes piece) override {
    crc_ = crc32c(piece, crc_);
    bytes_ += piece.size();
    while (!piece.empty()) {
      const size_t count = std::min(piece.size(), kPieceBytes - pending_.size());
      pending_.insert(pending_.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(count));
      piece = piece.subspan(count);
      if (pending_.size() == kPieceBytes) MILLRACE_RETURN_IF_ERROR(flush());
    }
    return Status();
  }
  Status flush() {
    if (pending_.empty()) return Status();
    MILLRACE_RETURN_IF_ERROR(file_.write(at_, pending_));
    at_ += pending_.size();
    pending_.clear();
    return Status();
  }
  uint32_t crc() const { return crc_; }
  uint64_t bytes() const { return bytes_; }

 private:
  os::File& file_;
  uint32_t crc_;
  uint64_t bytes_ = 0;
  uint64_t at_ = kPageBytes;
  std::vector<std::byte> pending_;
};

Status writeHeader(os::File& file, const StoreId& id, const CheckpointHeader& header) {
  std::array<std::byte, kPageBytes> page{};
  header.encode(id, page.data());
  return file.write(0, page);
}

}  // namespace

uint64_t CheckpointHeader::fileBytes() const {
  return kPageBytes + snapshot_bytes + uint64_t{table_entries} * kEntryBytes;
}

void CheckpointHeader::encode(const StoreId& id, std::byte* to) const {
  store(to, kMagic);
  store(to + 8, kFormatVersion);
  store(to + 12, table_entries);
  std::copy(id.begin(), id.end(), to + 16);
  store(to + 32, serial);
  store(to + 40, snapshot_bytes);
  store(to + 48, position.segment_sequence);
  store(to + 56, position.offset);
  store(to + 64, position.commit_sequence);
  store(to + 72, position.epoch);
  store(to + 80, position.segment_index);
  store(to + 84, position.chain_crc);
  store(to + 88, snapshot_crc);
  store(to + 92, table_crc);
  store(to + 96, uint32_t{0});
  store(to + kCrcAt, saltedCrc(id, {to, kCrcAt}));
}

std::optional<CheckpointHeader> CheckpointHeader::decode(const StoreId& id, Bytes from) {
  const std::byte* at = from.data();
  if (from.size() < kBytes || load<uint64_t>(at) != kMagic || load<uint32_t>(at + 8) != kFormatVersion ||
      load<uint32_t>(at + kCrcAt) != saltedCrc(id, from.first(kCrcAt))) {
    return std::nullopt;
  }
  CheckpointHeader header;
  header.table_entries = load<uint32_t>(at + 12);
  header.serial = load<uint64_t>(at + 32);
  header.snapshot_bytes = load<uint64_t>(at + 40);
  header.position.segment_sequence = load<uint64_t>(at + 48);
  header.position.offset = load<uint64_t>(at + 56);
  header.position.commit_sequence = load<uint64_t>(at + 64);
  header.position.epoch = load<uint64_t>(at + 72);
  header.position.segment_index = load<uint32_t>(at + 80);
  header.position.chain_crc = load<uint32_t>(at + 84);
  header.snapshot_crc = load<uint32_t>(at + 88);
  header.table_crc = load<uint32_t>(at + 92);
  return header;
}

Result<FoundCheckpoint> findCheckpoint(os::Directory& directory, const StoreId& id, uint64_t segment_bytes) {
  std::optional<FoundCheckpoint> best;
  for (size_t slot = 0; slot < kCheckpointNames.size(); ++slot) {
    auto found = readCheckpoint(directory, slot, id, segment_bytes);
    if (!found.ok()) return found.status();
    if (!found.value()) continue;
    if (!best || found.value()->header.serial > best->header.serial) best = found.take();
  }
  if (!best) return corruptAt(kCheckpointNames[0], 0, "neither checkpoint is valid");
  return std::move(*best);
}

Status replaySnapshot(const FoundCheckpoint& checkpoint, uint64_t segment_bytes, RecoverySink& sink) {
  static_assert(kSnapshotAt == kPageBytes);
  const SnapshotSource source{kCheckpointNames[checkpoint.slot], segment_bytes};
  return readPieces(*checkpoint.file, kPageBytes, checkpoint.header.snapshot_bytes,
                    [&](Bytes piece, uint64_t, bool last) { return sink.onSnapshot(piece, last, source); });
}

Status hardenCheckpoint(const FoundCheckpoint& checkpoint) {
  const auto rewrite = [&](Bytes piece, uint64_t at, bool) { return checkpoint.file->write(at, piece); };
  MILLRACE_RETURN_IF_ERROR(readPieces(*checkpoint.file, 0, checkpoint.header.fileBytes(), rewrite));
  return checkpoint.file->sync();
}

Status createCheckpoints(os::Directory& directory, const StoreId& id, const SegmentEntry& first) {
  CheckpointHeader header;
  header.serial = 1;
  header.position.segment_index = first.index;
  header.position.segment_sequence = first.sequence;
  const std::vector<std::byte> table = encodeTable({first});
  header.snapshot_crc = crc32c(id);
  header.table_entries = 1;
  header.table_crc = saltedCrc(id, table);
  for (size_t slot = 0; slot < kCheckpointNames.size(); ++slot) {
    auto file = directory.create(kCheckpointNames[slot]);
    if (!file.ok()) return file.status();
    MILLRACE_RETURN_IF_ERROR(growFile(*file.value(), 0, kInitialBytes));
    if (slot == 0) {
      MILLRACE_RETURN_IF_ERROR(file.value()->write(kPageBytes, table));
      MILLRACE_RETURN_IF_ERROR(writeHeader(*file.value(), id, header));
    }
    MILLRACE_RETURN_IF_ERROR(file.value()->sync());
  }
  return Status();
}

Status Checkpointer::open() {
  for (size_t slot = 0; slot < files_.size(); ++slot) {
    const char* name = kCheckpointNames[slot];
    const bool missing = !directory_.exists(name);  // removed by somebody: only ever the older one
    auto file = missing ? directory_.create(name) : directory_.open(name);
    if (!file.ok()) return file.status();
    if (missing) MILLRACE_RETURN_IF_ERROR(directory_.sync());
    files_[slot] = file.take();
  }
  return Status();
}

Status Checkpointer::checkFiles() const {
  for (size_t slot = 0; slot < files_.size(); ++slot) {
    MILLRACE_RETURN_IF_ERROR(checkNamed(directory_, kCheckpointNames[slot], *files_[slot]));
  }
  return Status();
}

Status Checkpointer::write(const Position& position, const std::function<Status(SnapshotWriter&)>& snapshot,
                           const std::function<Result<std::vector<SegmentEntry>>()>& finish) {
  const size_t slot = 1 - slot_;
  os::File& file = *files_[slot];
  PieceWriter writer(file, id_);
  // A crash from here to the sync leaves this file torn or complete. Torn, its CRCs do not hold and the other
  // one is used; nothing that the other one needs has been freed.
  MILLRACE_RETURN_IF_ERROR(snapshot(writer));
  MILLRACE_RETURN_IF_ERROR(writer.flush());
  auto entries = finish();
  if (!entries.ok()) return entries.status();
  const std::vector<std::byte> table = encodeTable(entries.value());
  CheckpointHeader header;
  header.serial = serial_ + 1;
  header.position = position;
  header.snapshot_bytes = writer.bytes();
  header.snapshot_crc = writer.crc();
  header.table_entries = static_cast<uint32_t>(entries.value().size());
  header.table_crc = saltedCrc(id_, table);
  MILLRACE_RETURN_IF_ERROR(file.write(kPageBytes + writer.bytes(), table));
  MILLRACE_RETURN_IF_ERROR(writeHeader(file, id_, header));
  MILLRACE_RETURN_IF_ERROR(file.sync());
  // A crash after the sync leaves this checkpoint as the newest one.
  serial_ = header.serial;
  slot_ = slot;
  const Status room = keepRoom(header.fileBytes());
  return room.isPassing() ? Status() : room;
}

// The zeros lie behind what either file says it holds: a crash leaves both valid.
Status Checkpointer::keepRoom(uint64_t file_bytes) {
  const uint64_t wanted = alignUp(2 * file_bytes, kInitialBytes);
  for (const auto& file : files_) {
    const auto size = file->size();
    if (!size.ok()) return size.status();
    if (size.value() >= file_bytes + file_bytes / 2 && size.value() >= kInitialBytes) continue;
    MILLRACE_RETURN_IF_ERROR(growFile(*file, size.value(), wanted));
    MILLRACE_RETURN_IF_ERROR(file->sync());
  }
  return Status();
}

}  // namespace millrace::log
