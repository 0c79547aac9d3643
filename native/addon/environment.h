// Everything this addon keeps for one evaluated copy of our JavaScript. One thread may have several: a test
// runner or a bundler evaluates modules more than once, while Node.js loads the addon once. They share
// nothing but the registry of brokers, so that what one of them opens, waits for or closes is no matter of
// the others.
//
// An Environment ends with its thread, however that comes (return, exit, uncaught exception, terminate(),
// heap limit): the cleanup hook gives every lease back at once. Or with its copy: one that nobody can reach
// any more and that waits for nothing is collected.
//
// All of it belongs to the environment's thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "addon/loop_clock.h"
#include "addon/loop_port.h"
#include "addon/napi_include.h"
#include "base/mutex.h"
#include "base/status.h"

namespace millrace::addon {

class SessionObject;
struct Opening;

// Results of work done on other threads, on their way to an environment that may be gone when they arrive:
// then they are dropped with what they hold.
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

class Environment final : public std::enable_shared_from_this<Environment> {
 public:
  // The environment of a new copy, whose JavaScript calls it through the returned object. `hooks` has what
  // native code calls: see NativeHooks in src/engine/binding.ts. Null, perhaps with an exception pending, on
  // failure.
  static napi_value connect(napi_env env, napi_value hooks);
  // The environment behind the object that connect() returned; null with an exception pending.
  static Environment* of(napi_env env, napi_value receiver);

  // For a loop that looks for wake-ups by itself (LoopPort::setWatching). True: there was one, and what other
  // threads completed has been told; the listeners are the caller's.
  bool look();
  void requestTurn();
  uint64_t startTimer(double ms);
  void stopTimer(uint64_t id);

  // Whoever will be told something later holds the copy's JavaScript.
  void hold();
  void release();

  void throwStatus(const Status& status) const;
  // The error as a JavaScript value, made by the function that JavaScript handed in. Null while terminating.
  napi_value makeError(const Status& status) const;

  const napi_env env;
  const std::shared_ptr<LoopPort> port = std::make_shared<LoopPort>();
  const std::shared_ptr<Completions> completions = std::make_shared<Completions>(port);
  napi_ref session_class = nullptr;             // weak, as those below
  std::unordered_set<SessionObject*> sessions;  // attached ones
  std::unordered_set<Opening*> openings;        // brokers on their way to a session
  bool ending = false;

 private:
  explicit Environment(napi_env napi) : env(napi) {}
  bool open(napi_value object, napi_value hooks);
  void onWake();
  // What a hook returned; null if it threw, which is then an uncaught exception as from any other event.
  napi_value callHook(napi_ref hook, size_t count, const napi_value* arguments);
  void end();
  void closeHandles(std::function<void()> closed);

  const std::shared_ptr<LoopClock> clock_ = std::make_shared<LoopClock>();
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  // What connect() returned, which owns this: strong while somebody holds. The others are weak references to
  // functions that the object keeps.
  napi_ref object_ = nullptr;
  napi_ref make_error_ = nullptr;
  napi_ref on_wake_ = nullptr;
  napi_ref on_turn_ = nullptr;
  napi_ref on_timer_ = nullptr;
  size_t holders_ = 0;
  bool timers_held_ = false;
};

}  // namespace millrace::addon
