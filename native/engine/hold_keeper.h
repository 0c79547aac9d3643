// The engine's part of the rule for suspects (ledger/suspects.h): who may begin one, what ends a hold in the
// log, and who is woken when the place is free.
//
// Before a suspect's bytes leave Deliveries its delivery is in the journal and suspects_ has it in its hold
// (a kill from here on is its failure). The hold ends when the committer meets the record that ends the
// delivery: its settlement, its return, the verdict of its death, or the mark that its time is over. All of
// them are durable by then, so two in their hold are never found in one store.
//
// Threads: any. Its lock is taken below a queue's, and nothing is taken under it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/settlements.h"
#include "engine/timer.h"
#include "ledger/suspects.h"

namespace millrace::engine {

class HoldKeeper {
 public:
  HoldKeeper(const Context& context, Catalogue& catalogue, Settlements& settlements, Timer& timer)
      : context_(context), catalogue_(catalogue), settlements_(settlements), timer_(timer) {}

  // Once, before anything is received: finds out what died with the last process and who stood beside.
  // Nothing of it is begun before all of that is committed.
  void judge();

  // Somebody is in a hold, and the next suspect waits for its answer.
  bool holding() const { return holding_.load(); }

  // The queue's mutex is held for the next three.
  // Gives the queue's first suspect to the consumer if it may begin now. True without a delivery: it needs a
  // larger inbox.
  [[nodiscard]] bool begin(Queue& queue, Consumer& consumer, size_t bytes, uint64_t& needed_bytes);
  // The journal refused it: it was not begun, and nothing in the log says that it was.
  void cancel(const Queue& queue, ledger::Seq seq);
  // It was begun, and its consumer cannot have it now, or never.
  void takeBack(Queue& queue, Consumer& consumer, const ledger::Delivery& suspect, bool damaged);

  // The committer met a record of this queue; it may be the one that ends the hold.
  void noteCommitted(uint32_t queue_id, const log::RecordReader& record);

  // The timer's thread: writes the marks that are due and finds somebody for a place that is free. When to do
  // that again.
  uint64_t tend();

 private:
  void mark(const ledger::Suspects::Due& due);
  void offer();

  const Context& context_;
  Catalogue& catalogue_;
  Settlements& settlements_;
  Timer& timer_;

  // The queues that recovery found suspects in: no others ever have any. Set by judge() alone.
  std::vector<Queue*> queues_;
  uint64_t begins_after_ = 0;         // the unit with what judge() found out
  Mutex mutex_{LockRank::kSuspects};  // guards suspects_
  ledger::Suspects suspects_;
  std::atomic<bool> holding_{false};  // suspects_.holds(), so that the committer need not ask
};

}  // namespace millrace::engine
