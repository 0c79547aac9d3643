// What consumers say of their deliveries, and what that does to a lease and leaves in the log.
//
// Threads: a session's own.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"
#include "engine/context.h"
#include "engine/hold_keeper.h"
#include "engine/mover.h"
#include "engine/sessions.h"
#include "engine/settlements.h"
#include "engine/waker.h"

namespace millrace::engine {

enum class Verb : uint8_t { kNack, kReject, kRelease, kExtend };

class Answers {
 public:
  Answers(const Context& context, Sessions& sessions, Settlements& settlements, Waker& waker,
          HoldKeeper& hold_keeper, Mover& mover)
      : context_(context),
        sessions_(sessions),
        settlements_(settlements),
        waker_(waker),
        hold_keeper_(hold_keeper),
        mover_(mover) {}

  // lost[i] is set to 1 where the lease was lost, else 0. Returns the unit to wait for (0: none). Nobody is
  // told of it unless it is `awaited`; otherwise it may ride along with a later commit
  // (log::Purpose::kQuiet).
  Result<uint64_t> ack(Consumer& consumer, std::span<const double> seqs, std::span<const uint32_t> counts,
                       std::span<uint8_t> lost, bool awaited);
  // Somebody waits after all for `unit`, which was staged here without being awaited.
  void hurry(Session& session, uint64_t unit);
  // kLeaseLost, or ok with the unit to wait for. `ms` is the delay (nack) or the extension (extend). The unit
  // is kDeferred when the message is dead and its dead-letter queue has no room: ask Mover::burial() again.
  Status answer(Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms,
                std::string_view reason, uint64_t& unit);

 private:
  // The queue's mutex is held for these.
  ledger::Outcome apply(const Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms);
  [[nodiscard]] bool giveBack(Queue& queue, const ledger::Returned& returned, uint64_t& unit);

  const Context& context_;
  Sessions& sessions_;
  Settlements& settlements_;
  Waker& waker_;
  HoldKeeper& hold_keeper_;
  Mover& mover_;
};

}  // namespace millrace::engine
