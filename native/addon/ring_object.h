// The native class `Ring`: one thread's view of a ring in a SharedArrayBuffer. src/ring.ts is its twin and
// has the meaning of each method; the methods have the same names.
//
// Answers travel as plain numbers (see registerRing): full and empty are no exceptions. Messages travel
// through a staging area that JavaScript and native code share: a second SharedArrayBuffer, because it can be
// neither detached nor resized, so that its address is looked up once instead of once a call.
#pragma once

#include <optional>

#include "addon/napi_include.h"
#include "ring/ring.h"

namespace millrace::addon {

// Defines the class `Ring`, its constants and `ringSizeFor` on `exports`. False with an exception pending on
// failure.
[[nodiscard]] bool registerRing(napi_env env, napi_value exports);

class RingObject {
 public:
  static constexpr size_t kStagedMax = ring::Ring::kBatchMax;
  static constexpr size_t kStagingBytes = ring::kSlotBytesMax;

 private:
  friend struct RingMethods;

  RingObject(ring::Ring view, MutableBytes staging, std::span<uint32_t> lengths)
      : ring_(view), staging_(staging), lengths_(lengths) {}

  ring::Ring ring_;
  MutableBytes staging_;
  std::span<uint32_t> lengths_;
  napi_ref memory_ = nullptr;          // keeps the ring's buffer alive
  napi_ref staging_memory_ = nullptr;  // keeps the staging area alive
};

}  // namespace millrace::addon
