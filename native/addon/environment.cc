#include "addon/environment.h"

#include "addon/convert.h"
#include "addon/session_object.h"

namespace millrace::addon {
namespace {

// Tells our objects from others that somebody wrapped.
constexpr napi_type_tag kTag{0x6d696c6c72616365, 0x656e7669726f6e6d};

napi_ref weakFunction(napi_env env, napi_value hooks, const char* name) {
  napi_value function = nullptr;
  napi_valuetype type = napi_undefined;
  napi_ref reference = nullptr;
  if (napi_get_named_property(env, hooks, name, &function) != napi_ok ||
      napi_typeof(env, function, &type) != napi_ok || type != napi_function ||
      napi_create_reference(env, function, 0, &reference) != napi_ok) {
    return nullptr;
  }
  return reference;
}

}  // namespace

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

napi_value Environment::connect(napi_env env, napi_value hooks) {
  using Owner = std::shared_ptr<Environment>;
  const std::shared_ptr<Environment> environment(new Environment(env));
  auto owner = std::make_unique<Owner>(environment);
  napi_value object = nullptr;
  const auto finalize = [](napi_env, void* data, void*) {
    const std::unique_ptr<Owner> last(static_cast<Owner*>(data));
    Environment& ended = **last;
    for (napi_ref* reference : {&ended.object_, &ended.make_error_, &ended.on_wake_, &ended.on_turn_,
                                &ended.on_timer_, &ended.session_class}) {
      if (*reference != nullptr) napi_delete_reference(ended.env, *reference);
      *reference = nullptr;
    }
    if (ended.cleanup_ == nullptr) return;  // its thread ended first
    (void)napi_remove_async_cleanup_hook(ended.cleanup_);
    ended.end();
    ended.closeHandles([] {});
  };
  if (napi_create_object(env, &object) != napi_ok ||
      napi_wrap(env, object, owner.get(), finalize, nullptr, nullptr) != napi_ok) {
    return nullptr;
  }
  (void)owner.release();  // the finalizer has it
  return environment->open(object, hooks) ? object : nullptr;
}

bool Environment::open(napi_value object, napi_value hooks) {
  uv_loop_t* loop = nullptr;
  if (napi_type_tag_object(env, object, &kTag) != napi_ok || napi_get_uv_event_loop(env, &loop) != napi_ok)
    return false;
  make_error_ = weakFunction(env, hooks, "makeError");
  on_wake_ = weakFunction(env, hooks, "wake");
  on_turn_ = weakFunction(env, hooks, "turn");
  on_timer_ = weakFunction(env, hooks, "timer");
  if (make_error_ == nullptr || on_wake_ == nullptr || on_turn_ == nullptr || on_timer_ == nullptr) {
    napi_throw_type_error(env, "INVALID_ARGUMENT", "hooks");
    return false;
  }
  if (napi_set_named_property(env, object, "hooks", hooks) != napi_ok ||
      napi_create_reference(env, object, 0, &object_) != napi_ok) {
    return false;
  }
  const auto turn = [this] {
    napi_handle_scope scope = nullptr;
    if (ending || napi_open_handle_scope(env, &scope) != napi_ok) return false;
    bool more = true;  // a hook that threw has jobs left
    if (napi_value answer = callHook(on_turn_, 0, nullptr)) (void)napi_get_value_bool(env, answer, &more);
    napi_close_handle_scope(env, scope);
    return more;
  };
  const auto timer = [this](uint64_t id) {
    napi_handle_scope scope = nullptr;
    if (ending || napi_open_handle_scope(env, &scope) != napi_ok) return;
    const napi_value argument = number(env, static_cast<double>(id));
    callHook(on_timer_, 1, &argument);
    napi_close_handle_scope(env, scope);
    stopTimer(id);
  };
  if (!port->open(loop, [this] { onWake(); })) {
    napi_throw_error(env, "IO_ERROR", "no event loop");
    return false;
  }
  const auto hook = [](napi_async_cleanup_hook_handle handle, void* data) {
    auto* environment = static_cast<Environment*>(data);
    environment->cleanup_ = nullptr;
    environment->end();
    environment->closeHandles([handle] { napi_remove_async_cleanup_hook(handle); });
  };
  if (!clock_->open(loop, {turn, [this] { release(); }, timer}) ||
      napi_add_async_cleanup_hook(env, hook, this, &cleanup_) != napi_ok) {
    closeHandles([] {});
    return false;
  }
  return true;
}

Environment* Environment::of(napi_env env, napi_value receiver) {
  void* data = nullptr;
  bool ours = false;
  if (napi_check_object_type_tag(env, receiver, &kTag, &ours) != napi_ok || !ours ||
      napi_unwrap(env, receiver, &data) != napi_ok) {
    napi_throw_type_error(env, "INVALID_ARGUMENT", "not an environment");
    return nullptr;
  }
  return static_cast<std::shared_ptr<Environment>*>(data)->get();
}

void Environment::hold() {
  if (holders_++ == 0 && !ending) (void)napi_reference_ref(env, object_, nullptr);
}

void Environment::release() {
  if (--holders_ == 0 && !ending) (void)napi_reference_unref(env, object_, nullptr);
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
  while (!sessions.empty()) (*sessions.begin())->detach();
}

void Environment::closeHandles(std::function<void()> closed) {
  // The ports outlive their handles and nothing else: what they would call is gone by then.
  port->close([clock = clock_, closed = std::move(closed)]() mutable { clock->close(std::move(closed)); });
}

napi_value Environment::callHook(napi_ref hook, size_t count, const napi_value* arguments) {
  napi_value function = nullptr;
  napi_value receiver = nullptr;
  napi_value result = nullptr;
  if (napi_get_reference_value(env, hook, &function) != napi_ok || function == nullptr ||
      napi_get_global(env, &receiver) != napi_ok) {
    return nullptr;
  }
  const napi_status status = napi_make_callback(env, nullptr, receiver, function, count, arguments, &result);
  if (status == napi_ok) return result;
  napi_value exception = nullptr;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
    napi_fatal_exception(env, exception);
  }
  return nullptr;
}

void Environment::onWake() {
  if (ending) return;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  completions->run();
  callHook(on_wake_, 0, nullptr);
  napi_close_handle_scope(env, scope);
}

bool Environment::look() {
  if (ending || !port->takeMark()) return false;
  completions->run();
  return true;
}

napi_value Environment::makeError(const Status& status) const {
  napi_value function = nullptr;
  napi_value receiver = nullptr;
  napi_value arguments[2] = {};
  napi_value error = nullptr;
  const std::string_view code = codeName(status.code());
  if (napi_get_reference_value(env, make_error_, &function) != napi_ok || function == nullptr ||
      napi_get_undefined(env, &receiver) != napi_ok ||
      napi_create_string_utf8(env, code.data(), code.size(), &arguments[0]) != napi_ok ||
      napi_create_string_utf8(env, status.detail().data(), status.detail().size(), &arguments[1]) !=
          napi_ok ||
      napi_call_function(env, receiver, function, 2, arguments, &error) != napi_ok) {
    return nullptr;
  }
  return error;
}

void Environment::throwStatus(const Status& status) const {
  napi_value error = makeError(status);
  if (error != nullptr) napi_throw(env, error);
}

}  // namespace millrace::addon
