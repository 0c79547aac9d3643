// A call here does little more than cross from JavaScript and back. So these are C functions that find their
// ring in their own data, which takes 16 ns; a method of the class, which unwraps its receiver, takes 61
// (`length`, written both ways).
#include "addon/ring_calls.h"

#include <algorithm>
#include <array>
#include <utility>

#include "addon/convert.h"

namespace millrace::addon {
namespace {

using ring::Outcome;
using ring::Ring;
using ring::Side;

// What a call answers: a count or a length, perhaps with kWakeFlag, or one of these.
constexpr int32_t kWakeFlag = 1 << 24;
constexpr int32_t kFull = -1;
constexpr int32_t kEmpty = -1;
constexpr int32_t kClosed = -2;
constexpr int32_t kTooLarge = -3;
constexpr int32_t kInvalid = -4;  // not the arguments that the twin passes
constexpr int32_t kRetry = -1;
constexpr int32_t kSoon = -2;
static_assert(ring::kSlotBytesMax < kWakeFlag && Ring::kBatchMax < kWakeFlag);

template <size_t Count>
struct Call {
  Call(napi_env env, napi_callback_info info) {
    size_t count = Count;
    void* data = nullptr;
    (void)napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data);
    object = static_cast<RingObject*>(data);
  }
  std::array<napi_value, Count> arguments{};
  RingObject* object = nullptr;
};

// Where a batch lies: in the staging area, or in the caller's two arrays.
struct Batch {
  Batch(napi_env env, const RingObject& ring, const std::array<napi_value, 2>& arguments)
      : bytes(ring.staging()), lengths(ring.stagedLengths()) {
    uint32_t count = 0;
    if (napi_get_value_uint32(env, arguments[0], &count) == napi_ok) {
      lengths = lengths.first(std::min<size_t>(count, lengths.size()));
      return;
    }
    bytes = std::as_writable_bytes(elements<uint8_t>(env, arguments[0]));
    lengths = elements<uint32_t>(env, arguments[1]);
    lengths = lengths.first(std::min<size_t>(lengths.size(), Ring::kBatchMax));
  }
  MutableBytes bytes;
  std::span<uint32_t> lengths;
};

napi_value number(napi_env env, int32_t value) {
  napi_value result = nullptr;
  return napi_create_int32(env, value, &result) == napi_ok ? result : nullptr;
}

napi_value answer(napi_env env, Outcome outcome, size_t count, bool wake) {
  switch (outcome) {
    case Outcome::kDone:
      return number(env, static_cast<int32_t>(count) | (wake ? kWakeFlag : 0));
    case Outcome::kFull:
    case Outcome::kEmpty:
      return number(env, kEmpty);
    case Outcome::kClosed:
      return number(env, kClosed);
    case Outcome::kTooLarge:
      return number(env, kTooLarge);
  }
  return nullptr;
}

// A detached array is one, without bytes.
bool isBytes(napi_env env, napi_value value) {
  napi_typedarray_type type{};
  return napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
         type == napi_uint8_array;
}

// (length): pushes the first `length` bytes of the staging area.
napi_value tryPush(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint32_t length = 0;
  if (napi_get_value_uint32(env, call.arguments[0], &length) != napi_ok ||
      length > call.object->staging().size()) {
    return number(env, kInvalid);
  }
  const ring::Pushed pushed = call.object->ring().tryPush(call.object->staging().first(length));
  return answer(env, pushed.outcome, pushed.count, pushed.wake);
}

// (into?): pops one message into `into`, or into the staging area; answers its length.
napi_value tryPop(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  MutableBytes into = std::as_writable_bytes(elements<uint8_t>(env, call.arguments[0]));
  if (into.data() == nullptr && !isBytes(env, call.arguments[0])) into = call.object->staging();
  const ring::Popped popped = call.object->ring().tryPop(into);
  return answer(env, popped.outcome, popped.bytes, popped.wake);
}

// (count): pushes `count` messages that lie one after the other in the staging area, with their lengths.
// (packed, lengths): the same from the caller's arrays.
napi_value tryPushBatch(napi_env env, napi_callback_info info) {
  const Call<2> call(env, info);
  const Batch batch(env, *call.object, call.arguments);
  std::array<Bytes, Ring::kBatchMax> messages;
  size_t count = 0;
  size_t at = 0;
  for (; count < batch.lengths.size(); ++count) {
    const size_t length = batch.lengths[count];  // read once: the array may be shared
    if (length > batch.bytes.size() - at) break;
    messages[count] = batch.bytes.subspan(at, length);
    at += length;
  }
  if (count == 0) return number(env, batch.lengths.empty() ? 0 : kInvalid);
  const ring::Pushed pushed = call.object->ring().tryPushBatch({messages.data(), count});
  return answer(env, pushed.outcome, pushed.count, pushed.wake);
}

// (count), (into, lengths): the mirror of tryPushBatch; answers how many messages were popped.
napi_value tryPopBatch(napi_env env, napi_callback_info info) {
  const Call<2> call(env, info);
  const Batch batch(env, *call.object, call.arguments);
  // Not straight into the caller's array: it may be shared, and lengths that somebody changes are no
  // lengths.
  std::array<uint32_t, Ring::kBatchMax> lengths;
  const ring::Popped popped =
      call.object->ring().tryPopBatch(batch.bytes, {lengths.data(), batch.lengths.size()});
  std::copy_n(lengths.data(), popped.count, batch.lengths.data());
  return answer(env, popped.outcome, popped.count, popped.wake);
}

// (side, spins, yields): whether the side became ready meanwhile.
napi_value spin(napi_env env, napi_callback_info info) {
  constexpr uint32_t kSpinsMax = 4096;  // a native call is short, whatever it is asked
  const Call<3> call(env, info);
  uint32_t spins = 0;
  bool yields = false;
  napi_value result = nullptr;
  (void)napi_get_value_uint32(env, call.arguments[1], &spins);
  if (napi_get_value_bool(env, call.arguments[2], &yields) != napi_ok) return nullptr;
  const bool ready =
      call.object->ring().spin(sideOf(env, call.arguments[0]), std::min(kSpinsMax, spins), yields);
  return napi_get_boolean(env, ready, &result) == napi_ok ? result : nullptr;
}

}  // namespace

// Each function holds the object, unchangeably: whoever has a function has the ring.
void bindCalls(Napi::Object object, RingObject& ring) {
  const std::pair<const char*, napi_callback> calls[] = {{"tryPush", tryPush},
                                                         {"tryPop", tryPop},
                                                         {"tryPushBatch", tryPushBatch},
                                                         {"tryPopBatch", tryPopBatch},
                                                         {"spin", spin}};
  for (const auto& [name, callback] : calls) {
    napi_value function = nullptr;
    if (napi_create_function(object.Env(), name, NAPI_AUTO_LENGTH, callback, &ring, &function) != napi_ok)
      return;
    const Napi::Function call(object.Env(), function);
    keep(call, "owner", object);
    keep(object, name, call);
  }
}

void defineAnswers(Napi::Object ring_class) {
  const std::pair<const char*, int32_t> constants[] = {
      {"WAKE", kWakeFlag},
      {"FULL", kFull},
      {"EMPTY", kEmpty},
      {"CLOSED", kClosed},
      {"TOO_LARGE", kTooLarge},
      {"RETRY", kRetry},
      {"SOON", kSoon},
      {"MESSAGES", static_cast<int32_t>(Side::kMessages)},
      {"SPACE", static_cast<int32_t>(Side::kSpace)},
      {"STAGED_MAX", static_cast<int32_t>(RingObject::kStagedMax)},
      {"STAGING_BYTES", static_cast<int32_t>(RingObject::kStagingBytes)},
  };
  if (ring_class.IsEmpty()) return;  // the thread ends
  for (const auto& [name, value] : constants) put(ring_class, name, value);
}

ring::Side sideOf(napi_env env, napi_value value) {
  uint32_t side = 0;
  (void)napi_get_value_uint32(env, value, &side);
  return side == 0 ? Side::kMessages : Side::kSpace;
}

double waitAnswer(const ring::Wait& wait) {
  switch (wait.advice) {
    case ring::Wait::Advice::kRetry:
      return kRetry;
    case ring::Wait::Advice::kSoon:
      return kSoon;
    case ring::Wait::Advice::kSleep:
      return wait.word;
  }
  return kSoon;
}

}  // namespace millrace::addon
