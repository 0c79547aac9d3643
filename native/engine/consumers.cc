#include "engine/consumers.h"

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace millrace::engine {

Result<Consumer*> Consumers::open(Session& session, uint32_t queue_id) {
  MILLRACE_RETURN_IF_ERROR(context_.checkOpen());
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  auto consumer = std::make_unique<Consumer>();
  consumer->id = next_consumer_.fetch_add(1, std::memory_order_relaxed);
  consumer->queue = queue;
  consumer->session = &session;
  Consumer* raw = consumer.get();
  session.consumers.emplace(raw->id, std::move(consumer));
  return raw;
}

void Consumers::close(Session& session, uint32_t consumer_id) {
  const auto found = session.consumers.find(consumer_id);
  if (found == session.consumers.end()) return;
  Consumer& consumer = *found->second;
  Queue& queue = *consumer.queue;
  std::vector<ledger::Returned> returned;
  std::vector<ledger::Dead> dead;
  {
    const std::lock_guard lock(queue.mutex);
    Waker::endWait(queue, consumer);
    queue.ledger.returnLeases(consumer.id, consumer.started, returned, dead);
    queue.counters.returned += returned.size();
    uint64_t unit = 0;
    (void)settlements_.stageReturns(queue, returned, unit);  // a store that failed keeps the older counts
    // A wake-up that this consumer got and did not use passes on to the next one.
    waker_.wakeForReady(queue);
  }
  mover_.bury(queue, dead, "consumer died");
  session.consumers.erase(found);
}

void Consumers::closeAll(Session& session) {
  while (!session.consumers.empty()) close(session, session.consumers.begin()->first);
}

void Consumers::stop(Consumer& consumer) {
  Queue& queue = *consumer.queue;
  const std::lock_guard lock(queue.mutex);
  Waker::endWait(queue, consumer);
  waker_.wakeForReady(queue);
}

size_t Consumers::leasesOf(const Consumer& consumer) {
  const std::lock_guard lock(consumer.queue->mutex);
  return consumer.queue->ledger.leasesOf(consumer.id);
}

}  // namespace millrace::engine
