// The native class `Ring`: one thread's view of a ring in a SharedArrayBuffer. src/ring.ts is its twin and
// has the meaning of each method; the methods have the same names.
//
// Answers travel as plain numbers (see ring_calls.h): full and empty are no exceptions. Messages travel
// through a staging area that JavaScript and native code share: a second SharedArrayBuffer, because it can be
// neither detached nor resized, so that its address is looked up once instead of once a call.
#pragma once

#include <optional>
#include <span>

#include "addon/napi_include.h"
#include "base/bytes.h"
#include "ring/ring.h"

namespace millrace::addon {

// Exports the class `Ring` with its constants, and `ringSizeFor`.
void exportRing(Napi::Object exports);

class RingObject final : public Napi::ObjectWrap<RingObject> {
 public:
  static constexpr size_t kStagedMax = ring::Ring::kBatchMax;
  static constexpr size_t kStagingBytes = ring::kSlotBytesMax;

  static Napi::Function define(Napi::Env env);

  // new Ring(memory, staging) attaches; with (…, slots, slotBytes) it creates first.
  explicit RingObject(const Napi::CallbackInfo& info);

  ring::Ring& ring() { return *ring_; }
  MutableBytes staging() const { return staging_; }
  std::span<uint32_t> stagedLengths() const { return lengths_; }

 private:
  void construct(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  Napi::Value isClosed(const Napi::CallbackInfo& info);
  Napi::Value length(const Napi::CallbackInfo& info);
  Napi::Value prepareWait(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);

  std::optional<ring::Ring> ring_;  // set by a constructor that throws nothing
  MutableBytes staging_;
  std::span<uint32_t> lengths_;
  Napi::ObjectReference memory_;          // keeps the ring's buffer alive
  Napi::ObjectReference staging_memory_;  // keeps the staging area alive
};

}  // namespace millrace::addon
