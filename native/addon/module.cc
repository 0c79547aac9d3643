// The addon's entry: what it exports to whoever loads it, and what connect() gives each copy of our
// JavaScript.
#include <thread>
#include <utility>

#include "addon/convert.h"
#include "addon/environment.h"
#include "addon/napi_include.h"
#include "addon/queue_settings.h"
#include "addon/ring_object.h"
#include "addon/session_object.h"
#include "addon/stack.h"
#include "addon/turn_watch.h"
#include "base/clock.h"
#include "base/status.h"
#include "log/record.h"

namespace millrace::addon {
namespace {

// setReferenced(referenced): whether this copy keeps the loop alive.
napi_value setReferenced(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment != nullptr && !environment->ending) environment->port->setReferenced(call.boolean(0));
  return nullptr;
}

// setWatching(watching): from now on wake-ups are looked for with look(), or not any more.
napi_value setWatching(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment != nullptr) environment->port->setWatching(call.boolean(0));
  return nullptr;
}

// look() => true: a native thread had something to say
napi_value look(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  napi_value result = nullptr;
  const bool found = environment != nullptr && environment->look();
  // On a busy machine the thread that is waited for may stand in line for this very core.
  if (!found) std::this_thread::yield();
  napi_get_boolean(env, found, &result);
  return result;
}

// requestTurn(): hooks.turn is called in the next turn of the loop, and until it returns false.
napi_value requestTurn(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment != nullptr) environment->requestTurn();
  return nullptr;
}

// startTimer(ms) => id: hooks.timer(id) is called then.
napi_value startTimer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment == nullptr) return nullptr;
  return number(env, static_cast<double>(environment->startTimer(call.number(0))));
}

napi_value stopTimer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment != nullptr) environment->stopTimer(call.unsigned64(0));
  return nullptr;
}

// connect(hooks) => what one copy of our JavaScript has of this addon
napi_value connect(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value object = Environment::connect(env, call.arguments[0]);
  if (object == nullptr) return nullptr;
  Environment* environment = Environment::of(env, object);
  const std::pair<const char*, napi_callback> methods[] = {
      {"setReferenced", setReferenced}, {"setWatching", setWatching}, {"look", look},
      {"requestTurn", requestTurn},     {"startTimer", startTimer},   {"stopTimer", stopTimer},
  };
  for (const auto& [name, callback] : methods) {
    napi_value method = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &method) != napi_ok ||
        napi_set_named_property(env, object, name, method) != napi_ok) {
      return nullptr;
    }
  }
  return SessionObject::define(*environment, object) ? object : nullptr;
}

// now() => milliseconds of the clock that leases use; nothing in JavaScript can set it.
napi_value now(napi_env env, napi_callback_info) {
  return number(env, static_cast<double>(monotonicNs()) / 1e6);
}

// The numbers that TypeScript needs and does not repeat: codes by number, the message layout, and the
// options of queues.
void exportConstants(napi_env env, napi_value exports) {
  napi_value codes = nullptr;
  napi_create_array(env, &codes);
  for (uint32_t i = 0; i < static_cast<uint32_t>(Code::kCount); ++i) {
    napi_set_element(env, codes, i, text(env, codeName(static_cast<Code>(i))));
  }
  napi_set_named_property(env, exports, "codes", codes);

  using Layout = log::MessageLayout;
  napi_value layout = nullptr;
  napi_create_object(env, &layout);
  const std::pair<const char*, size_t> offsets[] = {
      {"bytes", Layout::kBytes},
      {"kind", Layout::kKind},
      {"headerBytes", Layout::kHeaderBytes},
      {"queue", Layout::kQueue},
      {"bodyBytes", Layout::kBodyBytes},
      {"seq", Layout::kSeq},
      {"timestamp", Layout::kTimestamp},
      {"deliveryCount", Layout::kDeliveryCount},
      {"extensionBytes", Layout::kExtensionBytes},
      {"content", Layout::kContent},
      {"align", log::kRecordAlign},
      {"messageKind", static_cast<size_t>(log::Kind::kMessage)},
      {"deadLetterTag", static_cast<size_t>(log::Tag::kDeadLetter)},
  };
  for (const auto& [name, value] : offsets) setNumber(env, layout, name, static_cast<double>(value));
  napi_set_named_property(env, exports, "layout", layout);
  napi_set_named_property(env, exports, "queueOptions", optionTable(env));
}

}  // namespace

napi_value init(napi_env env, napi_value exports) {
  const std::pair<const char*, napi_callback> functions[] = {{"connect", connect}, {"now", now}};
  for (const auto& [name, callback] : functions) {
    napi_value function = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) != napi_ok ||
        napi_set_named_property(env, exports, name, function) != napi_ok) {
      return nullptr;
    }
  }
  if (!registerRing(env, exports) || !registerStack(env, exports) || !registerTurnWatch(env, exports)) {
    return nullptr;
  }
  napi_set_named_property(env, exports, "version", text(env, MILLRACE_VERSION));
  exportConstants(env, exports);
  return exports;
}

}  // namespace millrace::addon

NAPI_MODULE_INIT() { return millrace::addon::init(env, exports); }
