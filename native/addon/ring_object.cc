#include "addon/ring_object.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>

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

napi_value undefined(napi_env env) {
  napi_value value = nullptr;
  return napi_get_undefined(env, &value) == napi_ok ? value : nullptr;
}

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

void throwStatus(napi_env env, const Status& status) {
  const std::string code(codeName(status.code()));
  if (status.code() == Code::kOutOfRange) {
    napi_throw_range_error(env, code.c_str(), status.detail().c_str());
  } else if (status.code() == Code::kInvalidArgument) {
    napi_throw_type_error(env, code.c_str(), status.detail().c_str());
  } else {
    napi_throw_error(env, code.c_str(), status.detail().c_str());
  }
}

// The memory of a typed array of this type; empty for anything else.
MutableBytes typed(napi_env env, napi_value value, napi_typedarray_type wanted, size_t element_bytes) {
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return {};
  if (type != wanted || data == nullptr) return {};
  return {static_cast<std::byte*>(data), length * element_bytes};
}

bool isTyped(napi_env env, napi_value value, napi_typedarray_type wanted) {
  napi_typedarray_type type{};
  return napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
         type == wanted;
}

uint32_t unsigned32(napi_env env, napi_value value) {
  uint32_t result = 0;
  return napi_get_value_uint32(env, value, &result) == napi_ok ? result : 0;
}

template <size_t Count>
struct Call {
  Call(napi_env env, napi_callback_info info) {
    size_t count = Count;
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data) != napi_ok) return;
    object = static_cast<RingObject*>(data);
  }
  std::array<napi_value, Count> arguments{};
  RingObject* object = nullptr;  // null only while the environment ends
};

Side sideOf(napi_env env, napi_value value) {
  return unsigned32(env, value) == 0 ? Side::kMessages : Side::kSpace;
}

}  // namespace

struct RingMethods {
  // new Ring(memory, staging, lengths) attaches; with slots and slotBytes it creates first.
  static napi_value construct(napi_env env, napi_callback_info info) {
    std::array<napi_value, 5> arguments{};
    size_t count = arguments.size();
    napi_value receiver = nullptr;
    if (napi_get_cb_info(env, info, &count, arguments.data(), &receiver, nullptr) != napi_ok) return nullptr;
    const MutableBytes memory = typed(env, arguments[0], napi_uint8_array, 1);
    const MutableBytes staging = typed(env, arguments[1], napi_uint8_array, 1);
    if (!isShared(env, arguments[0]) || !isShared(env, arguments[1]) ||
        staging.size() < RingObject::kStagingBytes + RingObject::kStagedMax * sizeof(uint32_t) ||
        reinterpret_cast<uintptr_t>(staging.data()) % alignof(uint32_t) != 0) {
      throwStatus(env, Status(Code::kInvalidArgument, "two views of shared memory are needed"));
      return nullptr;
    }
    Result<Ring> made =
        count > 2 ? Ring::create(memory, {unsigned32(env, arguments[2]), unsigned32(env, arguments[3])})
                  : Ring::attach(memory);
    if (!made.ok()) {
      throwStatus(env, made.status());
      return nullptr;
    }
    napi_value owner = nullptr;
    std::unique_ptr<RingObject> object(new RingObject(
        made.value(), staging.first(RingObject::kStagingBytes),
        {reinterpret_cast<uint32_t*>(staging.data() + RingObject::kStagingBytes), RingObject::kStagedMax}));
    if (napi_create_reference(env, arguments[0], 1, &object->memory_) != napi_ok ||
        napi_create_reference(env, arguments[1], 1, &object->staging_memory_) != napi_ok ||
        !setNumber(env, receiver, "slots", made.value().slots()) ||
        !setNumber(env, receiver, "slotBytes", made.value().slotBytes()) ||
        !setNumber(env, receiver, "messageWaiters", made.value().waiterWordAt(Side::kMessages) / 4) ||
        !setNumber(env, receiver, "spaceWaiters", made.value().waiterWordAt(Side::kSpace) / 4) ||
        napi_create_external(env, object.get(), finalize, nullptr, &owner) != napi_ok) {
      finalizeReferences(env, *object);
      return nullptr;
    }
    RingObject* shared = object.release();  // the external's finalizer has it
    return bindMethods(env, receiver, owner, shared) ? receiver : nullptr;
  }

  // Methods find the object in their own data instead of unwrapping the receiver, which takes half the time
  // of a call. Each function holds the external that owns the object, unchangeably: whoever has a function
  // has the object.
  static bool bindMethods(napi_env env, napi_value receiver, napi_value owner, RingObject* object);

  // Only shared memory keeps its address while JavaScript runs: it can be neither detached nor shrunk.
  static bool isShared(napi_env env, napi_value view) {
    napi_typedarray_type type{};
    napi_value buffer = nullptr;
    bool is_array_buffer = true;
    if (napi_get_typedarray_info(env, view, &type, nullptr, nullptr, &buffer, nullptr) != napi_ok)
      return false;
    return napi_is_arraybuffer(env, buffer, &is_array_buffer) == napi_ok && !is_array_buffer;
  }

  static bool setNumber(napi_env env, napi_value object, const char* name, size_t value) {
    napi_value boxed = nullptr;
    return napi_create_double(env, static_cast<double>(value), &boxed) == napi_ok &&
           napi_set_named_property(env, object, name, boxed) == napi_ok;
  }

  static void finalizeReferences(napi_env env, RingObject& object) {
    if (object.memory_ != nullptr) napi_delete_reference(env, object.memory_);
    if (object.staging_memory_ != nullptr) napi_delete_reference(env, object.staging_memory_);
  }

  static void finalize(napi_env env, void* data, void*) {
    const std::unique_ptr<RingObject> object(static_cast<RingObject*>(data));
    finalizeReferences(env, *object);
  }

  // (length): pushes the first `length` bytes of the staging area.
  static napi_value tryPush(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    uint32_t length = 0;
    if (call.object == nullptr || napi_get_value_uint32(env, call.arguments[0], &length) != napi_ok ||
        length > call.object->staging_.size()) {
      return number(env, kInvalid);
    }
    const ring::Pushed pushed = call.object->ring_.tryPush(call.object->staging_.first(length));
    return answer(env, pushed.outcome, pushed.count, pushed.wake);
  }

  // (into?): pops one message into `into`, or into the staging area; answers its length.
  static napi_value tryPop(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    if (call.object == nullptr) return number(env, kInvalid);
    MutableBytes into = typed(env, call.arguments[0], napi_uint8_array, 1);
    if (into.data() == nullptr && !isTyped(env, call.arguments[0], napi_uint8_array))
      into = call.object->staging_;
    const ring::Popped popped = call.object->ring_.tryPop(into);
    return answer(env, popped.outcome, popped.bytes, popped.wake);
  }

  // (count): pushes `count` messages that lie one after the other in the staging area, with their lengths.
  // (packed, lengths): the same from the caller's arrays.
  static napi_value tryPushBatch(napi_env env, napi_callback_info info) {
    const Call<2> call(env, info);
    if (call.object == nullptr) return number(env, kInvalid);
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
    const ring::Pushed pushed = call.object->ring_.tryPushBatch({messages.data(), count});
    return answer(env, pushed.outcome, pushed.count, pushed.wake);
  }

  // (count), (into, lengths): the mirror of tryPushBatch; answers how many messages were popped.
  static napi_value tryPopBatch(napi_env env, napi_callback_info info) {
    const Call<2> call(env, info);
    if (call.object == nullptr) return number(env, kInvalid);
    const Batch batch(env, *call.object, call.arguments);
    // Not straight into the caller's array: it may be shared, and lengths that somebody changes are no
    // lengths.
    std::array<uint32_t, Ring::kBatchMax> lengths;
    const ring::Popped popped =
        call.object->ring_.tryPopBatch(batch.bytes, {lengths.data(), batch.lengths.size()});
    std::copy_n(lengths.data(), popped.count, batch.lengths.data());
    return answer(env, popped.outcome, popped.count, popped.wake);
  }

  static napi_value close(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    if (call.object != nullptr) call.object->ring_.close();
    return undefined(env);
  }

  static napi_value isClosed(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    napi_value result = nullptr;
    const bool closed = call.object == nullptr || call.object->ring_.isClosed();
    return napi_get_boolean(env, closed, &result) == napi_ok ? result : nullptr;
  }

  static napi_value length(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    return number(env, call.object == nullptr ? 0 : static_cast<int32_t>(call.object->ring_.length()));
  }

  // (side, spins, yields): whether the side became ready meanwhile.
  static napi_value spin(napi_env env, napi_callback_info info) {
    constexpr uint32_t kSpinsMax = 4096;  // a native call is short, whatever it is asked
    const Call<3> call(env, info);
    bool yields = false;
    napi_value result = nullptr;
    if (call.object == nullptr || napi_get_value_bool(env, call.arguments[2], &yields) != napi_ok)
      return nullptr;
    const uint32_t spins = std::min(kSpinsMax, unsigned32(env, call.arguments[1]));
    const bool ready = call.object->ring_.spin(sideOf(env, call.arguments[0]), spins, yields);
    return napi_get_boolean(env, ready, &result) == napi_ok ? result : nullptr;
  }

  // (side): the word to sleep on, or RETRY or SOON.
  static napi_value prepareWait(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    if (call.object == nullptr) return number(env, kSoon);
    const ring::Wait wait = call.object->ring_.prepareWait(sideOf(env, call.arguments[0]));
    if (wait.advice == ring::Wait::Advice::kRetry) return number(env, kRetry);
    if (wait.advice == ring::Wait::Advice::kSoon) return number(env, kSoon);
    napi_value result = nullptr;
    return napi_create_uint32(env, wait.word, &result) == napi_ok ? result : nullptr;
  }

  static napi_value release(napi_env env, napi_callback_info info) {
    const Call<1> call(env, info);
    if (call.object != nullptr) call.object->ring_.release(sideOf(env, call.arguments[0]));
    return undefined(env);
  }

  // (slots, slotBytes): the bytes of memory that such a ring needs. Throws OUT_OF_RANGE.
  static napi_value sizeFor(napi_env env, napi_callback_info info) {
    std::array<napi_value, 2> arguments{};
    size_t count = arguments.size();
    if (napi_get_cb_info(env, info, &count, arguments.data(), nullptr, nullptr) != napi_ok) return nullptr;
    const Result<uint64_t> size =
        Ring::sizeFor({unsigned32(env, arguments[0]), unsigned32(env, arguments[1])});
    if (!size.ok()) {
      throwStatus(env, size.status());
      return nullptr;
    }
    return number(env, static_cast<int32_t>(size.value()));
  }

 private:
  // Where a batch lies: in the staging area, or in the caller's two arrays.
  struct Batch {
    Batch(napi_env env, const RingObject& object, const std::array<napi_value, 2>& arguments)
        : bytes(object.staging_), lengths(object.lengths_) {
      uint32_t count = 0;
      if (napi_get_value_uint32(env, arguments[0], &count) == napi_ok) {
        lengths = lengths.first(std::min<size_t>(count, lengths.size()));
        return;
      }
      bytes = typed(env, arguments[0], napi_uint8_array, 1);
      const MutableBytes raw = typed(env, arguments[1], napi_uint32_array, sizeof(uint32_t));
      lengths = {reinterpret_cast<uint32_t*>(raw.data()),
                 std::min<size_t>(raw.size() / sizeof(uint32_t), Ring::kBatchMax)};
    }
    MutableBytes bytes;
    std::span<uint32_t> lengths;
  };
};

bool RingMethods::bindMethods(napi_env env, napi_value receiver, napi_value owner, RingObject* object) {
  using M = RingMethods;
  struct Method {
    const char* name;
    napi_callback callback;
  };
  const std::array methods{Method{"tryPush", M::tryPush},
                           Method{"tryPop", M::tryPop},
                           Method{"tryPushBatch", M::tryPushBatch},
                           Method{"tryPopBatch", M::tryPopBatch},
                           Method{"close", M::close},
                           Method{"isClosed", M::isClosed},
                           Method{"length", M::length},
                           Method{"spin", M::spin},
                           Method{"prepareWait", M::prepareWait},
                           Method{"release", M::release}};
  const auto fixed = [env](napi_value on, const char* name, napi_value value) {
    const napi_property_descriptor property{name,    nullptr, nullptr,      nullptr,
                                            nullptr, value,   napi_default, nullptr};
    return napi_define_properties(env, on, 1, &property) == napi_ok;
  };
  for (const Method& method : methods) {
    napi_value function = nullptr;
    if (napi_create_function(env, method.name, NAPI_AUTO_LENGTH, method.callback, object, &function) !=
            napi_ok ||
        !fixed(function, "owner", owner) || !fixed(receiver, method.name, function)) {
      return false;
    }
  }
  return true;
}

bool registerRing(napi_env env, napi_value exports) {
  using M = RingMethods;
  napi_value constructor = nullptr;
  napi_value size_for = nullptr;
  if (napi_define_class(env, "Ring", NAPI_AUTO_LENGTH, M::construct, nullptr, 0, nullptr, &constructor) !=
          napi_ok ||
      napi_create_function(env, "ringSizeFor", NAPI_AUTO_LENGTH, M::sizeFor, nullptr, &size_for) != napi_ok) {
    return false;
  }
  struct Constant {
    const char* name;
    int32_t value;
  };
  const std::array constants{Constant{"WAKE", kWakeFlag},
                             Constant{"FULL", kFull},
                             Constant{"EMPTY", kEmpty},
                             Constant{"CLOSED", kClosed},
                             Constant{"TOO_LARGE", kTooLarge},
                             Constant{"RETRY", kRetry},
                             Constant{"SOON", kSoon},
                             Constant{"MESSAGES", static_cast<int32_t>(Side::kMessages)},
                             Constant{"SPACE", static_cast<int32_t>(Side::kSpace)},
                             Constant{"STAGED_MAX", static_cast<int32_t>(RingObject::kStagedMax)},
                             Constant{"STAGING_BYTES", static_cast<int32_t>(RingObject::kStagingBytes)}};
  for (const Constant& constant : constants) {
    napi_value value = number(env, constant.value);
    if (value == nullptr || napi_set_named_property(env, constructor, constant.name, value) != napi_ok)
      return false;
  }
  return napi_set_named_property(env, exports, "Ring", constructor) == napi_ok &&
         napi_set_named_property(env, exports, "ringSizeFor", size_for) == napi_ok;
}

}  // namespace millrace::addon
