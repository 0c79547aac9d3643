#include "engine/broker.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/recovery.h"
#include "os/file.h"

namespace millrace::engine {

Broker::Broker(const BrokerOptions& options)
    : context_(options),
      timer_([this](uint32_t id) { return id == kSuspectsTimer ? hold_keeper_.tend() : deadlines_.fire(id); },
             [this] { return context_.now().monotonic_ms; }, !options.clock) {}

Broker::~Broker() { (void)close(); }

Result<std::shared_ptr<Broker>> Broker::open(const BrokerOptions& options) {
  if (options.dir.empty()) return open(options, nullptr);
  Result<std::unique_ptr<os::Directory>> directory = os::openDirectory(options.dir, true);
  if (!directory.ok()) return directory.status();
  return open(options, directory.take());
}

Result<std::shared_ptr<Broker>> Broker::open(const BrokerOptions& options,
                                             std::unique_ptr<os::Directory> directory) {
  std::shared_ptr<Broker> broker(new Broker(options));
  if (directory != nullptr) MILLRACE_RETURN_IF_ERROR(broker->openLog(std::move(directory)));
  MILLRACE_RETURN_IF_ERROR(broker->timer_.start());
  broker->hold_keeper_.judge();
  for (Queue* queue : broker->catalogue_.list().queues) broker->deadlines_.begin(*queue);
  return broker;
}

Status Broker::openLog(std::unique_ptr<os::Directory> directory) {
  MILLRACE_RETURN_IF_ERROR(directory->lock());
  BrokerOptions& options = context_.options;
  log::Options log_options;
  log_options.segment_bytes = options.segment_bytes;
  log_options.sync = options.sync;
  log_options.checkpoint_bytes = options.checkpoint_bytes;
  Recovery recovery(context_, catalogue_);
  Result<std::unique_ptr<log::Log>> log =
      log::Log::open(std::move(directory), log_options, applier_, recovery, recovery_report_);
  if (!log.ok()) return log.status();
  context_.log = log.take();
  // An existing store keeps its segment size, and with it the largest message.
  options.segment_bytes = context_.log->segmentBytes();
  options.message_bytes_max = std::min(options.message_bytes_max, messageBytesMax(options.segment_bytes));
  MILLRACE_RETURN_IF_ERROR(recovery.finish());
  return context_.log->start();
}

Status Broker::close() {
  // Whoever closes again, or at once, waits for the first one and hears the same.
  const std::lock_guard closing(close_mutex_);
  if (context_.closed.exchange(true, std::memory_order_acq_rel)) return close_status_;
  timer_.stop();
  catalogue_.close();
  for (Queue* queue : catalogue_.list().queues) closeQueue(*queue);
  close_status_ = context_.log ? context_.log->close() : Status();
  finished_.store(true, std::memory_order_release);
  sessions_.end();
  return close_status_;
}

// What is in flight was given to threads whose answers come too late now. A close is nobody's failure: it
// goes back uncounted, before the last checkpoint.
void Broker::closeQueue(Queue& queue) {
  std::unique_lock lock(queue.mutex);
  queue.closed = true;
  std::vector<ledger::Returned> returned;
  queue.ledger.returnAll(returned);
  uint64_t unit = 0;
  (void)settlements_.stageReturns(queue, returned, unit);  // a store that failed keeps the older counts
  if (!queue.memory) return;
  std::vector<ledger::Saved> saved;
  for (ledger::Seq from = 1; from != 0;) {
    saved.clear();
    from = queue.ledger.save(from, kSliceMessages, saved);
    for (const ledger::Saved& message : saved) settlements_.forget(queue, message.seq, 1);
    if (from != 0) giveWay(lock);
  }
}

Status Broker::pause(uint32_t queue_id, bool paused) {
  MILLRACE_RETURN_IF_ERROR(context_.checkOpen());
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  const std::lock_guard lock(queue->mutex);
  queue->paused = paused;
  if (!paused) waker_.wakeForReady(*queue);
  return Status();
}

Result<QueueStats> Broker::queueStats(uint32_t queue_id) const {
  Queue* queue = catalogue_.at(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  return queue->stats();
}

Receipt Broker::peek(uint32_t queue_id, MutableBytes inbox, uint32_t max) const {
  Receipt receipt;
  Queue* queue = catalogue_.at(queue_id);
  receipt.error = queue == nullptr ? Status(Code::kQueueNotFound, "no such queue") : context_.checkOpen();
  if (!receipt.error.ok()) return receipt;
  return engine::peek(*queue, inbox, max);
}

BrokerStats Broker::stats() const {
  BrokerStats stats;
  if (context_.log && !closed()) stats.log = context_.log->stats();
  stats.queues = catalogue_.count();
  stats.sessions = sessions_.count();
  return stats;
}

}  // namespace millrace::engine
