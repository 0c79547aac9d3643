// The methods of the native class `Session`, one function each. Three files by subject: session_lifecycle.cc,
// session_queues.cc, session_messages.cc. src/engine/binding.ts has their types.
#pragma once

#include <memory>
#include <span>

#include "addon/convert.h"
#include "addon/session_object.h"

namespace millrace::addon {

struct SessionMethods {
  static SessionObject* enter(Call& call);
  static napi_value fail(SessionObject* self, const Status& status);
  static napi_value invalid(SessionObject* self, const char* what);
  static Status storeFailed(SessionObject* self);
  static napi_value handle(napi_env env, napi_callback_info info);
  static void settle(Environment& environment, napi_deferred deferred, const Status& status,
                     napi_value value);
  static napi_value detach(napi_env env, napi_callback_info info);
  static napi_value close(napi_env env, napi_callback_info info);
  static napi_value construct(napi_env env, napi_callback_info info);
  static napi_value create(Environment& environment, std::shared_ptr<engine::Broker> broker, uint64_t handle);
  static napi_value retire(Environment& environment, uint64_t handle, std::shared_ptr<engine::Broker> broker);
  static void finishOpen(Environment& environment, Opening& opening, napi_deferred deferred);
  static napi_value open(napi_env env, napi_callback_info info);
  static napi_value attach(napi_env env, napi_callback_info info);

  static napi_value limits(napi_env env, napi_callback_info info);
  static napi_value declare(napi_env env, napi_callback_info info);
  static napi_value pause(napi_env env, napi_callback_info info);
  static napi_value purge(napi_env env, napi_callback_info info);
  static napi_value queueStats(napi_env env, napi_callback_info info);
  static napi_value stats(napi_env env, napi_callback_info info);

  static napi_value send(napi_env env, napi_callback_info info);
  static napi_value openConsumer(napi_env env, napi_callback_info info);
  static napi_value stopConsumer(napi_env env, napi_callback_info info);
  static napi_value closeConsumer(napi_env env, napi_callback_info info);
  static napi_value leases(napi_env env, napi_callback_info info);
  static napi_value finishReceive(SessionObject* self, const engine::Receipt& receipt,
                                  std::span<double> report);
  static napi_value receive(napi_env env, napi_callback_info info);
  static napi_value peek(napi_env env, napi_callback_info info);
  static napi_value damage(napi_env env, napi_callback_info info);
  static napi_value ack(napi_env env, napi_callback_info info);
  static napi_value unitNumber(napi_env env, uint64_t unit);
  static napi_value burial(napi_env env, napi_callback_info info);
  static napi_value hurry(napi_env env, napi_callback_info info);
  static napi_value answer(napi_env env, napi_callback_info info);
  static napi_value poll(napi_env env, napi_callback_info info);
  static napi_value failure(napi_env env, napi_callback_info info);
};

}  // namespace millrace::addon
