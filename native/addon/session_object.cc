#include "addon/session_object.h"

#include <utility>

#include "base/number.h"
#include "os/thread.h"

namespace millrace::addon {

using engine::Registry;

Opening::~Opening() {
  if (!opened.ok()) return;
  // The last commit must not be waited for here: this may be a loop's thread.
  os::runElsewhere([broker = opened.take(), departure = std::move(departure)]() mutable {
    (void)broker->close();
    broker.reset();
    departure.reset();
  });
}

void SessionObject::bind(std::shared_ptr<engine::Broker> broker, uint64_t handle) {
  broker_ = std::move(broker);
  handle_ = handle;
  session_ = std::make_unique<engine::Session>(environment_.port);
  broker_->attach(*session_);
  environment_.sessions.insert(this);
  environment_.hold();
}

std::shared_ptr<engine::Broker> SessionObject::leave() {
  if (broker_ == nullptr) return nullptr;
  environment_.sessions.erase(this);
  environment_.release();
  while (!started_.empty()) closeConsumer(started_.begin()->first);
  const std::shared_ptr<engine::Broker> broker = std::move(broker_);
  broker_ = nullptr;
  const bool last = broker->detach(*session_);
  session_.reset();
  return last && !broker->closed() ? broker : nullptr;
}

// Where nobody is left who could close the broker, its opener died or left others to it.
void SessionObject::detach() {
  if (std::shared_ptr<engine::Broker> broker = leave()) {
    Registry::instance().retire(handle_, std::move(broker), {});
  }
}

engine::Consumer* SessionObject::consumer(uint32_t id) {
  const auto found = session_->consumers.find(id);
  return found == session_->consumers.end() ? nullptr : found->second.get();
}

void SessionObject::closeConsumer(uint32_t id) {
  const auto found = started_.find(id);
  if (found == started_.end()) return;
  if (engine::Consumer* closing = consumer(id)) {
    closing->started = wholeNumber(*found->second.count);
    broker_->closeConsumer(*session_, id);
  }
  napi_delete_reference(environment_.env, found->second.array);
  started_.erase(found);
}

}  // namespace millrace::addon
