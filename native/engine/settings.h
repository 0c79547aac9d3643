// What a queue was declared with, and the one table of its options. Encoding, decoding, bounds, defaults, the
// merging of patches and what JavaScript is told of them follow from the table. In the log the settings are
// tagged entries (FORMAT.md has the bytes), so that a later version can add one and an older one can skip it.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "ledger/ledger.h"

namespace millrace::engine {

constexpr size_t kQueueNameBytesMax = 255;
constexpr std::string_view kDeadSuffix = ".dead";

struct QueueSettings {
  // Every option has the default of the table; no name, no dead-letter queue.
  QueueSettings();

  std::string name;
  bool memory = false;             // never written to the log
  uint64_t capacity;               // messages in all states
  uint64_t max_deliveries;         // 0: no limit
  uint64_t visibility_timeout_ms;  // how long a lease lasts unless extended
  std::string dead_letter;         // queue name; empty: none, a dead message is dropped and counted

  bool operator==(const QueueSettings&) const = default;
  ledger::Limits limits() const { return {static_cast<uint32_t>(max_deliveries), visibility_timeout_ms}; }
  void encode(ByteWriter& writer) const;
  // kCorrupt: cut short, or a number out of its bounds. kOutOfRange: a name that none can have.
  static Result<QueueSettings> decode(Bytes bytes);
};

// A row of the table. One of `number` and `queue_name` is set: it says of which type the option is.
struct QueueOption {
  const char* name;  // as JavaScript spells it
  uint8_t field;     // its number in the record: never given to another option
  uint64_t QueueSettings::*number = nullptr;
  uint64_t min = 0;  // bounds and default of a number
  uint64_t max = 0;
  uint64_t initial = 0;
  std::string QueueSettings::*queue_name = nullptr;  // or empty; defaultSettings() has the default
};

constexpr uint8_t kNameField = 1;
constexpr uint64_t kMillisecondsMax = uint64_t{100} * 366 * 24 * 3600 * 1000;

inline constexpr std::array kQueueOptions{
    QueueOption{.name = "capacity",
                .field = 2,
                .number = &QueueSettings::capacity,
                .min = 1,
                .max = uint64_t{1} << 48,
                .initial = 1'000'000},
    QueueOption{.name = "maxDeliveries",
                .field = 3,
                .number = &QueueSettings::max_deliveries,
                .min = 0,
                .max = 60'000,
                .initial = 5},
    QueueOption{.name = "visibilityTimeout",
                .field = 4,
                .number = &QueueSettings::visibility_timeout_ms,
                .min = 1,
                .max = kMillisecondsMax,
                .initial = 30 * 60 * 1000},
    QueueOption{.name = "deadLetter", .field = 5, .queue_name = &QueueSettings::dead_letter},
};

// What a caller named of a queue's options: the others stay as they are.
struct SettingsPatch {
  // Fixed once the queue exists. Not named: as the queue has it, or a new one as the broker.
  std::optional<bool> memory;
  QueueSettings values;                           // of the options that are named
  std::bitset<std::size(kQueueOptions)> options;  // the named ones, by their place in the table

  void set(uint64_t QueueSettings::*option, uint64_t value);
  void set(std::string QueueSettings::*option, std::string value);
  // `settings` with what was named, checked as a whole. kOutOfRange: an option is out of its bounds, a name
  // is none, or the queue would be its own dead-letter queue.
  Result<QueueSettings> mergedInto(QueueSettings settings) const;
};

// kOutOfRange unless the name is 1 to 255 bytes without control characters. A name is never used as a path.
Status checkQueueName(std::string_view name);

// The settings of a queue of which nobody named anything: its dead letters go to `<name>.dead`, which has
// none itself and no limit of deliveries.
QueueSettings defaultSettings(std::string_view name, bool memory);

}  // namespace millrace::engine
