// How a copy of our JavaScript gets a broker, and how it is rid of it again.
#pragma once

#include <cstdint>
#include <memory>

#include "addon/environment.h"
#include "addon/napi_include.h"
#include "engine/broker.h"
#include "engine/registry.h"

namespace millrace::addon {

// A broker on its way from the thread that opens it to its session. If the environment ends before, nobody
// could ever close it: then it is closed as soon as it is open.
struct Opening {
  ~Opening();
  // The environment's thread: it ends.
  void abandon() { departure = engine::Registry::instance().depart(); }

  Result<std::shared_ptr<engine::Broker>> opened = Status(Code::kClosed, "not opened yet");
  engine::Registry::Departure departure;
};

// open(dir, sync, segmentBytes, checkpointBytes, messageBytesMax) => Promise<Session>
Napi::Value openBroker(const Napi::CallbackInfo& info);

// attach(broker, token) => Session
Napi::Value attachBroker(const Napi::CallbackInfo& info);

// Ends the broker for everybody. A promise that settles when it is closed and its directory free.
Napi::Value retireBroker(Environment& environment, uint64_t handle, std::shared_ptr<engine::Broker> broker);

}  // namespace millrace::addon
