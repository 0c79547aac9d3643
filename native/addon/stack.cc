#include "addon/stack.h"

#include <array>

#include "addon/convert.h"

namespace millrace::addon {
namespace {

// Several times what the deepest call of this package takes, and enough to compile a function that is called
// for the first time. Below V8's limit there is more than this (192 KiB in a worker; on the main thread the
// limit is 984 KiB of a stack of 8 MiB, as a rule), and no more than one byte a page of it is touched.
constexpr size_t kRoomBytes = 64 << 10;

// ensureStack(nothing): calls `nothing`, a function without arguments, from below a frame of kRoomBytes. V8
// checks its limit where JavaScript is entered: where less is left, that call throws the usual RangeError.
//
// In C: Napi::Function::Call would make an error object of that RangeError where no stack is left, and ends
// the process where the call is terminated. It would also take 67 ns instead of 59, at each send.
[[gnu::noinline]] napi_value ensureStack(napi_env env, napi_callback_info info) {
  std::array<char, kRoomBytes> room;
  asm volatile("" : : "r"(room.data()) : "memory");  // so that there is a frame
  size_t count = 1;
  napi_value nothing = nullptr;
  napi_value receiver = nullptr;
  if (napi_get_cb_info(env, info, &count, &nothing, &receiver, nullptr) != napi_ok) return nullptr;
  // An exception that this leaves pending is thrown when this function returns.
  (void)napi_call_function(env, receiver, nothing, 0, nullptr, nullptr);
  return nullptr;
}

}  // namespace

void exportStack(Napi::Object exports) {
  const Napi::Env env = exports.Env();
  napi_value function = nullptr;
  if (napi_create_function(env, "ensureStack", NAPI_AUTO_LENGTH, ensureStack, nullptr, &function) == napi_ok)
    put(exports, "ensureStack", Napi::Value(env, function));
}

}  // namespace millrace::addon
