// What a committed record changes, and the rest of what the log tells a broker.
//
// Threads: the committer's and the janitor's. The committer holds the lock of the queue whose records it
// applies.
//
// Invariant
//  B1 A durable message enters its ledger only after the block that holds it is durable at the broker's
//  level.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "engine/catalogue.h"
#include "engine/deliveries.h"
#include "engine/hold_keeper.h"
#include "engine/sessions.h"
#include "engine/settlements.h"
#include "engine/waker.h"
#include "log/log.h"

namespace millrace::engine {

class Applier final : public log::Listener {
 public:
  Applier(Catalogue& catalogue, Sessions& sessions, Settlements& settlements, Waker& waker,
          HoldKeeper& hold_keeper, Deliveries& deliveries)
      : catalogue_(catalogue),
        sessions_(sessions),
        settlements_(settlements),
        waker_(waker),
        hold_keeper_(hold_keeper),
        deliveries_(deliveries) {}

  void onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) override;
  void onConfirmed(uint64_t through) override;
  void onRoom() override;
  void onFailed(const Status& status, uint64_t through) override;
  bool isLive(uint32_t queue, log::Seq seq, log::Ref ref) override;
  Status writeSnapshot(log::SnapshotWriter& writer) override;

 private:
  void apply(Queue& queue, std::unique_lock<Mutex>& lock, const log::RecordReader& record,
             const std::function<log::Ref(size_t)>& refOf, uint64_t& arrived);
  void forget(Queue& queue, std::unique_lock<Mutex>& lock, const log::SettleRecord& settled);
  static void move(Queue& queue, ledger::Seq seq, Ref ref, uint32_t bytes);

  Catalogue& catalogue_;
  Sessions& sessions_;
  Settlements& settlements_;
  Waker& waker_;
  HoldKeeper& hold_keeper_;
  Deliveries& deliveries_;
};

}  // namespace millrace::engine
