#include "addon/environment.h"

#include "addon/session_object.h"

namespace millrace::addon {

void Completions::add(std::function<void()> completion) {
  {
    const std::lock_guard lock(mutex_);
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

Environment* Environment::of(napi_env env) {
  void* data = nullptr;
  return napi_get_instance_data(env, &data) == napi_ok ? static_cast<Environment*>(data) : nullptr;
}

Environment* Environment::create(napi_env env) {
  auto owned = std::make_unique<Environment>(env);
  Environment* environment = owned.get();
  uv_loop_t* loop = nullptr;
  environment->port = std::make_shared<LoopPort>();
  environment->completions = std::make_shared<Completions>(environment->port);
  if (napi_get_uv_event_loop(env, &loop) != napi_ok ||
      !environment->port->open(loop, [environment] { environment->onWake(); })) {
    napi_throw_error(env, "IO_ERROR", "no event loop");
    return nullptr;
  }
  const auto hook = [](napi_async_cleanup_hook_handle handle, void* data) {
    auto* ending = static_cast<Environment*>(data);
    ending->end();
    ending->port->close([handle] { napi_remove_async_cleanup_hook(handle); });
  };
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); };
  if (napi_set_instance_data(env, environment, finalize, nullptr) != napi_ok) {
    environment->port->close([] {});
    return nullptr;
  }
  (void)owned.release();  // the finalizer has it
  if (napi_add_async_cleanup_hook(env, hook, environment, nullptr) != napi_ok) {
    environment->port->close([] {});
    return nullptr;
  }
  return environment;
}

void Environment::end() {
  ending = true;
  while (!sessions.empty()) (*sessions.begin())->detach();
}

void Environment::onWake() {
  if (ending) return;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  completions->run();
  napi_value function = nullptr;
  napi_value receiver = nullptr;
  if (on_wake != nullptr && napi_get_reference_value(env, on_wake, &function) == napi_ok &&
      function != nullptr && napi_get_global(env, &receiver) == napi_ok) {
    const napi_status status = napi_make_callback(env, nullptr, receiver, function, 0, nullptr, nullptr);
    napi_value exception = nullptr;
    // A throw of user code that ran from here is an uncaught exception, as from any other event.
    if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
      napi_fatal_exception(env, exception);
    }
  }
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
  if (make_error == nullptr || napi_get_reference_value(env, make_error, &function) != napi_ok ||
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
