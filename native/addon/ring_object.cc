#include "addon/ring_object.h"

#include <utility>

#include "addon/convert.h"
#include "addon/errors.h"
#include "addon/ring_calls.h"

namespace millrace::addon {
namespace {

using ring::Ring;
using ring::Side;

// Only shared memory keeps its address while JavaScript runs: it can be neither detached nor shrunk.
bool isShared(const Napi::Value& view) {
  return view.IsTypedArray() && !view.As<Napi::TypedArray>().Buffer().IsArrayBuffer();
}

// ringSizeFor(slots, slotBytes): the bytes of memory that such a ring needs. Throws OUT_OF_RANGE.
Napi::Value ringSizeFor(const Napi::CallbackInfo& info) {
  const Result<uint64_t> size = Ring::sizeFor({unsigned32(info[0]), unsigned32(info[1])});
  if (size.ok()) return Napi::Number::New(info.Env(), static_cast<double>(size.value()));
  throwPlain(info.Env(), size.status());
  return {};
}

}  // namespace

Napi::Function RingObject::define(Napi::Env env) {
  return DefineClass(
      env, "Ring",
      {InstanceMethod<&RingObject::close>("close"), InstanceMethod<&RingObject::isClosed>("isClosed"),
       InstanceMethod<&RingObject::length>("length"), InstanceMethod<&RingObject::prepareWait>("prepareWait"),
       InstanceMethod<&RingObject::release>("release")});
}

RingObject::RingObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!IsEmpty()) construct(info);  // empty: the thread ends
}

void RingObject::construct(const Napi::CallbackInfo& info) {
  const MutableBytes memory = bytes(info[0]);
  const MutableBytes staging = bytes(info[1]);
  if (!isShared(info[0]) || !isShared(info[1]) ||
      staging.size() < kStagingBytes + kStagedMax * sizeof(uint32_t) ||
      reinterpret_cast<uintptr_t>(staging.data()) % alignof(uint32_t) != 0) {
    return throwPlain(info.Env(), Status(Code::kInvalidArgument, "two views of shared memory are needed"));
  }
  const Result<Ring> made = info.Length() > 2
                                ? Ring::create(memory, {unsigned32(info[2]), unsigned32(info[3])})
                                : Ring::attach(memory);
  if (!made.ok()) return throwPlain(info.Env(), made.status());
  ring_ = made.value();
  staging_ = staging.first(kStagingBytes);
  lengths_ = {reinterpret_cast<uint32_t*>(staging.data() + kStagingBytes), kStagedMax};
  memory_ = Napi::Persistent(info[0].As<Napi::Object>());
  staging_memory_ = Napi::Persistent(info[1].As<Napi::Object>());
  const std::pair<const char*, size_t> numbers[] = {
      {"slots", ring_->slots()},
      {"slotBytes", ring_->slotBytes()},
      {"messageWaiters", ring_->waiterWordAt(Side::kMessages) / sizeof(uint32_t)},
      {"spaceWaiters", ring_->waiterWordAt(Side::kSpace) / sizeof(uint32_t)},
  };
  Napi::Object object = info.This().As<Napi::Object>();
  for (const auto& [name, value] : numbers) put(object, name, static_cast<double>(value));
  bindCalls(object, *this);
}

void RingObject::close(const Napi::CallbackInfo&) { ring_->close(); }

Napi::Value RingObject::isClosed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), ring_->isClosed());
}

Napi::Value RingObject::length(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(ring_->length()));
}

// (side): the word to sleep on, or RETRY or SOON.
Napi::Value RingObject::prepareWait(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), waitAnswer(ring_->prepareWait(sideOf(info.Env(), info[0]))));
}

void RingObject::release(const Napi::CallbackInfo& info) { ring_->release(sideOf(info.Env(), info[0])); }

void exportRing(Napi::Object exports) {
  const Napi::Env env = exports.Env();
  Napi::Function ring = RingObject::define(env);
  defineAnswers(ring);
  put(exports, "Ring", ring);
  put(exports, "ringSizeFor", Napi::Function::New<ringSizeFor>(env, "ringSizeFor"));
}

}  // namespace millrace::addon
