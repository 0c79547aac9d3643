// What JavaScript can ask of its environment: see NativePort in src/engine/binding.ts.
#pragma once

#include "addon/environment.h"
#include "addon/napi_include.h"

namespace millrace::addon {

// Gives the object of a new environment its methods.
void defineMethods(Environment& environment);

}  // namespace millrace::addon
