#include "addon/turn_watch.h"

#include <chrono>
#include <utility>

#include "base/clock.h"

namespace millrace::addon {
namespace {

using Shared = std::shared_ptr<TurnFlag>;

napi_value arm(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_value watched = nullptr;
  if (napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data) == napi_ok && data != nullptr) {
    (void)napi_get_boolean(env, TurnWatch::instance().arm(*static_cast<Shared*>(data)), &watched);
  }
  return watched;
}

void forget(napi_env, void*, void* hint) { delete static_cast<Shared*>(hint); }

napi_value openTurn(napi_env env, napi_callback_info) {
  auto owned = std::make_unique<Shared>(std::make_shared<TurnFlag>());
  napi_value memory = nullptr;
  if (napi_create_external_arraybuffer(env, owned->get(), sizeof(TurnFlag), forget, owned.get(), &memory) !=
      napi_ok) {
    napi_throw_error(env, "LIMIT_REACHED", "no memory for the turn's flag");
    return nullptr;
  }
  Shared* flag = owned.release();  // the finalizer of `memory` has it
  napi_value array = nullptr;
  napi_value function = nullptr;
  napi_value turn = nullptr;
  const bool made = napi_create_typedarray(env, napi_int32_array, 1, memory, 0, &array) == napi_ok &&
                    napi_create_function(env, "arm", NAPI_AUTO_LENGTH, arm, flag, &function) == napi_ok &&
                    napi_create_object(env, &turn) == napi_ok &&
                    // `arm` must not outlive the memory that it refers to.
                    napi_set_named_property(env, function, "over", array) == napi_ok &&
                    napi_set_named_property(env, turn, "over", array) == napi_ok &&
                    napi_set_named_property(env, turn, "arm", function) == napi_ok;
  return made ? turn : nullptr;
}

}  // namespace

TurnWatch& TurnWatch::instance() {
  // Never destroyed: its thread outlives every environment.
  static auto* const watch = std::make_unique<TurnWatch>().release();
  return *watch;
}

bool TurnWatch::arm(std::shared_ptr<TurnFlag> flag) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable() && !thread_.start([this] { run(); }).ok()) return false;
    first = armed_.empty();
    armed_.push_back({monotonicMs() + kDeliveringMsMax, std::move(flag)});
  }
  if (first) changed_.notifyOne();
  return true;
}

void TurnWatch::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !armed_.empty(); });
    const uint64_t now_ms = monotonicMs();
    const uint64_t due_ms = armed_.front().due_ms;
    if (due_ms > now_ms) {
      changed_.waitFor(lock, std::chrono::milliseconds(due_ms - now_ms));
      continue;
    }
    // Nothing else is published with it: the reader only stops sooner or later.
    armed_.front().flag->over.store(1, std::memory_order_relaxed);
    armed_.pop_front();
  }
}

bool registerTurnWatch(napi_env env, napi_value exports) {
  napi_value function = nullptr;
  return napi_create_function(env, "openTurn", NAPI_AUTO_LENGTH, openTurn, nullptr, &function) == napi_ok &&
         napi_set_named_property(env, exports, "openTurn", function) == napi_ok;
}

}  // namespace millrace::addon
