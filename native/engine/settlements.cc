#include "engine/settlements.h"

#include <optional>

namespace millrace::engine {

bool Settlements::stage(Queue& queue, std::span<const ledger::Range> ranges, log::Purpose purpose,
                        uint64_t& unit) {
  if (ranges.empty()) return true;
  if (queue.memory) {
    for (const ledger::Range& range : ranges) forget(queue, range.first, range.count);
    return true;
  }
  log::Log::Lock stage(*context_.log);
  for (const ledger::Range& range : ranges) {
    std::byte* at = nullptr;
    if (stage.reserve(log::SettleRecord::kRecordBytes, purpose, at, unit) != log::StageOutcome::kStaged) {
      return false;
    }
    log::SettleRecord{queue.id, range.count, range.first}.encode(at);
  }
  return true;
}

bool Settlements::stageReturns(const Queue& queue, std::span<const ledger::Returned> returned,
                               uint64_t& unit) {
  if (queue.memory || returned.empty()) return true;
  log::Log::Lock stage(*context_.log);
  for (const ledger::Returned& one : returned) {
    std::byte* at = nullptr;
    if (stage.reserve(log::ReturnRecord::kRecordBytes, log::Purpose::kSettle, at, unit) !=
        log::StageOutcome::kStaged) {
      return false;
    }
    log::ReturnRecord{queue.id, one.deliveries, one.seq, one.uncounted, one.due_ms, one.first_delivery_ms}
        .encode(at);
  }
  return true;
}

void Settlements::forget(Queue& queue, ledger::Seq first, uint64_t count) {
  uint64_t gone = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const std::optional<ledger::Stored> stored = queue.ledger.forget(first + i);
    if (!stored.has_value()) continue;
    queue.store.unpin(stored->ref, stored->bytes);
    gone++;
  }
  if (gone > 0 && queue.room.remove(gone)) sessions_.tellRoom();
}

}  // namespace millrace::engine
