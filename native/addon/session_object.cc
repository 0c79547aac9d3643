#include "addon/session_object.h"

#include <utility>

#include "addon/brokers.h"
#include "addon/convert.h"
#include "addon/instance_data.h"
#include "base/number.h"
#include "engine/registry.h"

namespace millrace::addon {

using engine::Broker;
using engine::Registry;

Napi::Function SessionObject::define(Napi::Env env) {
  const auto attributes = napi_default_method;
  return DefineClass(env, "Session",
                     {
                         InstanceMethod<&SessionObject::handle>("handle", attributes),
                         InstanceMethod<&SessionObject::limits>("limits", attributes),
                         InstanceMethod<&SessionObject::declare>("declare", attributes),
                         InstanceMethod<&SessionObject::send>("send", attributes),
                         InstanceMethod<&SessionObject::openConsumer>("openConsumer", attributes),
                         InstanceMethod<&SessionObject::stopConsumer>("stopConsumer", attributes),
                         InstanceMethod<&SessionObject::closeConsumer>("closeConsumer", attributes),
                         InstanceMethod<&SessionObject::leases>("leases", attributes),
                         InstanceMethod<&SessionObject::receive>("receive", attributes),
                         InstanceMethod<&SessionObject::peek>("peek", attributes),
                         InstanceMethod<&SessionObject::damage>("damage", attributes),
                         InstanceMethod<&SessionObject::ack>("ack", attributes),
                         InstanceMethod<&SessionObject::hurry>("hurry", attributes),
                         InstanceMethod<&SessionObject::answer>("answer", attributes),
                         InstanceMethod<&SessionObject::burial>("burial", attributes),
                         InstanceMethod<&SessionObject::poll>("poll", attributes),
                         InstanceMethod<&SessionObject::failure>("failure", attributes),
                         InstanceMethod<&SessionObject::pause>("pause", attributes),
                         InstanceMethod<&SessionObject::purge>("purge", attributes),
                         InstanceMethod<&SessionObject::queueStats>("queueStats", attributes),
                         InstanceMethod<&SessionObject::stats>("stats", attributes),
                         InstanceMethod<&SessionObject::detach>("detach", attributes),
                         InstanceMethod<&SessionObject::close>("close", attributes),
                     });
}

Napi::Value SessionObject::create(Environment& environment, std::shared_ptr<Broker> broker, uint64_t handle) {
  const napi_value arguments[] = {environment.Value()};
  const Napi::Object instance =
      makeInstance(InstanceData::of(environment.Env()).session_class, arguments).As<Napi::Object>();
  SessionObject* session = instance.IsEmpty() ? nullptr : Unwrap(instance);
  if (session == nullptr || session->environment_ == nullptr) return {};
  session->bind(std::move(broker), handle);
  return instance;
}

SessionObject::SessionObject(const Napi::CallbackInfo& info)
    : ObjectWrap(info), environment_(Environment::from(info[0])) {
  if (environment_ != nullptr) keep(info.This().As<Napi::Object>(), "environment", info[0]);
}

bool SessionObject::usable() {
  if (!Registry::sameProcess()) {
    environment_->throwStatus(Status(Code::kForked, "a broker cannot be used in a forked child"));
    return false;
  }
  if (broker_ == nullptr) {
    environment_->throwStatus(Status(Code::kClosed, "the broker is closed"));
    return false;
  }
  return true;
}

Napi::Value SessionObject::fail(const Status& status) {
  environment_->throwStatus(status);
  return {};
}

Napi::Value SessionObject::invalid(const char* what) { return fail(Status(Code::kInvalidArgument, what)); }

Status SessionObject::storeFailed() const {
  return Status(Code::kStoreFailed, "the store refuses writes: " + broker_->failure().toString());
}

// handle() => { broker, token }: what attach() needs in another thread.
Napi::Value SessionObject::handle(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  Napi::Object result = Napi::Object::New(info.Env());
  put(result, "broker", static_cast<double>(handle_));
  put(result, "token", static_cast<double>(Registry::instance().token()));
  return result;
}

// detach() => Promise<void> if nobody is left who could close the broker: it ends now.
Napi::Value SessionObject::detach(const Napi::CallbackInfo&) {
  std::shared_ptr<Broker> broker = leave();
  return broker == nullptr ? Napi::Value() : retireBroker(*environment_, handle_, std::move(broker));
}

// close() => Promise<void>: ends the broker for everybody.
Napi::Value SessionObject::close(const Napi::CallbackInfo&) {
  return usable() ? retireBroker(*environment_, handle_, broker_) : Napi::Value();
}

void SessionObject::bind(std::shared_ptr<Broker> broker, uint64_t handle) {
  broker_ = std::move(broker);
  handle_ = handle;
  session_ = std::make_unique<engine::Session>(environment_->port);
  broker_->attach(*session_);
  environment_->sessions.insert(this);
  environment_->hold();
}

std::shared_ptr<Broker> SessionObject::leave() {
  if (broker_ == nullptr) return nullptr;
  environment_->sessions.erase(this);
  environment_->release();
  while (!started_.empty()) endConsumer(started_.begin()->first);
  const std::shared_ptr<Broker> broker = std::move(broker_);
  broker_ = nullptr;
  const bool last = broker->detach(*session_);
  session_.reset();
  return last && !broker->closed() ? broker : nullptr;
}

// Where nobody is left who could close the broker, its opener died or left others to it.
void SessionObject::leaveForGood() {
  if (std::shared_ptr<Broker> broker = leave()) {
    Registry::instance().retire(handle_, std::move(broker), {});
  }
}

engine::Consumer* SessionObject::findConsumer(uint32_t id) {
  const auto found = session_->consumers.find(id);
  return found == session_->consumers.end() ? nullptr : found->second.get();
}

void SessionObject::endConsumer(uint32_t id) {
  const auto found = started_.find(id);
  if (found == started_.end()) return;
  if (engine::Consumer* closing = findConsumer(id)) {
    closing->started = wholeNumber(*found->second.count);
    broker_->closeConsumer(*session_, id);
  }
  started_.erase(found);
}

}  // namespace millrace::addon
