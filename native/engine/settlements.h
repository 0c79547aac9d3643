// How settlements and returns reach the log, and what leaves a ledger.
//
// The queue's mutex is held for all of these; the stage's lock is taken below it.
//
// Invariants
//  B2 What is staged about one message is staged under its queue's mutex, so the log tells its story in
//  order. B3 A settled message leaves its ledger (and its bytes are released) only after the settlement is
//  durable.
#pragma once

#include <cstdint>
#include <span>

#include "engine/context.h"
#include "engine/queue.h"
#include "engine/sessions.h"

namespace millrace::engine {

class Settlements {
 public:
  Settlements(const Context& context, Sessions& sessions) : context_(context), sessions_(sessions) {}

  // One record a range; messages of a memory queue leave at once. The log never refuses settlements for lack
  // of room. False: it failed or is closed, nothing of this will be durable: the messages stay SETTLING here
  // and are redelivered after the next open.
  [[nodiscard]] bool stage(Queue& queue, std::span<const ledger::Range> ranges, log::Purpose purpose,
                           uint64_t& unit);
  // False: as above, and the store keeps the older counts.
  [[nodiscard]] bool stageReturns(const Queue& queue, std::span<const ledger::Returned> returned,
                                  uint64_t& unit);
  // These messages are gone.
  void forget(Queue& queue, ledger::Seq first, uint64_t count);

 private:
  const Context& context_;
  Sessions& sessions_;
};

}  // namespace millrace::engine
