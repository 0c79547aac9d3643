// What a queue was declared with. Kept in the catalogue as tagged entries, so that a later version can add
// one and an older one can skip it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace::engine {

constexpr size_t kQueueNameBytesMax = 255;
constexpr uint64_t kCapacityDefault = 1'000'000;
constexpr uint32_t kMaxDeliveriesDefault = 5;
constexpr uint64_t kVisibilityTimeoutMsDefault = 30 * 60 * 1000;
constexpr std::string_view kDeadSuffix = ".dead";

struct QueueSettings {
  std::string name;
  bool memory = false;                              // never written to the log
  uint64_t capacity = kCapacityDefault;             // messages in all states
  uint32_t max_deliveries = kMaxDeliveriesDefault;  // 0: no limit
  uint64_t visibility_timeout_ms = kVisibilityTimeoutMsDefault;
  std::string dead_letter;  // queue name; empty: none, a dead message is dropped and counted

  void encode(ByteWriter& writer) const;
  static Result<QueueSettings> decode(Bytes bytes);
};

// kOutOfRange unless the name is 1 to 255 bytes without control characters. A name is never used as a path.
Status checkQueueName(std::string_view name);

// The settings of a queue nobody declared: `<name>.dead` and recovered ones get these.
QueueSettings defaultSettings(std::string_view name, bool memory);

}  // namespace millrace::engine
