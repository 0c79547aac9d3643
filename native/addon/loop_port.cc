#include "addon/loop_port.h"

#include <utility>

namespace millrace::addon {

bool LoopPort::open(uv_loop_t* loop, std::function<void()> onWake) {
  on_wake_ = std::move(onWake);
  async_.data = this;
  const auto run = [](uv_async_t* handle) {
    auto* port = static_cast<LoopPort*>(handle->data);
    // Before the work, so that what arrives during it wakes again.
    port->marked_.store(false);
    port->on_wake_();
  };
  if (uv_async_init(loop, &async_, run) != 0) return false;
  uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
  self_ = shared_from_this();
  const std::lock_guard lock(mutex_);
  open_ = true;
  return true;
}

void LoopPort::wake() {
  if (marked_.exchange(true)) return;
  if (watching_.load()) return;  // M1
  const std::lock_guard lock(mutex_);
  if (open_) uv_async_send(&async_);
}

void LoopPort::setWatching(bool watching) { watching_.store(watching); }  // M1

bool LoopPort::takeMark() { return marked_.load() && marked_.exchange(false); }  // M1

void LoopPort::setReferenced(bool referenced) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&async_);
  if (referenced) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void LoopPort::close(std::function<void()> closed) {
  {
    const std::lock_guard lock(mutex_);
    if (!open_) return;
    open_ = false;
  }
  on_closed_ = std::move(closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&async_), [](uv_handle_t* handle) {
    auto* port = static_cast<LoopPort*>(handle->data);
    const std::shared_ptr<LoopPort> last = std::move(port->self_);
    if (last->on_closed_) last->on_closed_();
  });
}

}  // namespace millrace::addon
