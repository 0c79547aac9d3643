// Results of work done on other threads, on their way to an environment that may be gone when they arrive:
// then they are dropped with what they hold.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "addon/loop_port.h"
#include "base/mutex.h"

namespace millrace::addon {

class Completions {
 public:
  explicit Completions(std::shared_ptr<LoopPort> port) : port_(std::move(port)) {}
  // Any thread. `completion` runs on the loop.
  void add(std::function<void()> completion);
  // The loop's thread.
  void run();
  // The loop's thread: nothing runs any more.
  void end();

 private:
  std::shared_ptr<LoopPort> port_;
  Mutex mutex_{LockRank::kEnvironment};
  std::vector<std::function<void()>> waiting_;  // guarded by mutex_
  bool ended_ = false;                          // guarded by mutex_
};

}  // namespace millrace::addon
