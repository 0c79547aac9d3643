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
#include <initializer_list>
#include <memory>
#include <unordered_set>

#include "addon/completions.h"
#include "addon/loop_clock.h"
#include "addon/loop_port.h"
#include "addon/napi_include.h"
#include "base/status.h"

namespace millrace::addon {

class SessionObject;
struct Opening;

class Environment final : public Napi::ObjectWrap<Environment> {
 public:
  // The class of which connect() makes the instances.
  static Napi::Function define(Napi::Env env);
  // connect(hooks) => what one copy of our JavaScript has of this addon. `hooks` has what native code calls: see
  // NativeHooks in src/engine/binding.ts.
  static Napi::Value connect(const Napi::CallbackInfo& info);
  // The environment behind the object that connect() returned; null, with an exception pending, for anything
  // else.
  static Environment* from(const Napi::Value& value);

  explicit Environment(const Napi::CallbackInfo& info);
  ~Environment() override;

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
  // The error as a JavaScript value, made by the function that JavaScript handed in. Empty, perhaps with an
  // exception pending, where that threw or the thread ends.
  Napi::Value makeError(const Status& status) const;

  const std::shared_ptr<LoopPort> port = std::make_shared<LoopPort>();
  const std::shared_ptr<Completions> completions = std::make_shared<Completions>(port);
  std::unordered_set<SessionObject*> sessions;  // attached ones
  std::unordered_set<Opening*> openings;        // brokers on their way to a session
  bool ending = false;

 private:
  // False, perhaps with an exception pending, where there is nothing to work with.
  bool openHandles();
  bool onTurn();
  void onTimer(uint64_t id);
  void onWake();
  // What a hook returned; empty if it threw, which is then an uncaught exception as from any other event.
  Napi::Value callHook(const Napi::FunctionReference& hook,
                       std::initializer_list<napi_value> arguments = {}) const;
  void end();
  void closeHandles(std::function<void()> closed);

  const std::shared_ptr<LoopClock> clock_ = std::make_shared<LoopClock>();
  napi_async_cleanup_hook_handle cleanup_ = nullptr;  // null before all is open, and after the hook
  // Weak references to functions that the wrapped object keeps. It is strong itself while somebody holds.
  Napi::FunctionReference make_error_;
  Napi::FunctionReference on_wake_;
  Napi::FunctionReference on_turn_;
  Napi::FunctionReference on_timer_;
  size_t holders_ = 0;
  bool timers_held_ = false;
};

}  // namespace millrace::addon
