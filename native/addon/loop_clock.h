// Turns and timers of a libuv loop. JavaScript's own (setImmediate, setTimeout, Date, process.nextTick) can
// be replaced by whoever runs beside us, a test's frozen clock for one; what is confirmed, delivered or
// closed must not wait for them.
//
// One per Environment, used by the loop's thread only. A turn that was asked for keeps the loop alive until
// it has come; a timer never does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

#include "addon/napi_include.h"

namespace millrace::addon {

class LoopClock final : public std::enable_shared_from_this<LoopClock> {
 public:
  struct Events {
    std::function<bool()> turn;           // true: call again in the next turn
    std::function<void()> rest;           // no further turn is asked for
    std::function<void(uint64_t)> timer;  // the id of a timer whose time is over
  };
  // False if the loop refused a handle.
  bool open(uv_loop_t* loop, Events events);
  // `turn` is called once timers and I/O had their part of a turn. True: no turn was asked for before; then
  // `rest` tells when it is so again.
  bool requestTurn();
  // Ids are not used again.
  uint64_t startTimer(double ms);
  void stopTimer(uint64_t id);
  bool hasTimers() const { return !due_.empty(); }
  // `closed` runs on the loop when libuv no longer needs the handles; the clock keeps itself alive until
  // then.
  void close(std::function<void()> closed);

 private:
  void onTurn();
  void onTimer();
  void arm();

  uv_idle_t idle_{};    // active with check_: the loop does not sleep before the turn
  uv_check_t check_{};  // runs after the loop's I/O
  uv_timer_t timer_{};  // armed for the first of due_
  Events events_;
  std::function<void()> on_closed_;
  std::shared_ptr<LoopClock> self_;  // while libuv owns the handles
  int handles_ = 0;                  // that libuv owns
  bool turning_ = false;             // idle_ and check_ are active
  bool asked_ = false;               // for another turn than the one that is being told
  uint64_t next_id_ = 1;
  std::set<std::pair<uint64_t, uint64_t>> due_;       // (monotonic ns, id)
  std::unordered_map<uint64_t, uint64_t> due_by_id_;  // the same by id
};

}  // namespace millrace::addon
