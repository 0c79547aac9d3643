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
  // The queue whose records are being applied, and its lock. Very much that is forgotten does not hold it for
  // all of that time; what arrives does, so that nobody sees a part of a batch: a block is all that it can
  // be.
  struct Hold {
    Queue* queue = nullptr;
    std::unique_lock<Mutex> lock;
    uint64_t arrived = 0;    // messages since it was taken
    uint64_t forgotten = 0;  // the same
    uint64_t since_ns = 0;   // since when it has been held, roughly; 0: not long

    void enter(Queue* next);
    void leave();
    // So many more were forgotten. True: it has been held for long.
    [[nodiscard]] bool noteForgotten(uint64_t messages);
  };

  void apply(Hold& hold, const log::RecordReader& record, const std::function<log::Ref(size_t)>& refOf);
  void forget(Hold& hold, const log::SettleRecord& settled);
  void wakeFor(Hold& hold);
  static void move(Queue& queue, ledger::Seq seq, Ref ref, uint32_t bytes);

  Catalogue& catalogue_;
  Sessions& sessions_;
  Settlements& settlements_;
  Waker& waker_;
  HoldKeeper& hold_keeper_;
  Deliveries& deliveries_;
};

}  // namespace millrace::engine
