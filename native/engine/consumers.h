// The life of a consumer, and what of its leases counts when it ends.
//
// Threads: a session's own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/mover.h"
#include "engine/settlements.h"
#include "engine/waker.h"

namespace millrace::engine {

class Consumers {
 public:
  Consumers(const Context& context, Catalogue& catalogue, Settlements& settlements, Waker& waker,
            Mover& mover)
      : context_(context), catalogue_(catalogue), settlements_(settlements), waker_(waker), mover_(mover) {}

  Result<Consumer*> open(Session& session, uint32_t queue);
  // Leases that were handed out return to the queue; those after the first `consumer.started` do not count.
  void close(Session& session, uint32_t consumer);
  void closeAll(Session& session);
  // The consumer takes nothing more: a message that it was woken for wakes another one. Its leases stay.
  void stop(Consumer& consumer);
  // Messages that are leased to it now: those whose lease ended by itself are not.
  static size_t leasesOf(const Consumer& consumer);

 private:
  const Context& context_;
  Catalogue& catalogue_;
  Settlements& settlements_;
  Waker& waker_;
  Mover& mover_;
  std::atomic<uint32_t> next_consumer_{1};
};

}  // namespace millrace::engine
