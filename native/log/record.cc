#include "log/record.h"

#include "base/check.h"
#include "base/crc32c.h"

namespace millrace::log {
namespace {

constexpr size_t kPrefixBytes = 8;
constexpr size_t kQueueSettingsAt = 16;

// The prefix of every record but messages, whose sender writes its own.
void encodePrefix(std::byte* to, Kind kind, uint64_t bytes) {
  store(to, static_cast<uint32_t>(bytes));
  to[4] = static_cast<std::byte>(kind);
  to[5] = std::byte{0};
  store(to + 6, uint16_t{0});
}

bool isWellFormed(Kind kind, Bytes record) {
  switch (kind) {
    case Kind::kMessage:
    case Kind::kMove:
      return MessageView::parse(record).ok();
    case Kind::kSettle:
      return record.size() == SettleRecord::kRecordBytes;
    case Kind::kDeliver:
      return record.size() == DeliverRecord::kRecordBytes;
    case Kind::kReturn:
      return record.size() == ReturnRecord::kRecordBytes;
    case Kind::kQueue:
      return record.size() >= kQueueSettingsAt &&
             alignUp(kQueueSettingsAt + uint64_t{load<uint32_t>(record.data() + 12)}, kRecordAlign) ==
                 record.size();
    case Kind::kNone:
      break;
  }
  return false;
}

}  // namespace

Result<MessageView> MessageView::parse(Bytes record) {
  const auto malformed = [](const char* what) { return Status(Code::kCorrupt, what); };
  if (record.size() < MessageLayout::kContent) return malformed("a message record is too short");
  const MessageView view(record.data());
  if (view.bytes() != record.size()) return malformed("a message record's length is wrong");
  if (view.kind() != Kind::kMessage && view.kind() != Kind::kMove) return malformed("not a message record");
  const uint64_t needed = messageRecordBytes(view.headerBytes(), view.extensionBytes(), view.bodyBytes());
  if (needed != record.size()) return malformed("the lengths inside a message record disagree");
  return view;
}

uint32_t MessageView::computeCrc() const {
  uint32_t crc = crc32c({at_ + MessageLayout::kBodyBytes, 4});
  crc = crc32c({at_ + MessageLayout::kTimestamp, 8}, crc);
  const size_t content = size_t{headerBytes()} + extensionBytes() + bodyBytes();
  return crc32c({at_ + MessageLayout::kExtensionBytes, 4 + content}, crc);
}
static_assert(MessageLayout::kExtensionBytes + 4 == MessageLayout::kContent, "one run for the CRC");

void SettleRecord::encode(std::byte* to) const {
  encodePrefix(to, Kind::kSettle, kRecordBytes);
  store(to + 8, queue);
  store(to + 12, count);
  store(to + 16, first);
}

void DeliverRecord::encode(std::byte* to) const {
  encodePrefix(to, Kind::kDeliver, kRecordBytes);
  store(to + 8, queue);
  store(to + 12, count);
  store(to + 16, first);
  store(to + 24, delivery_count);
  store(to + 28, uint32_t{0});
}

void ReturnRecord::encode(std::byte* to) const {
  encodePrefix(to, Kind::kReturn, kRecordBytes);
  store(to + 8, queue);
  store(to + 12, deliveries);
  store(to + 16, seq);
  store(to + 24, uncounted);
  store(to + 28, uint32_t{0});
  store(to + 32, due_ms);
  store(to + 40, first_delivery_ms);
}

void QueueRecord::encode(std::byte* to) const {
  encodePrefix(to, Kind::kQueue, recordBytes());
  store(to + 8, queue);
  store(to + 12, static_cast<uint32_t>(settings.size()));
  if (!settings.empty()) std::memcpy(to + kQueueSettingsAt, settings.data(), settings.size());
  std::memset(to + kQueueSettingsAt + settings.size(), 0,
              static_cast<size_t>(recordBytes()) - kQueueSettingsAt - settings.size());
}

bool RecordReader::next() {
  if (corrupt_) return false;
  const size_t at = at_ + length_;
  if (at == records_.size()) {
    at_ = at;
    length_ = 0;
    return false;
  }
  const Bytes rest = records_.subspan(at);
  corrupt_ = true;
  if (rest.size() < kPrefixBytes) return false;
  const uint32_t bytes = load<uint32_t>(rest.data());
  if (bytes < kPrefixBytes || bytes % kRecordAlign != 0 || bytes > rest.size()) return false;
  if (!isWellFormed(static_cast<Kind>(rest[4]), rest.first(bytes))) return false;
  corrupt_ = false;
  at_ = at;
  length_ = bytes;
  return true;
}

SettleRecord RecordReader::settle() const {
  MILLRACE_CHECK(kind() == Kind::kSettle);
  const std::byte* at = record().data();
  return {load<uint32_t>(at + 8), load<uint32_t>(at + 12), load<uint64_t>(at + 16)};
}

DeliverRecord RecordReader::deliver() const {
  MILLRACE_CHECK(kind() == Kind::kDeliver);
  const std::byte* at = record().data();
  return {load<uint32_t>(at + 8), load<uint32_t>(at + 12), load<uint64_t>(at + 16), load<uint32_t>(at + 24)};
}

ReturnRecord RecordReader::returned() const {
  MILLRACE_CHECK(kind() == Kind::kReturn);
  const std::byte* at = record().data();
  return {load<uint32_t>(at + 8),  load<uint32_t>(at + 12), load<uint64_t>(at + 16),
          load<uint32_t>(at + 24), load<uint64_t>(at + 32), load<uint64_t>(at + 40)};
}

QueueRecord RecordReader::queue() const {
  MILLRACE_CHECK(kind() == Kind::kQueue);
  const std::byte* at = record().data();
  return {load<uint32_t>(at + 8), {at + kQueueSettingsAt, load<uint32_t>(at + 12)}};
}

}  // namespace millrace::log
