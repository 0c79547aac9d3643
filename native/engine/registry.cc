#include "engine/registry.h"

#include <random>

#include "os/process.h"

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

void Registry::remove(uint64_t handle) {
  const std::lock_guard lock(mutex_);
  brokers_.erase(handle);
}

bool Registry::sameProcess() { return !os::isForkedChild(); }

}  // namespace millrace::engine
