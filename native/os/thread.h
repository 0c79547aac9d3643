// A thread whose start may fail. std::thread throws where the system has no thread to give (a limit of the
// user or the container, no address space), which would end the host's process.
#pragma once

#include <pthread.h>

#include <functional>

#include "base/status.h"

namespace millrace::os {

// Started and joined by one owner, or never started.
class Thread {
 public:
  Thread() = default;
  ~Thread() { join(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  // kLimit: there is no thread to be had, and `run` was not called.
  Status start(std::function<void()> run);
  bool joinable() const { return started_; }
  void join();

 private:
  pthread_t handle_{};
  bool started_ = false;
};

// Runs `work` on a thread of its own that nobody joins; on this one if there is no other to be had.
void runElsewhere(std::function<void()> work);

}  // namespace millrace::os
