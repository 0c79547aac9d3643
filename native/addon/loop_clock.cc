#include "addon/loop_clock.h"

#include <algorithm>

#include "base/clock.h"

namespace millrace::addon {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
// Whoever waits longer looks at the clock on the way.
constexpr uint64_t kArmedMsMax = 3'600'000;
// More than anybody waits for, and far from overflow.
constexpr double kTimerMsMax = 1e12;

}  // namespace

bool LoopClock::open(uv_loop_t* loop, Events events) {
  events_ = std::move(events);
  idle_.data = check_.data = timer_.data = this;
  if (uv_idle_init(loop, &idle_) != 0 || uv_check_init(loop, &check_) != 0 ||
      uv_timer_init(loop, &timer_) != 0) {
    return false;  // never: these register nothing with the system
  }
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer_));
  self_ = shared_from_this();
  handles_ = 3;
  return true;
}

bool LoopClock::requestTurn() {
  if (handles_ == 0) return false;
  asked_ = true;
  if (turning_) return false;
  turning_ = true;
  uv_idle_start(&idle_, [](uv_idle_t*) {});
  uv_check_start(&check_, [](uv_check_t* handle) { static_cast<LoopClock*>(handle->data)->onTurn(); });
  return true;
}

void LoopClock::onTurn() {
  // Before the work: what runs behind it, promise jobs too, may ask for another turn.
  asked_ = false;
  if (events_.turn()) asked_ = true;
  if (asked_) return;
  turning_ = false;
  uv_idle_stop(&idle_);
  uv_check_stop(&check_);
  events_.rest();
}

uint64_t LoopClock::startTimer(double ms) {
  const double wanted = std::clamp(ms, 0.0, kTimerMsMax);
  const uint64_t due_ns = monotonicNs() + static_cast<uint64_t>(wanted * static_cast<double>(kNsPerMs));
  const uint64_t id = next_id_++;
  const bool first = due_.empty() || due_ns < due_.begin()->first;
  due_.emplace(due_ns, id);
  due_by_id_.emplace(id, due_ns);
  if (first) arm();
  return id;
}

void LoopClock::stopTimer(uint64_t id) {
  const auto found = due_by_id_.find(id);
  if (found == due_by_id_.end()) return;
  due_.erase({found->second, id});
  due_by_id_.erase(found);
  // Armed too early is a look for nothing; that is cheaper than arming at each stop.
  if (due_.empty()) uv_timer_stop(&timer_);
}

void LoopClock::arm() {
  if (handles_ == 0 || due_.empty()) return;
  const uint64_t now_ns = monotonicNs();
  const uint64_t due_ns = due_.begin()->first;
  const uint64_t wait_ms = due_ns <= now_ns ? 0 : (due_ns - now_ns + kNsPerMs - 1) / kNsPerMs;
  // The loop counts from when its turn began.
  uv_update_time(timer_.loop);
  uv_timer_start(
      &timer_, [](uv_timer_t* handle) { static_cast<LoopClock*>(handle->data)->onTimer(); },
      std::min(wait_ms, kArmedMsMax), 0);
}

void LoopClock::onTimer() {
  const uint64_t now_ns = monotonicNs();
  // What is started meanwhile has its time before it.
  while (!due_.empty() && due_.begin()->first <= now_ns) {
    const uint64_t id = due_.begin()->second;
    stopTimer(id);
    events_.timer(id);
  }
  arm();
}

void LoopClock::close(std::function<void()> closed) {
  if (handles_ == 0) return closed();
  on_closed_ = std::move(closed);
  due_.clear();
  due_by_id_.clear();
  const auto done = [](uv_handle_t* handle) {
    auto* clock = static_cast<LoopClock*>(handle->data);
    if (--clock->handles_ > 0) return;
    const std::shared_ptr<LoopClock> last = std::move(clock->self_);
    if (last->on_closed_) last->on_closed_();
  };
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), done);
  uv_close(reinterpret_cast<uv_handle_t*>(&check_), done);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), done);
}

}  // namespace millrace::addon
