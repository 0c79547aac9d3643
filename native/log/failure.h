// The first failed write or sync of a store (P8, L5): it sticks.
#pragma once

#include <atomic>
#include <mutex>

#include "base/mutex.h"
#include "base/status.h"

namespace millrace::log {

// Any thread.
class Failure {
 public:
  // True for the first one.
  bool set(const Status& cause) {
    const std::lock_guard guard(mutex_);
    if (failed_.load(std::memory_order_relaxed)) return false;
    status_ = Status(Code::kStoreFailed, cause.toString());
    failed_.store(true, std::memory_order_release);  // F1 pairs with failed()
    return true;
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }  // F1
  Status status() const {
    const std::lock_guard guard(mutex_);
    return status_;
  }

 private:
  mutable Mutex mutex_{LockRank::kFailure};
  std::atomic<bool> failed_{false};
  Status status_;
};

}  // namespace millrace::log
