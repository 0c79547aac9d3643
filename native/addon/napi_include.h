// The only include of Node-API headers: they do not compile under the warnings this project turns on.
//
// The addon is written with the classes of node-addon-api, without C++ exceptions as all of the core (binding.gyp
// has the reason): a call that fails leaves an exception of JavaScript pending and answers an empty value. While
// a thread ends it may fail and leave nothing pending, so nothing is called on what may be empty: that ends the
// process. C calls are left
//   - where node-addon-api has no wrapper: asynchronous cleanup hooks, the loop, uncaught exceptions;
//   - where its wrapper ends the process while JavaScript is being terminated: calls into JavaScript
//     (Environment::callHook and makeError) and promises (promise.h);
//   - where it is measurably slower: arguments (convert.h), the hot calls of a ring (ring_calls.cc).
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wcast-function-type"
#include <napi.h>
#include <node_api.h>
#include <uv.h>
#pragma GCC diagnostic pop
