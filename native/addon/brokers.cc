#include "addon/brokers.h"

#include <functional>
#include <utility>

#include "addon/convert.h"
#include "addon/promise.h"
#include "addon/session_object.h"
#include "os/thread.h"

namespace millrace::addon {
namespace {

using engine::Broker;
using engine::Registry;

void finishOpen(const Promise& promise, Environment& environment, Opening& opening) {
  if (!opening.opened.ok()) return promise.settle(environment, opening.opened.status(), {});
  std::shared_ptr<Broker> broker = std::exchange(opening.opened, Status(Code::kClosed, "taken")).take();
  const uint64_t handle = Registry::instance().add(broker);
  const Napi::Value session = SessionObject::create(environment, broker, handle);
  if (!session.IsEmpty()) return promise.settle(environment, Status(), session);
  // The environment is ending: nobody would ever close it.
  Registry::instance().retire(handle, std::move(broker), {});
}

}  // namespace

Opening::~Opening() {
  if (!opened.ok()) return;
  // The last commit must not be waited for here: this may be a loop's thread.
  os::runElsewhere([broker = opened.take(), departure = std::move(departure)]() mutable {
    (void)broker->close();
    broker.reset();
    departure.reset();
  });
}

Napi::Value openBroker(const Napi::CallbackInfo& info) {
  Environment* environment = Environment::from(info.This());
  if (environment == nullptr) return {};
  engine::BrokerOptions options;
  options.dir = text(info[0]);
  options.sync = boolean(info[1]);
  options.segment_bytes = unsigned64(info[2]);
  options.checkpoint_bytes = unsigned64(info[3]);
  options.message_bytes_max = unsigned32(info[4]);
  const std::optional<Promise> promise = Promise::create(info.Env());
  if (!promise) return {};
  auto opening = std::make_shared<Opening>();
  environment->openings.insert(opening.get());
  environment->hold();
  os::runElsewhere(
      [options, opening, environment, promise = *promise, completions = environment->completions] {
        opening->opened = Registry::sameProcess()
                              ? Registry::instance().open(options)
                              : Status(Code::kForked, "a broker cannot be opened in a forked child");
        completions->add([opening, environment, promise] {
          environment->openings.erase(opening.get());
          finishOpen(promise, *environment, *opening);
          environment->release();
        });
      });
  return promise->value();
}

Napi::Value attachBroker(const Napi::CallbackInfo& info) {
  Environment* environment = Environment::from(info.This());
  if (environment == nullptr) return {};
  const uint64_t handle = unsigned64(info[0]);
  Registry& registry = Registry::instance();
  std::shared_ptr<Broker> broker =
      Registry::sameProcess() && unsigned64(info[1]) == registry.token() ? registry.find(handle) : nullptr;
  if (broker == nullptr || broker->closed()) {
    environment->throwStatus(
        Status(Code::kBrokerNotFound, "the handle names no broker that is open in this process"));
    return {};
  }
  return SessionObject::create(*environment, std::move(broker), handle);
}

Napi::Value retireBroker(Environment& environment, uint64_t handle, std::shared_ptr<Broker> broker) {
  const std::optional<Promise> promise = Promise::create(environment.Env());
  std::function<void(const Status&)> done;
  if (promise) {
    environment.hold();
    done = [held = &environment, promise = *promise,
            completions = environment.completions](const Status& status) {
      completions->add([held, promise, status] {
        promise.settle(*held, status, held->Env().Undefined());
        held->release();
      });
    };
  }
  Registry::instance().retire(handle, std::move(broker), std::move(done));
  return promise ? promise->value() : Napi::Value();
}

}  // namespace millrace::addon
