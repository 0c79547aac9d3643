#include "addon/environment.h"

#include <array>
#include <string>
#include <utility>

#include "addon/brokers.h"
#include "addon/convert.h"
#include "addon/environment_methods.h"
#include "addon/errors.h"
#include "addon/instance_data.h"
#include "addon/session_object.h"

namespace millrace::addon {
namespace {

// Tells our objects from others that somebody wrapped.
// Whatever has it is laid out as in this
// file: another layout needs another tag, because two versions of the addon may be in one process.
constexpr napi_type_tag kTag{0x6d696c6c72616365, 0x656e7669726f6e32};

constexpr std::array<const char*, 4> kHookNames{"makeError", "wake", "turn", "timer"};

}  // namespace

Napi::Function Environment::define(Napi::Env env) { return DefineClass(env, "Environment", {}); }

Environment* Environment::from(const Napi::Value& value) {
  bool is_ours = false;
  if (napi_check_object_type_tag(value.Env(), value, &kTag, &is_ours) == napi_ok && is_ours)
    return Unwrap(value.As<Napi::Object>());
  throwPlain(value.Env(), Status(Code::kInvalidArgument, "not an environment"));
  return nullptr;
}

Environment::Environment(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  // Empty: the thread ends, and nobody would close what is opened here.
  if (IsEmpty()) return;
  Napi::FunctionReference* const references[] = {&make_error_, &on_wake_, &on_turn_, &on_timer_};
  for (size_t i = 0; i < kHookNames.size(); ++i) {
    // connect() gives functions; others may find the class too.
    if (!info[1 + i].IsFunction()) {
      throwPlain(info.Env(), Status(Code::kInvalidArgument, "hooks"));
      return;
    }
    *references[i] = Napi::Weak(info[1 + i].As<Napi::Function>());
  }
  put(Value(), "hooks", info[0]);
  if (!openHandles()) return;
  defineMethods(*this);
  Value().TypeTag(&kTag);
}

Environment::~Environment() {
  if (cleanup_ == nullptr) return;  // its thread ended first, or nothing was opened
  (void)napi_remove_async_cleanup_hook(cleanup_);
  end();
  closeHandles([] {});
}

Napi::Value Environment::connect(const Napi::CallbackInfo& info) {
  std::array<napi_value, 1 + kHookNames.size()> arguments{info[0]};
  for (size_t i = 0; i < kHookNames.size(); ++i) {
    const Napi::Value function = property(info[0], kHookNames[i]);
    if (function.IsEmpty() || !function.IsFunction()) {
      throwPlain(info.Env(), Status(Code::kInvalidArgument, "hooks"));
      return {};
    }
    arguments[1 + i] = function;
  }
  return makeInstance(InstanceData::of(info.Env()).environment_class, arguments);
}

bool Environment::openHandles() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(Env(), &loop) != napi_ok || !port->open(loop, [this] { onWake(); })) {
    throwPlain(Env(), Status(Code::kIo, "no event loop"));
    return false;
  }
  const auto hook = [](napi_async_cleanup_hook_handle handle, void* data) {
    auto* environment = static_cast<Environment*>(data);
    environment->cleanup_ = nullptr;
    environment->end();
    environment->closeHandles([handle] { napi_remove_async_cleanup_hook(handle); });
  };
  const LoopClock::Events events{[this] { return onTurn(); }, [this] { release(); },
                                 [this](uint64_t id) { onTimer(id); }};
  if (!clock_->open(loop, events) || napi_add_async_cleanup_hook(Env(), hook, this, &cleanup_) != napi_ok) {
    closeHandles([] {});
    return false;
  }
  return true;
}

void Environment::hold() {
  if (holders_++ == 0 && !ending) Ref();
}

void Environment::release() {
  if (--holders_ == 0 && !ending) Unref();
}

void Environment::requestTurn() {
  if (!ending && clock_->requestTurn()) hold();
}

uint64_t Environment::startTimer(double ms) {
  if (ending) return 0;
  if (!timers_held_) {
    timers_held_ = true;
    hold();
  }
  return clock_->startTimer(ms);
}

void Environment::stopTimer(uint64_t id) {
  clock_->stopTimer(id);
  if (!timers_held_ || clock_->hasTimers()) return;
  timers_held_ = false;
  release();
}

// The order matters. A finished opening that waits among the completions is held by nothing else: it must be
// told before they are dropped. And what leaves here while the sessions go must find nobody to tell.
void Environment::end() {
  ending = true;
  for (Opening* opening : openings) opening->abandon();
  openings.clear();
  completions->end();
  while (!sessions.empty()) (*sessions.begin())->leaveForGood();
}

void Environment::closeHandles(std::function<void()> closed) {
  // The ports outlive their handles and nothing else: what they would call is gone by then.
  port->close([clock = clock_, closed = std::move(closed)]() mutable { clock->close(std::move(closed)); });
}

bool Environment::onTurn() {
  if (ending) return false;
  const Napi::HandleScope scope(Env());
  const Napi::Value answer = callHook(on_turn_);
  // A hook that threw has jobs left.
  return answer.IsEmpty() || !answer.IsBoolean() || answer.As<Napi::Boolean>().Value();
}

void Environment::onTimer(uint64_t id) {
  if (ending) return;
  const Napi::HandleScope scope(Env());
  callHook(on_timer_, {Napi::Number::New(Env(), static_cast<double>(id))});
  stopTimer(id);
}

void Environment::onWake() {
  if (ending) return;
  const Napi::HandleScope scope(Env());
  completions->run();
  callHook(on_wake_);
}

bool Environment::look() {
  if (ending || !port->takeMark()) return false;
  completions->run();
  return true;
}

// This and makeError are C: Napi::Function::Call ends the process where JavaScript is terminated in the
// middle of it (by the time limit of node:vm, say), because it cannot make an error of that.
Napi::Value Environment::callHook(const Napi::FunctionReference& hook,
                                  std::initializer_list<napi_value> arguments) const {
  const Napi::Function function = hook.Value();
  napi_value result = nullptr;
  if (function.IsEmpty()) return {};
  const napi_status status = napi_make_callback(Env(), nullptr, Env().Global(), function, arguments.size(),
                                                arguments.begin(), &result);
  if (status == napi_ok) return {Env(), result};
  napi_value exception = nullptr;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(Env(), &exception) == napi_ok)
    (void)napi_fatal_exception(Env(), exception);
  return {};
}

Napi::Value Environment::makeError(const Status& status) const {
  const Napi::Function function = make_error_.Value();
  if (function.IsEmpty()) return {};
  const napi_value arguments[] = {Napi::String::New(Env(), std::string(codeName(status.code()))),
                                  Napi::String::New(Env(), status.detail())};
  napi_value error = nullptr;
  if (napi_call_function(Env(), Env().Undefined(), function, std::size(arguments), arguments, &error) !=
      napi_ok) {
    return {};
  }
  return {Env(), error};
}

void Environment::throwStatus(const Status& status) const {
  const Napi::Value error = makeError(status);
  if (!error.IsEmpty()) throwValue(Env(), error);
}

}  // namespace millrace::addon
