#include "engine/purger.h"

#include <mutex>
#include <vector>

#include "base/clock.h"

namespace millrace::engine {
namespace {

// One part takes about so long.
constexpr uint64_t kPartNs = 4'000'000;

}  // namespace

Result<Purged> Purger::purge(uint32_t queue_id, Session& session, const PurgeRange& range, uint64_t& unit) {
  MILLRACE_RETURN_IF_ERROR(context_.checkOpen());
  if (context_.hasFailed()) return context_.whyRefused();
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  const uint64_t until_ns = monotonicNs() + kPartNs;
  Purged purged{0, range};
  std::vector<ledger::Range> ranges;
  std::unique_lock lock(queue->mutex);
  if (range.through == 0) purged.rest.through = queue->committed_seq;
  for (;;) {
    ranges.clear();
    const ledger::Purged part =
        queue->ledger.purge({purged.rest.from, purged.rest.through, kSliceMessages}, ranges);
    purged.messages += part.messages;
    purged.rest.from = part.next;
    if (!settlements_.stage(*queue, ranges, log::Purpose::kSettle, unit)) return context_.whyRefused();
    queue->counters.purged += part.messages;
    if (part.next == 0 || monotonicNs() >= until_ns) break;
    giveWay(lock);
  }
  lock.unlock();
  sessions_.noteStaged(session, unit);
  return purged;
}

}  // namespace millrace::engine
