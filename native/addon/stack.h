// A look at how much stack JavaScript has left.
#pragma once

#include "addon/napi_include.h"

namespace millrace::addon {

// Exports ensureStack(nothing).
void exportStack(Napi::Object exports);

}  // namespace millrace::addon
