#include "log/identity.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <random>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "log/checkpoint.h"
#include "log/journal.h"
#include "log/segment.h"
#include "log/witness.h"

namespace millrace::log {
namespace {

constexpr uint64_t kMagic = 0x454341524C4C494D;  // "MILLRACE"
constexpr size_t kVersionCrcAt = 12;
constexpr size_t kCrcAt = 44;

StoreId randomId() {
  std::random_device device;
  StoreId id;
  for (size_t at = 0; at < id.size(); at += 4) store(id.data() + at, static_cast<uint32_t>(device()));
  store(id.data(), load<uint64_t>(id.data()) ^ wallMs() << 20 ^ monotonicNs());
  return id;
}

bool isOurs(const std::string& name) {
  return name == kJournalName || name == kWitnessName || name == kCheckpointNames[0] ||
         name == kCheckpointNames[1] || parseSegmentName(name).has_value();
}

// The draft is there from the first step of a creation to its last: files beside it were never promised to
// anybody. It goes last, so that this can be interrupted too. Without it they are somebody's data.
Status removeUnfinished(os::Directory& directory) {
  const auto names = directory.list();
  if (!names.ok()) return names.status();
  const bool unfinished = directory.exists(kStoreDraftName);
  for (const std::string& name : names.value()) {
    if (!isOurs(name)) continue;
    if (!unfinished) {
      return corruptAt(name, 0, "the file `store`, without which this one means nothing, is missing");
    }
    MILLRACE_RETURN_IF_ERROR(directory.remove(name));
  }
  if (!unfinished) return Status();
  MILLRACE_RETURN_IF_ERROR(directory.sync());
  MILLRACE_RETURN_IF_ERROR(directory.remove(kStoreDraftName));
  return directory.sync();
}

Status createSegment(os::Directory& directory, const Identity& identity, const SegmentEntry& entry) {
  auto file = directory.create(segmentName(entry.index));
  if (!file.ok()) return file.status();
  const std::atomic<bool> never{false};
  MILLRACE_RETURN_IF_ERROR(fillWithZeros(*file.value(), 0, identity.segment_bytes, never));
  return writeSegmentHeader(*file.value(),
                            {entry.index, identity.id, entry.sequence, identity.segment_bytes});
}

Status createFiles(os::Directory& directory, const Identity& identity) {
  auto draft = directory.create(kStoreDraftName);
  if (!draft.ok()) return draft.status();
  MILLRACE_RETURN_IF_ERROR(directory.sync());
  // A crash from here to the rename leaves the draft and some of the files: the next open removes them and
  // starts again.
  const SegmentEntry first{0, 1};
  MILLRACE_RETURN_IF_ERROR(createSegment(directory, identity, first));
  MILLRACE_RETURN_IF_ERROR(createCheckpoints(directory, identity.id, first));
  MILLRACE_RETURN_IF_ERROR(createJournal(directory));
  MILLRACE_RETURN_IF_ERROR(createWitness(directory));
  std::array<std::byte, kPageBytes> page{};
  identity.encode(page.data());
  MILLRACE_RETURN_IF_ERROR(draft.value()->write(0, page));
  MILLRACE_RETURN_IF_ERROR(draft.value()->sync());
  // Before the rename, because a file system may keep a later change of the directory and lose an earlier
  // one.
  MILLRACE_RETURN_IF_ERROR(directory.sync());
  MILLRACE_RETURN_IF_ERROR(directory.rename(kStoreDraftName, kStoreName));
  // A crash before this sync leaves either the draft (as above) or a complete store with nothing in it.
  return directory.sync();
}

}  // namespace

bool isValidSegmentBytes(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kSegmentBytesMin && bytes <= kSegmentBytesMax;
}

void Identity::encode(std::byte* to) const {
  store(to, kMagic);
  store(to + 8, kFormatVersion);
  store(to + kVersionCrcAt, crc32c({to, kVersionCrcAt}));
  std::copy(id.begin(), id.end(), to + 16);
  store(to + 32, segment_bytes);
  store(to + 40, uint32_t{0});
  store(to + kCrcAt, saltedCrc(id, {to, kCrcAt}));
}

Result<Identity> Identity::decode(Bytes from) {
  if (from.size() < 16) return corruptAt(kStoreName, 0, "the file is too short");
  const std::byte* at = from.data();
  const bool version_holds = load<uint32_t>(at + kVersionCrcAt) == crc32c(from.first(kVersionCrcAt));
  if (!version_holds) {
    if (load<uint64_t>(at) == kMagic) return corruptAt(kStoreName, 0, "the version is damaged");
    return Status(Code::kIncompatible, "store: not a millrace store, or its first bytes are damaged");
  }
  const uint32_t version = load<uint32_t>(at + 8);
  if (load<uint64_t>(at) != kMagic || version != kFormatVersion) {
    return Status(Code::kIncompatible, "store: format version " + std::to_string(version) +
                                           ", this program reads version " + std::to_string(kFormatVersion));
  }
  if (from.size() < kBytes) return corruptAt(kStoreName, 0, "the file is too short");
  Identity identity;
  std::copy_n(at + 16, identity.id.size(), identity.id.begin());
  identity.segment_bytes = load<uint64_t>(at + 32);
  if (load<uint32_t>(at + kCrcAt) != saltedCrc(identity.id, from.first(kCrcAt)) ||
      !isValidSegmentBytes(identity.segment_bytes)) {
    return corruptAt(kStoreName, 0, "the checksum does not hold");
  }
  return identity;
}

Result<Identity> readIdentity(os::Directory& directory) {
  auto file = directory.open(kStoreName);
  if (!file.ok()) return file.status();
  const auto size = file.value()->size();
  if (!size.ok()) return size.status();
  std::array<std::byte, Identity::kBytes> bytes{};
  const MutableBytes head =
      MutableBytes(bytes).first(static_cast<size_t>(std::min<uint64_t>(size.value(), bytes.size())));
  MILLRACE_RETURN_IF_ERROR(file.value()->read(0, head));
  return Identity::decode(head);
}

Result<Identity> createStore(os::Directory& directory, uint64_t segment_bytes) {
  if (!isValidSegmentBytes(segment_bytes)) {
    return Status(Code::kOutOfRange, "segment_bytes must be a power of two from 256 KiB to 1 GiB");
  }
  MILLRACE_RETURN_IF_ERROR(removeUnfinished(directory));
  const Identity identity{randomId(), segment_bytes};
  const Status created = createFiles(directory, identity);
  if (created.ok()) return identity;
  // Only the last sync failed: the store is complete for whoever opens it before a power cut.
  if (directory.exists(kStoreName)) return created;
  // Gives a full disk its space back; whatever cannot be removed is removed by the next open.
  const Status ignored = removeUnfinished(directory);
  (void)ignored;
  return created;
}

}  // namespace millrace::log
