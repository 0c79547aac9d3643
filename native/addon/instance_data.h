// What this addon keeps for each thread that loaded it, as Node-API's instance data: it goes with the thread.
#pragma once

#include <span>

#include "addon/napi_include.h"

namespace millrace::addon {

// One class each for all environments of the thread: V8 never forgets a class that was made.
struct InstanceData {
  static InstanceData& of(Napi::Env env) { return *env.GetInstanceData<InstanceData>(); }

  Napi::FunctionReference environment_class;
  Napi::FunctionReference session_class;
};

// new Class(...arguments). Empty, perhaps with an exception pending, if it could not be made. In C: where JavaScript is
// terminated meanwhile, Napi::FunctionReference::New ends the process.
inline Napi::Value makeInstance(const Napi::FunctionReference& of_class,
                                std::span<const napi_value> arguments) {
  napi_value instance = nullptr;
  const Napi::Function made_by = of_class.Value();
  if (made_by.IsEmpty() ||
      napi_new_instance(made_by.Env(), made_by, arguments.size(), arguments.data(), &instance) != napi_ok) {
    return {};
  }
  return {made_by.Env(), instance};
}

}  // namespace millrace::addon
