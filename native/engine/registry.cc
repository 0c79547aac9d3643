#include "engine/registry.h"

#include <chrono>
#include <mutex>
#include <random>

#include "base/clock.h"
#include "os/process.h"
#include "os/thread.h"

namespace millrace::engine {
namespace {

uint64_t randomToken() {
  std::random_device device;
  // 53 bits: the token travels through JavaScript as a number.
  return ((uint64_t{device()} << 32) | device()) >> 11;
}

}  // namespace

Registry::Registry() : token_(randomToken()) {}

Registry& Registry::instance() {
  alignas(Registry) static std::byte memory[sizeof(Registry)];
  static Registry* const registry = new (memory) Registry();
  return *registry;
}

Result<std::shared_ptr<Broker>> Registry::open(const BrokerOptions& options) {
  const uint64_t until_ms = monotonicMs() + kDepartureWaitMsMax;
  for (;;) {
    // Counted before the attempt: what departs during it is worth another one.
    const uint64_t seen = departures();
    Result<std::shared_ptr<Broker>> opened = Broker::open(options);
    if (opened.ok() || opened.status().code() != Code::kStoreLocked) return opened;
    if (!awaitDeparture(seen, until_ms)) return opened;
  }
}

uint64_t Registry::add(std::shared_ptr<Broker> broker) {
  const std::lock_guard lock(mutex_);
  brokers_.emplace(next_, std::move(broker));
  return next_++;
}

std::shared_ptr<Broker> Registry::find(uint64_t handle) {
  const std::lock_guard lock(mutex_);
  const auto found = brokers_.find(handle);
  return found == brokers_.end() ? nullptr : found->second;
}

void Registry::retire(uint64_t handle, std::shared_ptr<Broker> broker,
                      std::function<void(const Status&)> done) {
  {
    const std::lock_guard lock(mutex_);
    brokers_.erase(handle);
  }
  os::runElsewhere([broker = std::move(broker), departure = depart(), done = std::move(done)]() mutable {
    const Status status = broker->close();
    broker.reset();
    departure.reset();
    if (done) done(status);
  });
}

Registry::Departure Registry::depart() {
  {
    const std::lock_guard lock(mutex_);
    departing_++;
  }
  return Departure(this, [](Registry* registry) { registry->departed(); });
}

void Registry::departed() {
  {
    const std::lock_guard lock(mutex_);
    departing_--;
    departed_++;
  }
  changed_.notifyAll();
}

uint64_t Registry::departures() {
  const std::lock_guard lock(mutex_);
  return departed_;
}

bool Registry::awaitDeparture(uint64_t seen, uint64_t until_ms) {
  std::unique_lock lock(mutex_);
  while (departed_ == seen) {
    const uint64_t now_ms = monotonicMs();
    if (departing_ == 0 || now_ms >= until_ms) return false;
    changed_.waitFor(lock, std::chrono::milliseconds(until_ms - now_ms));
  }
  return monotonicMs() < until_ms;
}

bool Registry::sameProcess() { return !os::isForkedChild(); }

}  // namespace millrace::engine
