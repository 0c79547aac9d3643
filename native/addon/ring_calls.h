// The hot calls of the native class `Ring`, and what its calls answer.
#pragma once

#include "addon/napi_include.h"
#include "addon/ring_object.h"
#include "ring/ring.h"

namespace millrace::addon {

// Gives `object`, which wraps `ring`, the functions tryPush, tryPop, tryPushBatch, tryPopBatch and spin.
void bindCalls(Napi::Object object, RingObject& ring);

// Gives the class the numbers that its calls answer, and what they are called with.
void defineAnswers(Napi::Object ring_class);

// 0 or anything that is no number: kMessages.
ring::Side sideOf(napi_env env, napi_value value);

// The word to sleep on, or RETRY or SOON.
double waitAnswer(const ring::Wait& wait);

}  // namespace millrace::addon
