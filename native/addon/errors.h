// Errors that native code throws by itself. What fails in a copy of our JavaScript gets its error from there:
// see Environment::throwStatus.
#pragma once

#include "addon/napi_include.h"
#include "base/status.h"

namespace millrace::addon {

// Throws a RangeError, a TypeError or an Error, with the status's code as its `code`. Does nothing where
// something is thrown already.
void throwPlain(Napi::Env env, const Status& status);

// Throws `value`. Does nothing where something is thrown already: Napi::Error ends the process then.
void throwValue(Napi::Env env, const Napi::Value& value);

}  // namespace millrace::addon
