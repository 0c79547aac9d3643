// A promise that native code settles, on the environment's thread.
#pragma once

#include <optional>

#include "addon/environment.h"
#include "addon/napi_include.h"
#include "base/status.h"

namespace millrace::addon {

// In C. Where a thread ends in the middle of a call no promise can be made, and Napi::Promise::Deferred then
// answers a value that nobody set: the process ends with it.
class Promise {
 public:
  // Nothing while the thread ends.
  static std::optional<Promise> create(Napi::Env env) {
    Promise made;
    if (napi_create_promise(env, &made.deferred_, &made.value_) != napi_ok) return std::nullopt;
    made.env_ = env;
    return made;
  }

  // Only in the call that made it.
  Napi::Value value() const { return {env_, value_}; }

  // Once, in any later turn: with `value`, or with the error that JavaScript makes of `status`.
  void settle(const Environment& environment, const Status& status, const Napi::Value& value) const {
    if (status.ok()) {
      (void)napi_resolve_deferred(env_, deferred_, value);
    } else if (const Napi::Value error = environment.makeError(status); !error.IsEmpty()) {
      (void)napi_reject_deferred(env_, deferred_, error);
    }
  }

 private:
  Promise() = default;

  napi_env env_ = nullptr;
  napi_deferred deferred_ = nullptr;
  napi_value value_ = nullptr;
};

}  // namespace millrace::addon
