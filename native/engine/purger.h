// Which messages a purge takes: those that wait when it begins. It goes through them in parts, so that
// neither the queue nor the caller's event loop stands still for all of them.
//
// Threads: any.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/sessions.h"
#include "engine/settlements.h"

namespace millrace::engine {

// What is left of a purge: at the beginning everything.
struct PurgeRange {
  ledger::Seq from = 1;
  ledger::Seq through = 0;  // 0: the newest message there is now
};

struct Purged {
  uint64_t messages = 0;
  PurgeRange rest;  // `from` is 0 at the end
};

class Purger {
 public:
  Purger(const Context& context, Catalogue& catalogue, Sessions& sessions, Settlements& settlements)
      : context_(context), catalogue_(catalogue), sessions_(sessions), settlements_(settlements) {}

  // The next part. `unit` is durable when it is gone (0: it is).
  Result<Purged> purge(uint32_t queue, Session& session, const PurgeRange& range, uint64_t& unit);

 private:
  const Context& context_;
  Catalogue& catalogue_;
  Sessions& sessions_;
  Settlements& settlements_;
};

}  // namespace millrace::engine
