// The brokers that are open in this process, so that every thread finds the same one by its handle, and those
// that are on their way out.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "engine/broker.h"

namespace millrace::engine {

// How long an open waits for a directory that a broker of this process is leaving.
constexpr uint64_t kDepartureWaitMsMax = 30'000;

class Registry {
 public:
  // One per loaded copy of the addon; never destroyed, because worker threads may outlive static destructors.
  static Registry& instance();

  // As Broker::open. A directory is not locked by a broker that nobody has open any more: while one is on its
  // way out the open waits for it, kDepartureWaitMsMax at most. Blocks.
  Result<std::shared_ptr<Broker>> open(const BrokerOptions& options);
  uint64_t add(std::shared_ptr<Broker> broker);
  // Null when no broker of that handle is open here.
  std::shared_ptr<Broker> find(uint64_t handle);
  // Nobody finds the broker any more, and a thread of its own closes it. `done` (may be empty) is called
  // there when the directory is free.
  void retire(uint64_t handle, std::shared_ptr<Broker> broker, std::function<void(const Status&)> done);

  // A broker is on its way out for as long as somebody keeps this.
  using Departure = std::shared_ptr<void>;
  Departure depart();

  // Random, told with each handle: one from another process or another copy of the addon is not mistaken for
  // ours.
  uint64_t token() const { return token_; }
  // True in the process that loaded the addon; false in a child made by fork, where nothing may be used.
  static bool sameProcess();

 private:
  Registry();
  void departed();
  uint64_t departures();
  // True: one departure more than `seen` is over, perhaps after a wait. False: none is on its way, or the
  // time is over.
  bool awaitDeparture(uint64_t seen, uint64_t until_ms);

  const uint64_t token_;
  Mutex mutex_{LockRank::kRegistry};
  uint64_t next_ = 1;                                              // guarded by mutex_
  std::unordered_map<uint64_t, std::shared_ptr<Broker>> brokers_;  // guarded by mutex_
  Condition changed_;                                              // a departure is over
  uint64_t departing_ = 0;                                         // guarded by mutex_
  uint64_t departed_ = 0;                                          // guarded by mutex_
};

}  // namespace millrace::engine
