// From where messages lie to a reader's memory: pinned, copied outside any lock, and checked.
//
// Threads: any. No lock is held while bytes are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/queue.h"
#include "ledger/ledger.h"

namespace millrace::engine {

// One look copies no more than this, so that it takes bounded time and memory.
constexpr uint64_t kPeekBytesMax = 64ull << 20;

struct [[nodiscard]] Receipt {
  uint32_t count = 0;         // messages written to the inbox
  uint64_t bytes = 0;         // inbox bytes used
  uint64_t needed_bytes = 0;  // count is 0: the next message needs an inbox of this size
  uint64_t lease_ms = 0;      // how long what was received is leased, as the queue has it now
  Status error;               // kClosed; kCorrupt: a damaged message, set aside (receive) or left out (peek)
};

// The queue's mutex is held.
void pinAll(Queue& queue, const std::vector<ledger::Delivery>& deliveries);

// Copies pinned records to the inbox and unpins them. A damaged one ends it, or is left out: the last error
// tells. What is altered is not handed out (P3).
Receipt copyOut(Queue& queue, const std::vector<ledger::Delivery>& deliveries, MutableBytes inbox,
                bool leave_out_damaged);

// The record of a message in whatever state, from where it lies now: it may have been copied forward. False:
// it is gone or cannot be read.
[[nodiscard]] bool readOne(Queue& queue, ledger::Seq seq, std::vector<std::byte>& record);

// Copies up to `max` of the next messages into `inbox` without a lease: the first, and what fits into
// kPeekBytesMax with it.
Receipt peek(Queue& queue, MutableBytes inbox, uint32_t max);

}  // namespace millrace::engine
