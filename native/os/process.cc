#include "os/process.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace millrace::os {
namespace {

std::atomic<bool> forked{false};
const pid_t loaded_in = getpid();
// Fails only without memory; then the process is asked each time.
const bool told_of_forks =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); }) == 0;

}  // namespace

bool isForkedChild() {
  return told_of_forks ? forked.load(std::memory_order_relaxed) : getpid() != loaded_in;
}

}  // namespace millrace::os
