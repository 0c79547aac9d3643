#include "engine/settings.h"

#include <utility>

namespace millrace::engine {
namespace {

consteval bool fieldsDiffer() {
  for (const QueueOption& option : kQueueOptions) {
    if (option.field == kNameField) return false;
    for (const QueueOption& other : kQueueOptions) {
      if (&option != &other && option.field == other.field) return false;
    }
  }
  return true;
}
static_assert(fieldsDiffer(), "a field of the record means one option");

void putText(ByteWriter& writer, uint8_t field, std::string_view text) {
  writer.fixed(field);
  writer.sizedText(text);
}

void putNumber(ByteWriter& writer, uint8_t field, uint64_t value) {
  ByteWriter number;
  number.varint(value);
  putText(writer, field, textOf(number.view()));
}

bool inBounds(const QueueOption& option, uint64_t value) {
  return value >= option.min && value <= option.max;
}

Status outOfBounds(const QueueOption& option) {
  return Status(Code::kOutOfRange, std::string(option.name) + " must be a whole number from " +
                                       std::to_string(option.min) + " to " + std::to_string(option.max));
}

// Empty is the name of none.
Status checkQueueReference(std::string_view name) { return name.empty() ? Status() : checkQueueName(name); }

void decodeOption(QueueSettings& settings, uint8_t field, std::string_view value) {
  for (const QueueOption& option : kQueueOptions) {
    if (option.field != field) continue;
    if (option.number != nullptr) {
      settings.*option.number = ByteReader(bytesOf(value)).varint();
    } else {
      settings.*option.queue_name = value;
    }
  }
}

}  // namespace

QueueSettings::QueueSettings() {
  for (const QueueOption& option : kQueueOptions) {
    if (option.number != nullptr) this->*option.number = option.initial;
  }
}

void QueueSettings::encode(ByteWriter& writer) const {
  putText(writer, kNameField, name);
  for (const QueueOption& option : kQueueOptions) {
    if (option.number != nullptr) {
      putNumber(writer, option.field, this->*option.number);
    } else {
      putText(writer, option.field, this->*option.queue_name);
    }
  }
}

Result<QueueSettings> QueueSettings::decode(Bytes bytes) {
  QueueSettings settings;
  ByteReader reader(bytes);
  while (reader.ok() && reader.remaining() > 0) {
    const auto field = reader.fixed<uint8_t>();
    const std::string_view value = reader.sizedText();
    if (field == kNameField) settings.name = value;
    decodeOption(settings, field, value);
  }
  if (!reader.ok()) return Status(Code::kCorrupt, "queue settings end early");
  MILLRACE_RETURN_IF_ERROR(checkQueueName(settings.name));
  for (const QueueOption& option : kQueueOptions) {
    if (option.number == nullptr) {
      MILLRACE_RETURN_IF_ERROR(checkQueueReference(settings.*option.queue_name));
    } else if (!inBounds(option, settings.*option.number)) {
      return Status(Code::kCorrupt, "queue settings: " + outOfBounds(option).detail());
    }
  }
  return settings;
}

void SettingsPatch::set(uint64_t QueueSettings::*option, uint64_t value) {
  for (size_t i = 0; i < std::size(kQueueOptions); ++i) {
    if (kQueueOptions[i].number == option) options.set(i);
  }
  values.*option = value;
}

void SettingsPatch::set(std::string QueueSettings::*option, std::string value) {
  for (size_t i = 0; i < std::size(kQueueOptions); ++i) {
    if (kQueueOptions[i].queue_name == option) options.set(i);
  }
  values.*option = std::move(value);
}

Result<QueueSettings> SettingsPatch::mergedInto(QueueSettings settings) const {
  settings.memory = memory.value_or(settings.memory);
  for (size_t i = 0; i < std::size(kQueueOptions); ++i) {
    const QueueOption& option = kQueueOptions[i];
    if (option.number != nullptr) {
      if (options[i]) settings.*option.number = values.*option.number;
      if (!inBounds(option, settings.*option.number)) return outOfBounds(option);
    } else {
      if (options[i]) settings.*option.queue_name = values.*option.queue_name;
      MILLRACE_RETURN_IF_ERROR(checkQueueReference(settings.*option.queue_name));
    }
  }
  if (settings.dead_letter == settings.name) {
    return Status(Code::kOutOfRange, "a queue cannot be its own dead-letter queue");
  }
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
