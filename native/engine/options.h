// What a broker is opened with, and the sizes that follow from it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ledger/ledger.h"
#include "log/log.h"

namespace millrace::engine {

constexpr uint32_t kMemoryMessageBytesMax = 64u << 20;
constexpr uint32_t kMemoryBatchBytesMax = 256u << 20;

// What a record and its dead letter's story need besides headers and body.
constexpr uint32_t kRecordSpareBytes = 8192;
// The largest message that fits into one commit with its story: headers and body.
constexpr uint32_t messageBytesMax(uint64_t segment_bytes) {
  return static_cast<uint32_t>(log::unitBytesMax(segment_bytes) - kRecordSpareBytes);
}

struct BrokerOptions {
  std::string dir;  // empty: memory only
  bool sync = true;
  uint64_t segment_bytes = 64ull << 20;
  uint64_t checkpoint_bytes = 256ull << 20;
  uint32_t message_bytes_max = 1u << 20;  // headers and body
  // Empty: the system's. Tests let hours pass.
  std::function<ledger::Now()> clock;
};

}  // namespace millrace::engine
