// The native class `Session`: one environment's door to one broker. src/engine/session.ts is its twin and has
// the meaning of each method; the methods have the same names.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "addon/environment.h"
#include "addon/napi_include.h"
#include "engine/broker.h"

namespace millrace::addon {

class SessionObject {
 public:
  // Defines the class and the functions open and attach on `exports`. False with an exception pending on
  // failure.
  static bool define(Environment& environment, napi_value exports);

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

  explicit SessionObject(Environment& environment) : environment_(environment) {}
  void bind(std::shared_ptr<engine::Broker> broker, uint64_t handle);
  engine::Consumer* consumer(uint32_t id);
  void closeConsumer(uint32_t id);

  Environment& environment_;
  std::shared_ptr<engine::Broker> broker_;  // null before bind and after detach
  std::unique_ptr<engine::Session> session_;
  uint64_t handle_ = 0;
  std::unordered_map<uint32_t, Started> started_;
  std::vector<uint32_t> woken_;
  Status damage_;
};

}  // namespace millrace::addon
