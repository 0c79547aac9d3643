#include "engine/letter.h"

#include <cstring>

namespace millrace::engine {
namespace {

using Layout = log::MessageLayout;
constexpr size_t kReasonBytesMax = 1024;

// The extension of a dead letter: FORMAT.md, "dead letter".
std::vector<std::byte> story(const Doomed& doomed, std::string_view origin) {
  const std::string_view reason = textCut(doomed.reason, kReasonBytesMax);
  ByteWriter entry;
  entry.fixed<uint64_t>(doomed.dead.seq);
  entry.fixed<uint64_t>(doomed.dead.first_delivery_ms);
  entry.fixed<uint64_t>(doomed.dead.last_delivery_ms);
  entry.fixed<uint32_t>(doomed.dead.deliveries);
  entry.fixed<uint16_t>(static_cast<uint16_t>(origin.size()));
  entry.bytes(bytesOf(origin));
  entry.bytes(bytesOf(reason));
  ByteWriter extension;
  extension.fixed(log::Tag::kDeadLetter);
  extension.fixed<uint16_t>(static_cast<uint16_t>(entry.size()));
  extension.bytes(entry.view());
  return extension.buffer();
}

// The same headers, body and timestamp in another queue; seq is filled in when the place is known.
std::vector<std::byte> rewrite(const log::MessageView& message, uint32_t queue, Bytes extension) {
  const size_t bytes = log::messageRecordBytes(message.headerBytes(), extension.size(), message.bodyBytes());
  std::vector<std::byte> record(bytes);
  std::byte* at = record.data();
  store<uint32_t>(at + Layout::kBytes, static_cast<uint32_t>(bytes));
  store(at + Layout::kKind, log::Kind::kMessage);
  store<uint16_t>(at + Layout::kHeaderBytes, static_cast<uint16_t>(message.headerBytes()));
  store<uint32_t>(at + Layout::kQueue, queue);
  store<uint32_t>(at + Layout::kBodyBytes, message.bodyBytes());
  store<uint64_t>(at + Layout::kTimestamp, message.timestampMs());
  store<uint32_t>(at + Layout::kExtensionBytes, static_cast<uint32_t>(extension.size()));
  at += Layout::kContent;
  for (const Bytes part : {message.headers(), extension, message.body()}) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  return record;
}

}  // namespace

std::vector<std::byte> letterOf(const log::MessageView& message, const Doomed& doomed,
                                std::string_view origin, uint32_t to) {
  return rewrite(message, to, story(doomed, origin));
}

}  // namespace millrace::engine
