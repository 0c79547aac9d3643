#include "addon/errors.h"

#include <string>

#include "addon/convert.h"

namespace millrace::addon {
namespace {

Napi::Error plain(Napi::Env env, const Status& status) {
  switch (status.code()) {
    case Code::kOutOfRange:
      return Napi::RangeError::New(env, status.detail());
    case Code::kInvalidArgument:
      return Napi::TypeError::New(env, status.detail());
    default:
      return Napi::Error::New(env, status.detail());
  }
}

}  // namespace

void throwPlain(Napi::Env env, const Status& status) {
  if (env.IsExceptionPending()) return;
  const Napi::Error error = plain(env, status);
  put(error.Value(), "code", std::string(codeName(status.code())));
  if (!env.IsExceptionPending()) error.ThrowAsJavaScriptException();
}

void throwValue(Napi::Env env, const Napi::Value& value) {
  if (!env.IsExceptionPending()) Napi::Error(env, value).ThrowAsJavaScriptException();
}

}  // namespace millrace::addon
