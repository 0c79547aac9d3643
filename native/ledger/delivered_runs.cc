#include "ledger/delivered_runs.h"

#include <algorithm>
#include <queue>

namespace millrace::ledger {

void DeliveredRuns::sweep(const std::function<Seq(Seq)>& nextLive,
                          const std::function<void(Seq, const DeliveredRun&)>& each) {
  const auto decidesLater = [](const DeliveredRun& one, const DeliveredRun& other) {
    return one.deliveries != other.deliveries ? one.deliveries < other.deliveries : one.tag > other.tag;
  };
  const auto beginsFirst = [](const DeliveredRun& one, const DeliveredRun& other) {
    return one.first < other.first;
  };
  std::sort(runs_.begin(), runs_.end(), beginsFirst);
  std::priority_queue<DeliveredRun, std::vector<DeliveredRun>, decltype(decidesLater)> open(decidesLater);
  auto next = runs_.begin();
  size_t visited = 0;
  Seq seq = 0;
  for (;;) {
    while (!open.empty() && open.top().last < seq) open.pop();
    if (open.empty()) {
      // Runs that end before here hold nothing live.
      while (next != runs_.end() && next->last < seq) ++next;
      if (next == runs_.end()) break;
      seq = std::max(seq, next->first);
    }
    seq = nextLive(seq);
    if (seq == 0) break;
    for (; next != runs_.end() && next->first <= seq; ++next) open.push(*next);
    while (!open.empty() && open.top().last < seq) open.pop();
    if (open.empty()) continue;  // it lies between two runs
    each(seq, open.top());
    ++visited;
    ++seq;
  }
  runs_.clear();
  runs_.shrink_to_fit();
  sweep_at_ = std::max(kSweepAtLeast, visited);
}

}  // namespace millrace::ledger
