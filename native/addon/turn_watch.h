// Says when a thread's deliveries have kept its event loop busy for long enough. Reading a clock for every
// message would cost a fifth of a fast delivery, so a native thread watches the time and sets a flag that
// JavaScript reads like any of its variables.
//
// One thread a process, started by the first flag that is armed, asleep while none is.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "addon/napi_include.h"
#include "base/mutex.h"
#include "os/thread.h"

namespace millrace::addon {

// How long deliveries may go on before timers and I/O of their event loop get their part of a turn.
constexpr uint64_t kDeliveringMsMax = 10;

// Shared by a thread of JavaScript and the watch; it lives as long as either refers to it.
struct TurnFlag {
  std::atomic<int32_t> over{0};
};
static_assert(sizeof(TurnFlag) == sizeof(int32_t) && std::atomic<int32_t>::is_always_lock_free,
              "JavaScript reads it as the element of an Int32Array");

class TurnWatch {
 public:
  static TurnWatch& instance();
  // Any thread: `flag` is set to 1 in kDeliveringMsMax. False: not, for the system has no thread to give.
  bool arm(std::shared_ptr<TurnFlag> flag);

 private:
  struct Armed {
    uint64_t due_ms;  // monotonic
    std::shared_ptr<TurnFlag> flag;
  };
  void run();

  Mutex mutex_{LockRank::kTurnWatch};
  Condition changed_;
  std::deque<Armed> armed_;  // guarded by mutex_; all wait equally long: the first is due first
  os::Thread thread_;        // started under mutex_, never joined
};

// Exports openTurn() => { over: Int32Array of one element, arm() => boolean }.
void exportTurnWatch(Napi::Object exports);

}  // namespace millrace::addon
