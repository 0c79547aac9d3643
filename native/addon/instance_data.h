// What this addon keeps for each thread that loaded it, as Node-API's instance data: it goes with the thread.
#pragma once

#include "addon/napi_include.h"

namespace millrace::addon {

// One class each for all environments of the thread: V8 never forgets a class that was made.
struct InstanceData {
  static InstanceData& of(Napi::Env env) { return *env.GetInstanceData<InstanceData>(); }

  Napi::FunctionReference environment_class;
  Napi::FunctionReference session_class;
};

}  // namespace millrace::addon
