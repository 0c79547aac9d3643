// The sending half of a broker: seals records, decides whether there is room for them in their queue and in
// the log, and stages them (a durable queue) or enters them in the ledger at once (a memory queue).
//
// Threads: any; a session only from its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/waker.h"

namespace millrace::engine {

// A send's per-message result: its seq, or a negated Code.
using SendResult = double;

struct [[nodiscard]] SendReport {
  uint32_t consumed = 0;  // messages with a result; the rest should be sent again after onRoom (stage full)
  uint64_t unit = 0;      // wait for this to be committed; 0: already as durable as it gets
};

class Sender {
 public:
  Sender(Context& context, Catalogue& catalogue, Waker& waker)
      : context_(context), catalogue_(catalogue), waker_(waker) {}

  // `outbox` holds `results.size()` message records whose seq, timestamp and crc are filled in here. `whole`:
  // all of them or none (one unit).
  Result<SendReport> send(Session& session, MutableBytes outbox, std::span<SendResult> results, bool whole);

 private:
  Status seal(MutableBytes outbox, size_t count) const;
  std::byte* sendMemoryRun(Session& session, Queue& queue, std::byte* record, std::span<SendResult> results,
                           uint64_t flush, SendReport& report);
  std::byte* sendDurableRun(Session& session, std::byte* record, std::span<SendResult> results,
                            uint64_t flush, SendReport& report);
  Status checkRoom(Session& session, Bytes outbox, size_t messages);
  Status sendWhole(Session& session, MutableBytes outbox, std::span<SendResult> results, SendReport& report);
  Status sendWholeMemory(Session& session, Queue& queue, MutableBytes outbox, std::span<SendResult> results);
  Status sendWholeDurable(Session& session, Queue& queue, Bytes outbox, std::span<SendResult> results,
                          SendReport& report);

  Context& context_;
  Catalogue& catalogue_;
  Waker& waker_;
  std::atomic<uint64_t> next_flush_{1};
};

}  // namespace millrace::engine
