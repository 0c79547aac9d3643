// What happens by itself when its time has come: leases that end, delays that are over, letters to try again.
//
// Threads: the timer's, and the one that opens the broker.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/mover.h"
#include "engine/settlements.h"
#include "engine/timer.h"
#include "engine/waker.h"

namespace millrace::engine {

class Deadlines {
 public:
  Deadlines(const Context& context, Catalogue& catalogue, Settlements& settlements, Waker& waker,
            Mover& mover)
      : context_(context), catalogue_(catalogue), settlements_(settlements), waker_(waker), mover_(mover) {}

  // For a queue whose time has come. The next deadline is told to the timer by the waker: kNever.
  uint64_t fire(uint32_t queue_id);
  // For a queue that was just recovered: its letters, and its first deadline.
  void begin(Queue& queue);

 private:
  // One slice of what is due now; the queue's mutex is held. True: there is more.
  [[nodiscard]] bool endDue(Queue& queue, const ledger::Now& now, std::vector<ledger::Dead>& dead);

  const Context& context_;
  Catalogue& catalogue_;
  Settlements& settlements_;
  Waker& waker_;
  Mover& mover_;
};

}  // namespace millrace::engine
