// Which consumer is woken, and when a queue is looked at again.
//
// The queue's mutex is held for all of these.
//
// Invariant
//  B5 A consumer that is waiting is in its queue's `waiting` exactly while the queue has nothing for it, or
//  nothing that the delivery journal has room for.
#pragma once

#include <cstdint>

#include "engine/context.h"
#include "engine/queue.h"
#include "engine/session.h"
#include "engine/timer.h"

namespace millrace::engine {

class Waker {
 public:
  Waker(const Context& context, Timer& timer) : context_(context), timer_(timer) {}

  // For `messages` that are ready. Whoever is woken may be busy in a handler, so the timer is told too: it
  // wakes the next one.
  void wake(Queue& queue, uint64_t messages);
  void wakeForReady(Queue& queue) { wake(queue, queue.ledger.counts().ready); }
  static void wakeOne(Queue& queue);
  static void wait(Queue& queue, Consumer& consumer);
  static void endWait(Queue& queue, Consumer& consumer);
  // Tells the timer of the queue's next deadline.
  void schedule(Queue& queue);

 private:
  const Context& context_;
  Timer& timer_;
};

}  // namespace millrace::engine
