// What an opening makes of a checkpoint and of the records after it.
//
// Threads: the one that opens the broker, before the log has any of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "ledger/delivered_runs.h"
#include "log/log.h"

namespace millrace::engine {

class Recovery final : public log::RecoverySink {
 public:
  Recovery(const Context& context, Catalogue& catalogue) : context_(context), catalogue_(catalogue) {}

  Status onSnapshot(Bytes piece, bool last, const log::SnapshotSource& source) override;
  Status onRecord(const log::RecordReader& record, log::Ref ref) override;
  std::vector<bool> onJournal(const std::vector<log::DeliverRecord>& entries) override;
  // After that, before the log's threads start: pins what is live.
  Status finish();

 private:
  Status declare(const log::QueueRecord& declared);
  static Status enter(Queue& queue, const log::RecordReader& record, log::Ref ref);
  static Status settle(Queue& queue, const log::SettleRecord& settled);
  Status deliver(Queue& queue, const log::DeliverRecord& delivered);
  [[nodiscard]] bool collect(const log::DeliverRecord& delivered, uint32_t tag);
  void applyDelivered(Queue& queue, const std::function<void(uint32_t tag)>& raised);

  const Context& context_;
  Catalogue& catalogue_;
  std::vector<std::byte> snapshot_;                                // the pieces so far
  std::unordered_map<uint32_t, ledger::DeliveredRuns> delivered_;  // by queue: not yet applied
};

}  // namespace millrace::engine
