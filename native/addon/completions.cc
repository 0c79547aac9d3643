#include "addon/completions.h"

#include <mutex>

namespace millrace::addon {

void Completions::add(std::function<void()> completion) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    waiting_.push_back(std::move(completion));
  }
  port_->wake();
}

void Completions::run() {
  std::vector<std::function<void()>> ready;
  {
    const std::lock_guard lock(mutex_);
    ready.swap(waiting_);
  }
  for (const auto& completion : ready) completion();
}

void Completions::end() {
  std::vector<std::function<void()>> dropped;
  const std::lock_guard lock(mutex_);
  ended_ = true;
  dropped.swap(waiting_);
}

}  // namespace millrace::addon
