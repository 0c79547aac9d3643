// Everything this addon keeps for one JavaScript environment (the main thread or a worker). There is no state
// outside it but the registry of brokers. The environment's end, however it comes (return, exit, uncaught
// exception, terminate(), heap limit), runs its cleanup hook, which gives every lease back at once.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "addon/loop_port.h"
#include "addon/napi_include.h"
#include "base/status.h"

namespace millrace::addon {

class SessionObject;

// Results of work done on other threads, on their way to an environment that may be gone when they arrive:
// then they are dropped with what they hold.
class Completions {
 public:
  explicit Completions(std::shared_ptr<LoopPort> port) : port_(std::move(port)) {}
  // Any thread. `completion` runs on the loop.
  void add(std::function<void()> completion);
  // The loop's thread.
  void run();

 private:
  std::shared_ptr<LoopPort> port_;
  std::mutex mutex_;
  std::vector<std::function<void()>> waiting_;  // guarded by mutex_
};

struct Environment {
  explicit Environment(napi_env napi) : env(napi) {}

  static Environment* of(napi_env env);
  // Creates it, opens its port and hooks its end. Null (with an exception pending) on failure.
  static Environment* create(napi_env env);

  // For a loop that looks for wake-ups by itself (LoopPort::setWatching). True: there was one, and what other
  // threads completed has been told; the listeners are the caller's.
  bool look();

  void throwStatus(const Status& status) const;
  // The error as a JavaScript value, made by the function that JavaScript handed in. Null while terminating.
  napi_value makeError(const Status& status) const;

  napi_env env;
  std::shared_ptr<LoopPort> port;
  std::shared_ptr<Completions> completions;
  napi_ref make_error = nullptr;  // (code: string, detail: string) => Error
  napi_ref on_wake = nullptr;     // () => void
  napi_ref session_class = nullptr;
  std::unordered_set<SessionObject*> sessions;  // attached ones
  bool ending = false;

 private:
  void onWake();
  void end();
};

}  // namespace millrace::addon
