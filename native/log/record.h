// The records that make up a commit block, and the one message layout of the project: what a sender writes
// into its outbox, what stands in a segment, what a memory queue keeps and what a consumer finds in its inbox
// are the same bytes. FORMAT.md has the tables; this header has the offsets.
//
// Every record starts with { u32 bytes, u8 kind, u8 flags, u16 header_bytes } and is a multiple of 8 bytes
// long.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace::log {

enum class Kind : uint8_t {
  kNone = 0,
  kMessage = 1,  // a sent message
  kMove = 2,     // the same message again, copied forward out of a segment about to be reclaimed
  kSettle = 3,   // a range of one queue will not come back (ack, reject, purge, expiry)
  kDeliver = 4,  // a range of one queue was handed out for the n-th time
  kReturn = 5,   // one message went back to its queue: its counts, and when it is due
  kQueue = 6,    // a queue was created or its settings changed
};

using Seq = uint64_t;  // per queue, from 1

// Where a message record lies: segment file index (16 bits) and offset / 8 (32 bits). 48 bits, opaque above
// the log.
using Ref = uint64_t;

constexpr size_t kRecordAlign = 8;

// Message and move records.
//   0 u32 bytes        whole record, padding included
//   4 u8  kind         5 u8 flags (0)      6 u16 header_bytes
//   8 u32 queue       12 u32 body_bytes
//  16 u64 seq         24 u64 timestamp_ms (wall clock, at send)
//  32 u32 content_crc 36 u32 extension_bytes
//  40 headers, extension, body, zero padding to 8
// content_crc is CRC-32C over bytes [12, 16), [24, 32), [36, 40) and [40, 40 + header + extension + body).
// In an inbox, after it was checked, content_crc is replaced by the delivery count.
struct MessageLayout {
  static constexpr size_t kBytes = 0;
  static constexpr size_t kKind = 4;
  static constexpr size_t kFlags = 5;
  static constexpr size_t kHeaderBytes = 6;
  static constexpr size_t kQueue = 8;
  static constexpr size_t kBodyBytes = 12;
  static constexpr size_t kSeq = 16;
  static constexpr size_t kTimestamp = 24;
  static constexpr size_t kContentCrc = 32;
  static constexpr size_t kDeliveryCount = 32;  // inbox only
  static constexpr size_t kExtensionBytes = 36;
  static constexpr size_t kContent = 40;
};

// Extension entries: u16 tag, u16 length, bytes. Unknown tags are kept and ignored. The place for due times,
// ttl, groups, priorities, deduplication ids and reply addresses.
enum class Tag : uint16_t {
  kDeadLetter = 1,  // u64 origin seq, u64 first delivery ms, u64 last delivery ms, u32 deliveries,
                    // u16 origin queue name length, name, reason (the rest)
};

// Read access to a message record in memory. Check with parse() before anything else is called.
class MessageView {
 public:
  // kCorrupt unless `record` is one whole well-formed message or move record (lengths agree, padding
  // counted). Does not verify the content CRC.
  static Result<MessageView> parse(Bytes record);

  uint32_t bytes() const { return load<uint32_t>(at_ + MessageLayout::kBytes); }
  Kind kind() const { return static_cast<Kind>(at_[MessageLayout::kKind]); }
  uint32_t queue() const { return load<uint32_t>(at_ + MessageLayout::kQueue); }
  Seq seq() const { return load<uint64_t>(at_ + MessageLayout::kSeq); }
  uint64_t timestampMs() const { return load<uint64_t>(at_ + MessageLayout::kTimestamp); }
  uint32_t headerBytes() const { return load<uint16_t>(at_ + MessageLayout::kHeaderBytes); }
  uint32_t extensionBytes() const { return load<uint32_t>(at_ + MessageLayout::kExtensionBytes); }
  uint32_t bodyBytes() const { return load<uint32_t>(at_ + MessageLayout::kBodyBytes); }
  Bytes headers() const { return {at_ + MessageLayout::kContent, headerBytes()}; }
  Bytes extension() const { return {at_ + MessageLayout::kContent + headerBytes(), extensionBytes()}; }
  Bytes body() const {
    return {at_ + MessageLayout::kContent + headerBytes() + extensionBytes(), bodyBytes()};
  }
  uint32_t storedCrc() const { return load<uint32_t>(at_ + MessageLayout::kContentCrc); }
  uint32_t computeCrc() const;

 private:
  explicit MessageView(const std::byte* at) : at_(at) {}
  const std::byte* at_;
};

// Size of a message record with these parts, padding included.
constexpr uint64_t messageRecordBytes(uint64_t headers, uint64_t extension, uint64_t body) {
  return alignUp(MessageLayout::kContent + headers + extension + body, kRecordAlign);
}

// kSettle: 8 u32 queue, 12 u32 count, 16 u64 first seq.
struct SettleRecord {
  static constexpr size_t kRecordBytes = 24;
  uint32_t queue;
  uint32_t count;
  Seq first;
  void encode(std::byte* to) const;
};

// kDeliver: 8 u32 queue, 12 u32 count, 16 u64 first seq, 24 u32 delivery count, 28 u32 zero.
struct DeliverRecord {
  static constexpr size_t kRecordBytes = 32;
  uint32_t queue;
  uint32_t count;
  Seq first;
  uint32_t delivery_count;
  void encode(std::byte* to) const;
};

// kReturn: 8 u32 queue, 12 u32 deliveries, 16 u64 seq, 24 u32 uncounted, 28 u32 zero, 32 u64 due wall ms (0:
// now), 40 u64 first delivery wall ms.
struct ReturnRecord {
  static constexpr size_t kRecordBytes = 48;
  uint32_t queue;
  uint32_t deliveries;
  Seq seq;
  uint32_t uncounted;
  uint64_t due_ms;
  uint64_t first_delivery_ms;
  void encode(std::byte* to) const;
};

// kQueue: 8 u32 queue, 12 u32 settings_bytes, 16 settings (opaque here), zero padding to 8.
struct QueueRecord {
  uint32_t queue;
  Bytes settings;
  uint64_t recordBytes() const { return alignUp(16 + settings.size(), kRecordAlign); }
  void encode(std::byte* to) const;
};

// Walks the records of a block body (or any run of records). Input may be anything: a malformed record ends
// the walk and corrupt() is true.
class RecordReader {
 public:
  explicit RecordReader(Bytes records) : records_(records) {}
  // Moves to the next record; false at the end or at the first malformed one.
  bool next();
  bool corrupt() const { return corrupt_; }
  Kind kind() const { return static_cast<Kind>(records_[at_ + 4]); }
  Bytes record() const { return records_.subspan(at_, length_); }
  size_t offset() const { return at_; }  // of the current record inside the run
  SettleRecord settle() const;
  DeliverRecord deliver() const;
  ReturnRecord returned() const;
  QueueRecord queue() const;

 private:
  Bytes records_;
  size_t at_ = 0;
  size_t length_ = 0;
  bool corrupt_ = false;
};

}  // namespace millrace::log
