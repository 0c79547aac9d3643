// The sessions of a broker: who is told that something is durable, that there is room, that the store failed
// or that the broker has ended.
//
// Threads: any. The lock of the list is taken below a queue's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/context.h"
#include "engine/session.h"

namespace millrace::engine {

class Sessions {
 public:
  explicit Sessions(const Context& context) : context_(context) {}

  void attach(Session& session);
  // True: it was the last one.
  bool detach(Session& session);
  size_t count() const;

  // The session wants to hear when `unit` is committed, which may have happened already: then it is woken to
  // look. Its own thread. 0: nothing was staged.
  void noteStaged(Session& session, uint64_t unit) const;

  // Everything up to this unit is committed.
  void confirm(uint64_t through);
  // Those whose sends found no room may try again.
  void tellRoom();
  void fail(const Status& why);
  void end();
  // After a failed write or sync: the reason.
  Status failure() const;

 private:
  const Context& context_;
  mutable Mutex mutex_{LockRank::kSessions};  // guards the next two
  std::vector<Session*> sessions_;
  Status failure_;
};

}  // namespace millrace::engine
