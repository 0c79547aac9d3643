// The native class `Session`: one environment's door to one broker. src/engine/session.ts is its twin and has
// the meaning of each method, src/engine/binding.ts its types; the methods have the same names. Their
// arguments and results are told where they are defined.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "addon/environment.h"
#include "addon/napi_include.h"
#include "engine/broker.h"

namespace millrace::addon {

class SessionObject final : public Napi::ObjectWrap<SessionObject> {
 public:
  // The class, of which create makes the instances: new (environment).
  static Napi::Function define(Napi::Env env);
  // Empty, perhaps with an exception pending, while the thread ends: then nobody is attached.
  static Napi::Value create(Environment& environment, std::shared_ptr<engine::Broker> broker,
                            uint64_t handle);

  explicit SessionObject(const Napi::CallbackInfo& info);
  ~SessionObject() override { leaveForGood(); }

  // Returns all leases and forgets the broker, which is closed where nobody is left who could do that. Later
  // methods throw CLOSED. Runs at the end of the environment too.
  void leaveForGood();

 private:
  struct Started {
    Napi::ObjectReference array;  // keeps `count` alive
    const double* count;          // JavaScript counts in it; read on this thread only
  };

  // session_object.cc: how it begins and ends.
  Napi::Value handle(const Napi::CallbackInfo& info);
  Napi::Value detach(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  // session_queues.cc: queues and numbers.
  Napi::Value limits(const Napi::CallbackInfo& info);
  Napi::Value declare(const Napi::CallbackInfo& info);
  void pause(const Napi::CallbackInfo& info);
  Napi::Value purge(const Napi::CallbackInfo& info);
  Napi::Value queueStats(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);

  // session_messages.cc: messages, and what is said of them.
  Napi::Value send(const Napi::CallbackInfo& info);
  Napi::Value openConsumer(const Napi::CallbackInfo& info);
  void stopConsumer(const Napi::CallbackInfo& info);
  void closeConsumer(const Napi::CallbackInfo& info);
  Napi::Value leases(const Napi::CallbackInfo& info);
  Napi::Value receive(const Napi::CallbackInfo& info);
  Napi::Value peek(const Napi::CallbackInfo& info);
  Napi::Value damage(const Napi::CallbackInfo& info);
  Napi::Value ack(const Napi::CallbackInfo& info);
  void hurry(const Napi::CallbackInfo& info);
  Napi::Value answer(const Napi::CallbackInfo& info);
  Napi::Value burial(const Napi::CallbackInfo& info);
  Napi::Value poll(const Napi::CallbackInfo& info);
  Napi::Value failure(const Napi::CallbackInfo& info);

  // False with an exception pending: no method may do anything.
  bool usable();
  // Empty, with an exception pending.
  Napi::Value fail(const Status& status);
  Napi::Value invalid(const char* what);
  Status storeFailed() const;
  Napi::Value number(double value) const { return Napi::Number::New(Env(), value); }
  Napi::Value unitNumber(uint64_t unit) const;
  Napi::Value finishReceive(const engine::Receipt& receipt, std::span<double> report);

  void bind(std::shared_ptr<engine::Broker> broker, uint64_t handle);
  // As leaveForGood(). The broker, if this was the last session: somebody has to close it.
  std::shared_ptr<engine::Broker> leave();
  engine::Consumer* findConsumer(uint32_t id);
  void endConsumer(uint32_t id);

  // Null only where the constructor threw. A session that somebody has keeps it, and it detaches those that
  // are collected together with it: after that they do not use it.
  Environment* const environment_;
  std::shared_ptr<engine::Broker> broker_;  // null before bind and after leave
  std::unique_ptr<engine::Session> session_;
  uint64_t handle_ = 0;
  std::unordered_map<uint32_t, Started> started_;
  std::vector<uint32_t> woken_;
  Status damage_;
};

}  // namespace millrace::addon
