// What a consumer gets: it takes from the ledger, notes that in the delivery journal, and copies the records
// out.
//
// Threads: any; a consumer only from its session's.
//
// Invariant
//  B4 A delivery is in the delivery journal before its bytes are handed out. A journal write ends in the page
//  cache: nobody waits for a disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "engine/context.h"
#include "engine/copy_out.h"
#include "engine/hold_keeper.h"
#include "engine/sessions.h"
#include "engine/waker.h"

namespace millrace::engine {

class Deliveries {
 public:
  Deliveries(Context& context, Sessions& sessions, HoldKeeper& hold_keeper, Waker& waker)
      : context_(context), sessions_(sessions), hold_keeper_(hold_keeper), waker_(waker) {}

  Receipt receive(Consumer& consumer, MutableBytes inbox, uint32_t max);
  // The journal may have room again: wakes those whom it refused.
  void wakeUnjournaled();

 private:
  // The queue's mutex is held for the first three.
  [[nodiscard]] bool take(Queue& queue, Consumer& consumer, uint32_t max, size_t bytes,
                          uint64_t& needed_bytes);
  [[nodiscard]] bool journal(Queue& queue, Consumer& consumer);
  void noteUnjournaled(Queue& queue);
  void setDamagedAside(Queue& queue, Consumer& consumer, Receipt& receipt);

  Context& context_;
  Sessions& sessions_;
  HoldKeeper& hold_keeper_;
  Waker& waker_;
  // Queues whose deliveries the journal refused since the last wakeUnjournaled().
  Mutex mutex_{LockRank::kUnjournaled};
  std::vector<Queue*> unjournaled_;  // guarded by mutex_
};

}  // namespace millrace::engine
