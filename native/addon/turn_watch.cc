#include "addon/turn_watch.h"

#include <chrono>
#include <utility>

#include "addon/convert.h"
#include "addon/errors.h"
#include "base/clock.h"

namespace millrace::addon {
namespace {

using Shared = std::shared_ptr<TurnFlag>;

// arm() => whether the flag is watched
Napi::Value arm(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), TurnWatch::instance().arm(*static_cast<Shared*>(info.Data())));
}

Napi::Value openTurn(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto owned = std::make_unique<Shared>(std::make_shared<TurnFlag>());
  const auto forget = [](Napi::Env, void*, Shared* flag) { const std::unique_ptr<Shared> last(flag); };
  const Napi::ArrayBuffer memory =
      Napi::ArrayBuffer::New(env, owned->get(), sizeof(TurnFlag), forget, owned.get());
  if (memory.IsEmpty()) {
    env.GetAndClearPendingException();
    throwPlain(env, Status(Code::kLimit, "no memory for the turn's flag"));
    return {};
  }
  Shared* flag = owned.release();  // the finalizer of `memory` has it
  const Napi::Int32Array over = Napi::Int32Array::New(env, 1, memory, 0);
  if (over.IsEmpty()) return {};
  const Napi::Function function = Napi::Function::New<arm>(env, "arm", flag);
  keep(function, "over", over);  // `arm` must not outlive the memory that it refers to
  Napi::Object turn = Napi::Object::New(env);
  put(turn, "over", over);
  put(turn, "arm", function);
  return turn;
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

void exportTurnWatch(Napi::Object exports) {
  put(exports, "openTurn", Napi::Function::New<openTurn>(exports.Env(), "openTurn"));
}

}  // namespace millrace::addon
