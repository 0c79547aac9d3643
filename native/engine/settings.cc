#include "engine/settings.h"

namespace millrace::engine {
namespace {

enum class Entry : uint8_t {
  kName = 1,
  kCapacity = 2,
  kMaxDeliveries = 3,
  kVisibilityTimeout = 4,
  kDeadLetter = 5,
};

void putText(ByteWriter& writer, Entry entry, std::string_view text) {
  writer.fixed(entry);
  writer.sizedText(text);
}

void putNumber(ByteWriter& writer, Entry entry, uint64_t value) {
  ByteWriter number;
  number.varint(value);
  putText(writer, entry, textOf(number.view()));
}

}  // namespace

void QueueSettings::encode(ByteWriter& writer) const {
  putText(writer, Entry::kName, name);
  putNumber(writer, Entry::kCapacity, capacity);
  putNumber(writer, Entry::kMaxDeliveries, max_deliveries);
  putNumber(writer, Entry::kVisibilityTimeout, visibility_timeout_ms);
  putText(writer, Entry::kDeadLetter, dead_letter);
}

Result<QueueSettings> QueueSettings::decode(Bytes bytes) {
  QueueSettings settings;
  ByteReader reader(bytes);
  while (reader.ok() && reader.remaining() > 0) {
    const auto entry = reader.fixed<Entry>();
    const std::string_view value = reader.sizedText();
    ByteReader number(bytesOf(value));
    switch (entry) {
      case Entry::kName:
        settings.name = value;
        break;
      case Entry::kCapacity:
        settings.capacity = number.varint();
        break;
      case Entry::kMaxDeliveries:
        settings.max_deliveries = static_cast<uint32_t>(number.varint());
        break;
      case Entry::kVisibilityTimeout:
        settings.visibility_timeout_ms = number.varint();
        break;
      case Entry::kDeadLetter:
        settings.dead_letter = value;
        break;
    }
  }
  if (!reader.ok()) return Status(Code::kCorrupt, "queue settings end early");
  MILLRACE_RETURN_IF_ERROR(checkQueueName(settings.name));
  if (!settings.dead_letter.empty()) MILLRACE_RETURN_IF_ERROR(checkQueueName(settings.dead_letter));
  return settings;
}

Status checkQueueName(std::string_view name) {
  if (name.empty() || name.size() > kQueueNameBytesMax) {
    return Status(Code::kOutOfRange, "a queue name has 1 to 255 bytes");
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      return Status(Code::kOutOfRange, "a queue name has no control characters");
  }
  return Status();
}

QueueSettings defaultSettings(std::string_view name, bool memory) {
  QueueSettings settings;
  settings.name = name;
  settings.memory = memory;
  if (name.ends_with(kDeadSuffix)) {
    settings.max_deliveries = 0;
  } else if (name.size() + kDeadSuffix.size() <= kQueueNameBytesMax) {
    settings.dead_letter = std::string(name) + std::string(kDeadSuffix);
  }
  return settings;
}

}  // namespace millrace::engine
