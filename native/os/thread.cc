#include "os/thread.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace millrace::os {
namespace {

using Work = std::function<void()>;

void* enter(void* argument) {
  const std::unique_ptr<Work> work(static_cast<Work*>(argument));
  (*work)();
  return nullptr;
}

// 0, or an errno; then `work` is as it was.
int create(pthread_t& handle, std::unique_ptr<Work>& work) {
  const int error = ::pthread_create(&handle, nullptr, enter, work.get());
  if (error == 0) (void)work.release();  // enter() has it
  return error;
}

}  // namespace

Status Thread::start(std::function<void()> run) {
  auto work = std::make_unique<Work>(std::move(run));
  const int error = create(handle_, work);
  if (error != 0) return Status(Code::kLimit, std::string("no thread to be had: ") + std::strerror(error));
  started_ = true;
  return Status();
}

void Thread::join() {
  if (!std::exchange(started_, false)) return;
  checkMayWait("a join");
  (void)::pthread_join(handle_, nullptr);
}

void runElsewhere(std::function<void()> work) {
  auto owned = std::make_unique<Work>(std::move(work));
  pthread_t handle{};
  if (create(handle, owned) != 0) return (*owned)();
  (void)::pthread_detach(handle);
}

}  // namespace millrace::os
