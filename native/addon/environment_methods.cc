#include "addon/environment_methods.h"

#include <thread>

#include "addon/brokers.h"
#include "addon/convert.h"

namespace millrace::addon {
namespace {

// setReferenced(referenced): whether this copy keeps the loop alive.
void setReferenced(const Napi::CallbackInfo& info) {
  Environment* environment = Environment::from(info.This());
  if (environment != nullptr && !environment->ending) environment->port->setReferenced(boolean(info[0]));
}

// setWatching(watching): from now on wake-ups are looked for with look(), or not any more.
void setWatching(const Napi::CallbackInfo& info) {
  if (Environment* environment = Environment::from(info.This()))
    environment->port->setWatching(boolean(info[0]));
}

// look() => true: a native thread had something to say
Napi::Value look(const Napi::CallbackInfo& info) {
  Environment* environment = Environment::from(info.This());
  const bool found = environment != nullptr && environment->look();
  // On a busy machine the thread that is waited for may stand in line for this very core.
  if (!found) std::this_thread::yield();
  return Napi::Boolean::New(info.Env(), found);
}

// requestTurn(): hooks.turn is called in the next turn of the loop, and until it returns false.
void requestTurn(const Napi::CallbackInfo& info) {
  if (Environment* environment = Environment::from(info.This())) environment->requestTurn();
}

// startTimer(ms) => id: hooks.timer(id) is called then.
Napi::Value startTimer(const Napi::CallbackInfo& info) {
  Environment* environment = Environment::from(info.This());
  if (environment == nullptr) return {};
  return Napi::Number::New(info.Env(), static_cast<double>(environment->startTimer(number(info[0]))));
}

// stopTimer(id)
void stopTimer(const Napi::CallbackInfo& info) {
  if (Environment* environment = Environment::from(info.This())) environment->stopTimer(unsigned64(info[0]));
}

}  // namespace

// Functions of the object's own, which look at their receiver themselves: those of a class are refused by V8
// for another one, without a code.
void defineMethods(Environment& environment) {
  const Napi::Env env = environment.Env();
  Napi::Object object = environment.Value();
  put(object, "setReferenced", Napi::Function::New<setReferenced>(env, "setReferenced"));
  put(object, "setWatching", Napi::Function::New<setWatching>(env, "setWatching"));
  put(object, "look", Napi::Function::New<look>(env, "look"));
  put(object, "requestTurn", Napi::Function::New<requestTurn>(env, "requestTurn"));
  put(object, "startTimer", Napi::Function::New<startTimer>(env, "startTimer"));
  put(object, "stopTimer", Napi::Function::New<stopTimer>(env, "stopTimer"));
  put(object, "open", Napi::Function::New<openBroker>(env, "open"));
  put(object, "attach", Napi::Function::New<attachBroker>(env, "attach"));
}

}  // namespace millrace::addon
