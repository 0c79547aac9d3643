// How a Session begins and ends, and the class as JavaScript sees it.
#include <utility>

#include "addon/session_methods.h"
#include "engine/registry.h"
#include "os/thread.h"

namespace millrace::addon {

using engine::Broker;
using engine::Registry;

// The session behind `this`, or null with an exception pending.
SessionObject* SessionMethods::enter(Call& call) {
  void* data = nullptr;
  if (!call.ok || napi_unwrap(call.env, call.receiver, &data) != napi_ok || data == nullptr) {
    napi_throw_type_error(call.env, "INVALID_ARGUMENT", "not a session");
    return nullptr;
  }
  auto* self = static_cast<SessionObject*>(data);
  if (!Registry::sameProcess()) {
    self->environment_.throwStatus(Status(Code::kForked, "a broker cannot be used in a forked child"));
    return nullptr;
  }
  if (self->broker_ == nullptr) {
    self->environment_.throwStatus(Status(Code::kClosed, "the broker is closed"));
    return nullptr;
  }
  return self;
}

napi_value SessionMethods::fail(SessionObject* self, const Status& status) {
  self->environment_.throwStatus(status);
  return nullptr;
}

napi_value SessionMethods::invalid(SessionObject* self, const char* what) {
  return fail(self, Status(Code::kInvalidArgument, what));
}

Status SessionMethods::storeFailed(SessionObject* self) {
  return Status(Code::kStoreFailed, "the store refuses writes: " + self->broker_->failure().toString());
}

napi_value SessionMethods::handle(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  napi_value result = nullptr;
  napi_create_object(env, &result);
  setNumber(env, result, "broker", static_cast<double>(self->handle_));
  setNumber(env, result, "token", static_cast<double>(Registry::instance().token()));
  return result;
}

void SessionMethods::settle(Environment& environment, napi_deferred deferred, const Status& status,
                            napi_value value) {
  if (status.ok()) {
    napi_resolve_deferred(environment.env, deferred, value);
  } else if (napi_value error = environment.makeError(status)) {
    napi_reject_deferred(environment.env, deferred, error);
  }
}

// detach() => Promise<void> if nobody is left who could close the broker: it ends now.
napi_value SessionMethods::detach(napi_env env, napi_callback_info info) {
  Call call(env, info);
  void* data = nullptr;
  if (!call.ok || napi_unwrap(env, call.receiver, &data) != napi_ok || data == nullptr) return nullptr;
  auto* self = static_cast<SessionObject*>(data);
  std::shared_ptr<Broker> broker = self->leave();
  return broker == nullptr ? nullptr : retire(self->environment_, self->handle_, std::move(broker));
}

// close() => Promise<void>: ends the broker for everybody.
napi_value SessionMethods::close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  return self == nullptr ? nullptr : retire(self->environment_, self->handle_, self->broker_);
}

// A promise that settles when the broker is closed and its directory free.
napi_value SessionMethods::retire(Environment& environment, uint64_t handle, std::shared_ptr<Broker> broker) {
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  std::function<void(const Status&)> done;
  if (napi_create_promise(environment.env, &deferred, &promise) == napi_ok) {
    environment.hold();
    done = [held = &environment, deferred, completions = environment.completions](const Status& status) {
      completions->add([held, deferred, status] {
        napi_value undefined = nullptr;
        napi_get_undefined(held->env, &undefined);
        settle(*held, deferred, status, undefined);
        held->release();
      });
    };
  }
  Registry::instance().retire(handle, std::move(broker), std::move(done));
  return promise;
}

napi_value SessionMethods::construct(napi_env env, napi_callback_info info) {
  Call call(env, info);
  void* data = nullptr;
  if (!call.ok || napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data) != napi_ok) return nullptr;
  std::unique_ptr<SessionObject> session(new SessionObject(*static_cast<Environment*>(data)));
  const auto finalize = [](napi_env, void* object, void*) { delete static_cast<SessionObject*>(object); };
  if (napi_wrap(env, call.receiver, session.get(), finalize, nullptr, nullptr) == napi_ok)
    (void)session.release();
  return call.receiver;
}

napi_value SessionMethods::create(Environment& environment, std::shared_ptr<Broker> broker, uint64_t handle) {
  napi_value constructor = nullptr;
  napi_value instance = nullptr;
  void* data = nullptr;
  if (napi_get_reference_value(environment.env, environment.session_class, &constructor) != napi_ok ||
      napi_new_instance(environment.env, constructor, 0, nullptr, &instance) != napi_ok ||
      napi_unwrap(environment.env, instance, &data) != napi_ok) {
    return nullptr;
  }
  static_cast<SessionObject*>(data)->bind(std::move(broker), handle);
  return instance;
}

// open(dir, sync, segmentBytes, checkpointBytes, messageBytesMax) => Promise<Session>
napi_value SessionMethods::open(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment == nullptr) return nullptr;
  engine::BrokerOptions options;
  options.dir = call.text(0);
  options.sync = call.boolean(1);
  options.segment_bytes = call.unsigned64(2);
  options.checkpoint_bytes = call.unsigned64(3);
  options.message_bytes_max = call.unsigned32(4);
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;
  auto opening = std::make_shared<Opening>();
  environment->openings.insert(opening.get());
  environment->hold();
  os::runElsewhere([options, opening, environment, deferred, completions = environment->completions] {
    opening->opened = Registry::sameProcess()
                          ? Registry::instance().open(options)
                          : Status(Code::kForked, "a broker cannot be opened in a forked child");
    completions->add([opening, environment, deferred] {
      environment->openings.erase(opening.get());
      finishOpen(*environment, *opening, deferred);
      environment->release();
    });
  });
  return promise;
}

void SessionMethods::finishOpen(Environment& environment, Opening& opening, napi_deferred deferred) {
  if (!opening.opened.ok()) return settle(environment, deferred, opening.opened.status(), nullptr);
  std::shared_ptr<Broker> broker = std::exchange(opening.opened, Status(Code::kClosed, "taken")).take();
  const uint64_t handle = Registry::instance().add(broker);
  napi_value session = create(environment, broker, handle);
  if (session != nullptr) return settle(environment, deferred, Status(), session);
  // The environment is ending: nobody would ever close it.
  Registry::instance().retire(handle, std::move(broker), {});
}

// attach(broker, token) => Session
napi_value SessionMethods::attach(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Environment* environment = Environment::of(env, call.receiver);
  if (environment == nullptr) return nullptr;
  const uint64_t handle = call.unsigned64(0);
  Registry& registry = Registry::instance();
  std::shared_ptr<Broker> broker =
      Registry::sameProcess() && call.unsigned64(1) == registry.token() ? registry.find(handle) : nullptr;
  if (broker == nullptr || broker->closed()) {
    environment->throwStatus(
        Status(Code::kBrokerNotFound, "the handle names no broker that is open in this process"));
    return nullptr;
  }
  return create(*environment, std::move(broker), handle);
}

bool SessionObject::define(Environment& environment, napi_value object) {
  const napi_env env = environment.env;
  const auto method = [](const char* name, napi_callback callback) {
    return napi_property_descriptor{name,   nullptr, callback, nullptr, nullptr, nullptr, napi_default_method,
                                    nullptr};
  };
  const napi_property_descriptor methods[] = {
      method("handle", SessionMethods::handle),
      method("limits", SessionMethods::limits),
      method("declare", SessionMethods::declare),
      method("send", SessionMethods::send),
      method("openConsumer", SessionMethods::openConsumer),
      method("stopConsumer", SessionMethods::stopConsumer),
      method("closeConsumer", SessionMethods::closeConsumer),
      method("leases", SessionMethods::leases),
      method("receive", SessionMethods::receive),
      method("peek", SessionMethods::peek),
      method("damage", SessionMethods::damage),
      method("ack", SessionMethods::ack),
      method("hurry", SessionMethods::hurry),
      method("answer", SessionMethods::answer),
      method("burial", SessionMethods::burial),
      method("poll", SessionMethods::poll),
      method("failure", SessionMethods::failure),
      method("pause", SessionMethods::pause),
      method("purge", SessionMethods::purge),
      method("queueStats", SessionMethods::queueStats),
      method("stats", SessionMethods::stats),
      method("detach", SessionMethods::detach),
      method("close", SessionMethods::close),
  };
  const napi_property_descriptor functions[] = {
      method("open", SessionMethods::open),
      method("attach", SessionMethods::attach),
  };
  napi_value session_class = nullptr;
  // A property keeps it: the environment's own reference is weak.
  return napi_define_class(env, "Session", NAPI_AUTO_LENGTH, SessionMethods::construct, &environment,
                           std::size(methods), methods, &session_class) == napi_ok &&
         napi_set_named_property(env, object, "Session", session_class) == napi_ok &&
         napi_create_reference(env, session_class, 0, &environment.session_class) == napi_ok &&
         napi_define_properties(env, object, std::size(functions), functions) == napi_ok;
}

}  // namespace millrace::addon
