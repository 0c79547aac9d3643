// The addon's entry: one Environment for each JavaScript environment that loads it, and what it exports.
#include "addon/convert.h"
#include "addon/environment.h"
#include "addon/napi_include.h"
#include "addon/ring_object.h"
#include "addon/session_object.h"
#include "base/status.h"
#include "log/record.h"

namespace millrace::addon {
namespace {

// configure(makeError, onWake): what native code calls in this environment.
napi_value configure(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env);
  if (environment == nullptr || environment->make_error != nullptr) return nullptr;
  napi_create_reference(env, call.arguments[0], 1, &environment->make_error);
  napi_create_reference(env, call.arguments[1], 1, &environment->on_wake);
  return nullptr;
}

// The numbers that TypeScript needs and does not repeat: codes by number, and the message layout.
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
}

}  // namespace

napi_value init(napi_env env, napi_value exports) {
  Environment* environment = Environment::create(env);
  if (environment == nullptr || !SessionObject::define(*environment, exports) ||
      !registerRing(env, exports)) {
    return nullptr;
  }
  napi_value function = nullptr;
  napi_create_function(env, "configure", NAPI_AUTO_LENGTH, configure, nullptr, &function);
  napi_set_named_property(env, exports, "configure", function);
  exportConstants(env, exports);
  return exports;
}

}  // namespace millrace::addon

NAPI_MODULE_INIT() { return millrace::addon::init(env, exports); }
