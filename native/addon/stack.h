// A look at how much stack JavaScript has left.
#pragma once

#include "addon/napi_include.h"

namespace millrace::addon {

// Defines `ensureStack` on `exports`. False with an exception pending on failure.
bool registerStack(napi_env env, napi_value exports);

}  // namespace millrace::addon
