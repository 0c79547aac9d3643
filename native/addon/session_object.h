// The native class `Session`: one environment's door to one broker. src/engine/session.ts is its twin and has
// the meaning of each method; the methods have the same names.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

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

class SessionObject {
 public:
  // Defines the class and the functions that make sessions on `object`, which connect() returns. False with
  // an exception pending on failure.
  [[nodiscard]] static bool define(Environment& environment, napi_value object);

  ~SessionObject() { detach(); }

  // Returns all leases and forgets the broker. Later methods throw CLOSED. Runs at the end of the environment
  // too.
  void detach();

 private:
  friend struct SessionMethods;

  struct Started {
    napi_ref array;       // keeps `count` alive
    const double* count;  // JavaScript counts in it; read on this thread only
  };

  explicit SessionObject(Environment& environment)
      : environment_owner_(environment.shared_from_this()), environment_(environment) {}
  // As detach(). The broker, if this was the last session: somebody has to close it.
  std::shared_ptr<engine::Broker> leave();
  void bind(std::shared_ptr<engine::Broker> broker, uint64_t handle);
  engine::Consumer* consumer(uint32_t id);
  void closeConsumer(uint32_t id);

  const std::shared_ptr<Environment> environment_owner_;
  Environment& environment_;
  std::shared_ptr<engine::Broker> broker_;  // null before bind and after detach
  std::unique_ptr<engine::Session> session_;
  uint64_t handle_ = 0;
  std::unordered_map<uint32_t, Started> started_;
  std::vector<uint32_t> woken_;
  Status damage_;
};

}  // namespace millrace::addon
