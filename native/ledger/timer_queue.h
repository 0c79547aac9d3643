// Times at which something is to happen, earliest first, for owners that cancel most of them: a cancelled
// timer is not searched for, it is dropped when it surfaces, or swept with the others when they outnumber the
// live ones by more than two to one. So an acked lease with half an hour to go costs amortised O(1) and its
// memory is back soon.
//
// Almost all timers of a queue are set to "now plus a constant": those come in rising order and need only a
// FIFO. A timer that is earlier than the last of the FIFO goes to a binary heap.
//
// The owner says which timers are live: live(timer) must be false once it was cancelled or has fired.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ledger/shrink.h"

namespace millrace::ledger {

struct Timer {
  uint64_t at_ms;
  uint64_t key;
  uint64_t generation;  // tells this timer from earlier ones of the same key: at most one of them is live
};

class TimerQueue {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  // `live_count`: live timers, this one included; decides when to sweep.
  template <typename Live>
  void push(Timer timer, size_t live_count, Live live) {
    if (first_ == in_order_.size() || in_order_.back().at_ms <= timer.at_ms) {
      in_order_.push_back(timer);
    } else {
      heap_.push_back(timer);
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
    // Fired timers before first_ count too: their memory must come back as well.
    if (in_order_.size() + heap_.size() > 3 * live_count + kSweepMin) sweep(live);
  }

  template <typename Live>
  uint64_t next(Live live) {
    dropStale(live);
    uint64_t at_ms = kNever;
    if (first_ < in_order_.size()) at_ms = in_order_[first_].at_ms;
    if (!heap_.empty()) at_ms = std::min(at_ms, heap_.front().at_ms);
    return at_ms;
  }

  // Takes out the earliest live timer if its time has come.
  template <typename Live>
  bool popDue(uint64_t now_ms, Timer& out, Live live) {
    if (next(live) > now_ms || size() == 0) return false;
    const bool have_both = first_ < in_order_.size() && !heap_.empty();
    if (have_both ? in_order_[first_].at_ms <= heap_.front().at_ms : heap_.empty()) {
      out = in_order_[first_++];
    } else {
      out = heap_.front();
      popHeap();
    }
    return true;
  }

  void clear() {
    in_order_.clear();
    first_ = 0;
    heap_.clear();
  }
  size_t size() const { return in_order_.size() - first_ + heap_.size(); }

 private:
  static constexpr size_t kSweepMin = 256;
  static bool later(const Timer& a, const Timer& b) { return a.at_ms > b.at_ms; }

  void popHeap() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }

  template <typename Live>
  void dropStale(Live live) {
    while (first_ < in_order_.size() && !live(in_order_[first_])) ++first_;
    while (!heap_.empty() && !live(heap_.front())) popHeap();
  }

  template <typename Live>
  void sweep(Live live) {
    const auto stale = [&](const Timer& timer) { return !live(timer); };
    std::erase_if(in_order_, stale);
    first_ = 0;
    std::erase_if(heap_, stale);
    std::make_heap(heap_.begin(), heap_.end(), later);
    if (in_order_.capacity() > 16 * (in_order_.size() + kSweepMin)) shrinkToSize(in_order_);
    if (heap_.capacity() > 16 * (heap_.size() + kSweepMin)) shrinkToSize(heap_);
  }

  std::vector<Timer> in_order_;
  size_t first_ = 0;  // of in_order_; those before have fired or been dropped
  std::vector<Timer> heap_;
};

}  // namespace millrace::ledger
