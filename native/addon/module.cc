// The addon's entry: what it exports to whoever loads it.
#include <memory>
#include <string>
#include <utility>

#include "addon/convert.h"
#include "addon/environment.h"
#include "addon/instance_data.h"
#include "addon/napi_include.h"
#include "addon/queue_settings.h"
#include "addon/ring_object.h"
#include "addon/session_object.h"
#include "addon/turn_watch.h"
#include "base/clock.h"
#include "base/status.h"
#include "log/record.h"

namespace millrace::addon {
namespace {

// now() => milliseconds of the clock that leases use; nothing in JavaScript can set it.
Napi::Value now(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(monotonicNs()) / 1e6);
}

// stackPointer() => an address in the stack of this call: the deeper, the lower.
Napi::Value stackPointer(const Napi::CallbackInfo& info) {
  const auto address = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return Napi::Number::New(info.Env(), static_cast<double>(address));
}

// The numbers that TypeScript needs and does not repeat: codes by number, the message layout, and the options
// of queues.
void exportConstants(Napi::Object exports) {
  const Napi::Env env = exports.Env();
  Napi::Array codes = Napi::Array::New(env);
  for (uint32_t i = 0; i < static_cast<uint32_t>(Code::kCount); ++i)
    codes.Set(i, std::string(codeName(static_cast<Code>(i))));
  put(exports, "codes", codes);

  using Layout = log::MessageLayout;
  Napi::Object layout = Napi::Object::New(env);
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
  for (const auto& [name, value] : offsets) put(layout, name, static_cast<double>(value));
  put(exports, "layout", layout);
  put(exports, "queueOptions", optionTable(env));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(std::make_unique<InstanceData>().release());  // Node-API deletes it
  InstanceData& data = InstanceData::of(env);
  data.environment_class = Napi::Persistent(Environment::define(env));
  data.session_class = Napi::Persistent(SessionObject::define(env));
  put(exports, "connect", Napi::Function::New<Environment::connect>(env, "connect"));
  put(exports, "now", Napi::Function::New<now>(env, "now"));
  put(exports, "stackPointer", Napi::Function::New<stackPointer>(env, "stackPointer"));
  put(exports, "version", MILLRACE_VERSION);
  exportConstants(exports);
  exportRing(exports);
  exportTurnWatch(exports);
  return exports;
}

}  // namespace
}  // namespace millrace::addon

NAPI_MODULE_INIT() { return Napi::RegisterModule(env, exports, millrace::addon::init); }
