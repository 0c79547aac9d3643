// The brokers that are open in this process, so that every thread finds the same one by its handle.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "engine/broker.h"

namespace millrace::engine {

class Registry {
 public:
  // One per loaded copy of the addon; never destroyed, because worker threads may outlive static destructors.
  static Registry& instance();

  uint64_t add(std::shared_ptr<Broker> broker);
  // Null when no broker of that handle is open here.
  std::shared_ptr<Broker> find(uint64_t handle);
  void remove(uint64_t handle);
  // Random, told with each handle: one from another process or another copy of the addon is not mistaken for
  // ours.
  uint64_t token() const { return token_; }
  // True in the process that loaded the addon; false in a child made by fork, where nothing may be used.
  static bool sameProcess();

 private:
  Registry();

  const uint64_t token_;
  std::mutex mutex_;
  uint64_t next_ = 1;                                              // guarded by mutex_
  std::unordered_map<uint64_t, std::shared_ptr<Broker>> brokers_;  // guarded by mutex_
};

}  // namespace millrace::engine
