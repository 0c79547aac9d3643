// The deliveries that a log tells of, collected and then applied to what is live in one sweep.
//
// A record of 32 bytes may name the whole backlog, and a file may hold millions of them: applied one by one
// they take the product of both. A delivery only ever raises a count (STATES.md, rule 7), so of all that name
// a message the highest decides, in whatever order they come: runs and messages are each looked at once.
//
// Recovery only, one thread.
#pragma once

#include <functional>
#include <vector>

#include "ledger/ledger.h"

namespace millrace::ledger {

struct DeliveredRun {
  Seq first = 0;
  Seq last = 0;
  uint32_t deliveries = 0;
  uint32_t tag = 0;  // the caller's. Of runs that say the same, one with the lowest tag decides
};

class DeliveredRuns {
 public:
  void add(const DeliveredRun& run) { runs_.push_back(run); }
  // Enough were added that a sweep costs each of them little: callers sweep now, to bound the memory.
  bool isLong() const { return runs_.size() >= sweep_at_; }

  // `nextLive` gives the first live message at or after a seq, 0 if there is none; `each` gets every live
  // message of a run with the run that decides for it, in rising order. Forgets the runs. Calls at most one
  // nextLive for each run and each message in one, and two.
  void sweep(const std::function<Seq(Seq)>& nextLive,
             const std::function<void(Seq, const DeliveredRun&)>& each);

 private:
  static constexpr size_t kSweepAtLeast = 65'536;
  std::vector<DeliveredRun> runs_;
  size_t sweep_at_ = kSweepAtLeast;
};

}  // namespace millrace::ledger
