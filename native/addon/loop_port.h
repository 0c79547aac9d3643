// A Port on a libuv loop: the one handle through which native threads reach an environment.
//
// One per environment. wake() is called by any thread, everything else by the loop's own. The handle closes
// in the environment's cleanup hook; a wake() after that does nothing. While unreferenced it does not keep
// the loop alive.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "addon/napi_include.h"
#include "base/mutex.h"
#include "engine/port.h"

namespace millrace::addon {

class LoopPort final : public engine::Port, public std::enable_shared_from_this<LoopPort> {
 public:
  // `onWake` runs on the loop. False if the loop refused the handle.
  [[nodiscard]] bool open(uv_loop_t* loop, std::function<void()> onWake);
  void wake() override;
  void setReferenced(bool referenced);
  // While the loop's thread looks by itself, wake() only leaves a mark: no system call on the waker's side
  // and no event on the loop's. Whoever stops looking must look once more afterwards.
  void setWatching(bool watching);
  // True once after a wake(), whose mark it takes.
  bool takeMark();
  // `closed` runs on the loop when libuv no longer needs the handle; the port keeps itself alive until then.
  void close(std::function<void()> closed);

 private:
  uv_async_t async_{};
  std::function<void()> on_wake_;
  std::function<void()> on_closed_;
  std::shared_ptr<LoopPort> self_;   // while libuv owns async_
  std::atomic<bool> marked_{false};  // a wake-up is on its way: further ones are free
  std::atomic<bool> watching_{
      false};  // M1 seq_cst with marked_: the waker sees it or the last look sees the mark
  Mutex mutex_{LockRank::kPort};
  bool open_ = false;  // guarded by mutex_
};

}  // namespace millrace::addon
