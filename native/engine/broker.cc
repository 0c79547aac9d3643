#include "engine/broker.h"

#include <algorithm>

#include "base/clock.h"
#include "os/file.h"

namespace millrace::engine {

Broker::Broker(const BrokerOptions& options)
    : options_(options),
      queues_(std::make_unique<std::atomic<Queue*>[]>(kQueuesMax)),
      timer_([this](uint32_t queue) { return queue == kSuspectsTimer ? tendSuspects() : onTimer(queue); },
             [this] { return now().monotonic_ms; }, !options.clock) {}

ledger::Now Broker::now() const {
  return options_.clock ? options_.clock() : ledger::Now{monotonicMs(), wallMs()};
}

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
  if (directory != nullptr) {
    MILLRACE_RETURN_IF_ERROR(directory->lock());
    log::Options log_options;
    log_options.segment_bytes = options.segment_bytes;
    log_options.sync = options.sync;
    log_options.checkpoint_bytes = options.checkpoint_bytes;
    Result<std::unique_ptr<log::Log>> log =
        log::Log::open(std::move(directory), log_options, *broker, *broker, broker->recovery_report_);
    if (!log.ok()) return log.status();
    broker->log_ = log.take();
    // An existing store keeps its segment size, and with it the largest message.
    broker->options_.segment_bytes = broker->log_->segmentBytes();
    broker->options_.message_bytes_max =
        std::min(options.message_bytes_max, messageBytesMax(broker->options_.segment_bytes));
    MILLRACE_RETURN_IF_ERROR(broker->finishRecovery());
    MILLRACE_RETURN_IF_ERROR(broker->log_->start());
  }
  MILLRACE_RETURN_IF_ERROR(broker->timer_.start());
  broker->suspects_after_ = broker->judgeSuspects();
  for (Queue* queue : broker->allQueues()) {
    std::vector<Doomed> doomed;
    {
      const std::lock_guard lock(queue->mutex);
      doomed.swap(queue->doomed);
      broker->scheduleLocked(*queue);
    }
    uint64_t unit = 0;
    broker->bury(*queue, doomed, unit);
  }
  return broker;
}

// A copy: burying a dead letter may add its queue.
std::vector<Queue*> Broker::allQueues() {
  const std::lock_guard lock(catalogue_mutex_);
  std::vector<Queue*> queues;
  queues.reserve(owned_queues_.size());
  for (const auto& queue : owned_queues_) queues.push_back(queue.get());
  return queues;
}

Status Broker::close() {
  // Whoever closes again, or at once, waits for the first one and hears the same.
  const std::lock_guard closing(close_mutex_);
  if (closed_.exchange(true, std::memory_order_acq_rel)) return close_status_;
  timer_.stop();
  {
    const std::lock_guard lock(catalogue_mutex_);
    catalogue_open_ = false;
  }
  for (Queue* queue : allQueues()) closeQueue(*queue);
  Status status = log_ ? log_->close() : Status();
  close_status_ = status;
  finished_.store(true, std::memory_order_release);
  const std::lock_guard lock(sessions_mutex_);
  for (Session* session : sessions_) session->wake();
  return status;
}

// What is in flight was given to threads whose answers come too late now. A close is nobody's failure: it
// goes back uncounted, before the last checkpoint.
void Broker::closeQueue(Queue& queue) {
  const std::lock_guard lock(queue.mutex);
  queue.closed = true;
  std::vector<ledger::Returned> returned;
  queue.ledger.returnAll(returned);
  uint64_t unit = 0;
  (void)stageReturnsLocked(queue, returned, unit);  // a store that failed keeps the older counts
  if (!queue.memory) return;
  std::vector<ledger::Saved> saved;
  for (ledger::Seq from = 1; from != 0;) {
    saved.clear();
    from = queue.ledger.save(from, 1024, saved);
    for (const ledger::Saved& message : saved) forgetLocked(queue, message.seq, 1);
  }
}

Status Broker::failure() const {
  const std::lock_guard lock(sessions_mutex_);
  return failure_;
}

Status Broker::checkOpen() const {
  return closed() ? Status(Code::kClosed, "the broker is closed") : Status();
}

// -- sessions

void Broker::attach(Session& session) {
  const std::lock_guard lock(sessions_mutex_);
  sessions_.push_back(&session);
}

bool Broker::detach(Session& session) {
  while (!session.consumers.empty()) closeConsumer(session, session.consumers.begin()->first);
  const std::lock_guard lock(sessions_mutex_);
  std::erase(sessions_, &session);
  return sessions_.empty();
}

void Broker::noteStaged(Session& session, uint64_t unit) {
  // Own thread only, so nothing is lost between the two. Sequentially consistent, like the log's committed
  // unit: either the committer sees this, or noteStagedLate() sees that the unit is committed.
  if (unit > session.staged_through.load(std::memory_order_relaxed)) session.staged_through.store(unit);
}

void Broker::noteStagedLate(Session& session, uint64_t unit) {
  if (unit == 0) return;
  noteStaged(session, unit);
  if (committedThrough() >= unit || log_->failed()) session.wake();
}

void Broker::wakeRoomWaiters() {
  const std::lock_guard lock(sessions_mutex_);
  for (Session* session : sessions_) {
    if (session->wants_room.exchange(false)) session->wake();
  }
}

void Broker::tellRoom(Queue& queue) {
  // Pairs with the store before the second look at `admitted` in admit(): either that look sees the lowered
  // count or this one sees the refusal.
  if (queue.refused_sender.exchange(false)) wakeRoomWaiters();
}

// -- queues

Queue& Broker::addQueue(uint32_t id, const QueueSettings& settings) {
  MessageStore& store =
      settings.memory ? static_cast<MessageStore&>(heap_store_) : static_cast<MessageStore&>(log_store_);
  owned_queues_.push_back(std::make_unique<Queue>(id, settings, store));
  if (!settings.memory) graveyard_names_.insert(settings.dead_letter);
  Queue& queue = *owned_queues_.back();
  queue_by_name_.emplace(settings.name, id);
  next_queue_ = std::max(next_queue_, id + 1);
  queues_[id].store(&queue, std::memory_order_release);
  return queue;
}

Result<std::pair<uint32_t, QueueSettings>> Broker::declare(const std::string& name,
                                                           const SettingsPatch& patch, Session& session,
                                                           uint64_t& unit) {
  MILLRACE_RETURN_IF_ERROR(checkOpen());
  MILLRACE_RETURN_IF_ERROR(checkQueueName(name));
  const std::lock_guard lock(catalogue_mutex_);
  Result<std::pair<uint32_t, QueueSettings>> declared = declareLocked(name, patch, unit);
  noteStagedLate(session, unit);
  return declared;
}

Result<std::pair<uint32_t, QueueSettings>> Broker::declareLocked(const std::string& name,
                                                                 const SettingsPatch& patch, uint64_t& unit) {
  if (!catalogue_open_) return Status(Code::kClosed, "the broker is closed");
  const auto found = queue_by_name_.find(name);
  Queue* queue = found == queue_by_name_.end() ? nullptr : queueAt(found->second);
  if (queue == nullptr && next_queue_ >= kQueuesMax) {
    return Status(Code::kLimit, "a broker has at most " + std::to_string(kQueuesMax - 1) + " queues");
  }
  const QueueSettings before = queue == nullptr ? defaultSettings(name, log_ == nullptr) : settingsOf(*queue);
  Result<QueueSettings> merged = patch.mergedInto(before);
  if (!merged.ok()) return merged.status();
  const QueueSettings settings = merged.take();
  MILLRACE_RETURN_IF_ERROR(checkDurability(settings, before, queue == nullptr));
  MILLRACE_RETURN_IF_ERROR(checkGraveyard(settings));
  if (queue != nullptr && settings == before) return std::pair(queue->id, settings);
  const uint32_t id = queue != nullptr ? queue->id : next_queue_;
  if (!settings.memory) MILLRACE_RETURN_IF_ERROR(stageSettings(id, settings, unit));
  if (queue == nullptr) {
    addQueue(id, settings);
  } else {
    const std::lock_guard queue_lock(queue->mutex);
    applySettings(*queue, settings);
    tellRoom(*queue);  // it may have grown
  }
  return std::pair(id, settings);
}

Status Broker::checkDurability(const QueueSettings& settings, const QueueSettings& before, bool created) {
  if (!settings.memory && log_ == nullptr) {
    return Status(Code::kInvalidArgument, "a broker without a directory has no durable queues");
  }
  if (!created && settings.memory != before.memory) {
    return Status(Code::kInvalidArgument, "queue \"" + settings.name + "\" exists with another durability");
  }
  return Status();
}

// Whole, whatever of it is new: a record says what the queue is from there on.
Status Broker::stageSettings(uint32_t id, const QueueSettings& settings, uint64_t& unit) {
  ByteWriter encoded;
  settings.encode(encoded);
  const log::QueueRecord record{id, encoded.view()};
  log::Log::Lock stage(*log_);
  std::byte* at = nullptr;
  switch (stage.reserve(record.recordBytes(), log::Purpose::kSettle, at, unit)) {
    case log::StageOutcome::kStaged:
      record.encode(at);
      return Status();
    case log::StageOutcome::kClosed:
      return Status(Code::kClosed, "the broker is closed");
    case log::StageOutcome::kDiskFull:
      return Status(Code::kDiskFull, "no space for a new queue");
    case log::StageOutcome::kLimit:
      return Status(Code::kLimit, "no descriptors, memory or segments for a new queue");
    default:
      return Status(Code::kStoreFailed, "the store refuses writes");
  }
}

// The catalogue's lock and, while others may see it, the queue's are held.
void Broker::applySettings(Queue& queue, const QueueSettings& settings) {
  if (!settings.memory) graveyard_names_.insert(settings.dead_letter);
  queue.settings = settings;
  queue.capacity.store(settings.capacity);
  queue.ledger.setLimits(settings.limits());
}

QueueSettings Broker::settingsOf(Queue& queue) {
  const std::lock_guard lock(queue.mutex);
  return queue.settings;
}

Result<std::pair<uint32_t, QueueSettings>> Broker::lookup(const std::string& name) {
  const std::lock_guard lock(catalogue_mutex_);
  const auto found = queue_by_name_.find(name);
  if (found == queue_by_name_.end()) return Status(Code::kQueueNotFound, "no queue \"" + name + "\"");
  Queue& queue = *queueAt(found->second);
  return std::pair(queue.id, settingsOf(queue));
}

Status Broker::pause(uint32_t queue_id, bool paused) {
  MILLRACE_RETURN_IF_ERROR(checkOpen());
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  const std::lock_guard lock(queue->mutex);
  queue->paused = paused;
  if (!paused) wakeLocked(*queue, queue->ledger.counts().ready);
  return Status();
}

Result<uint64_t> Broker::purge(uint32_t queue_id, Session& session, uint64_t& unit) {
  MILLRACE_RETURN_IF_ERROR(checkOpen());
  if (!failure().ok()) return Status(Code::kStoreFailed, "the store refuses writes");
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  std::vector<ledger::Range> ranges;
  uint64_t purged = 0;
  {
    const std::lock_guard lock(queue->mutex);
    purged = queue->ledger.purge({}, ranges).messages;
    queue->counters.purged += purged;
    if (!stageSettleLocked(*queue, ranges, log::Purpose::kSettle, unit)) return whyRefused();
  }
  noteStagedLate(session, unit);
  return purged;
}

Result<QueueStats> Broker::queueStats(uint32_t queue_id) {
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  const std::lock_guard lock(queue->mutex);
  return QueueStats{queue->ledger.counts(), queue->counters, queue->unburied.size(), queue->paused};
}

BrokerStats Broker::stats() {
  BrokerStats stats;
  if (log_ && !closed()) stats.log = log_->stats();
  {
    const std::lock_guard lock(catalogue_mutex_);
    stats.queues = owned_queues_.size();
  }
  const std::lock_guard lock(sessions_mutex_);
  stats.sessions = sessions_.size();
  return stats;
}

// -- what the log tells (committer and janitor threads)

void Broker::onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) {
  log::RecordReader reader(records);
  Queue* queue = nullptr;
  std::unique_lock<std::mutex> lock;
  uint64_t arrived = 0;
  const bool holding = holding_.load();
  const auto leave = [&] {
    if (queue != nullptr && arrived > 0) wakeLocked(*queue, arrived);
    arrived = 0;
    if (lock.owns_lock()) lock.unlock();
  };
  while (reader.next()) {
    const log::Kind kind = reader.kind();
    const uint32_t id = load<uint32_t>(reader.record().data() + log::MessageLayout::kQueue);
    if (holding) endHold(id, reader);
    if (kind == log::Kind::kQueue || kind == log::Kind::kDeliver || kind == log::Kind::kReturn) continue;
    if (queue == nullptr || queue->id != id) {
      leave();
      queue = queueAt(id);
      if (queue == nullptr) continue;
      lock = std::unique_lock(queue->mutex);
    }
    const auto bytes = static_cast<uint32_t>(reader.record().size());
    if (kind == log::Kind::kSettle) {
      const log::SettleRecord settled = reader.settle();
      forgetLocked(*queue, settled.first, settled.count);
    } else {
      const uint64_t seq = load<uint64_t>(reader.record().data() + log::MessageLayout::kSeq);
      const Ref ref = refOf(reader.offset());
      queue->store.pin(ref, bytes);
      if (kind == log::Kind::kMessage) {
        queue->ledger.enqueue(seq, ref, bytes);
        queue->committed_seq = seq;
        queue->counters.sent++;
        arrived++;
      } else {
        const std::optional<ledger::Stored> before = queue->ledger.relocate(seq, ref);
        if (before.has_value()) {
          queue->store.unpin(before->ref, before->bytes);
        } else {
          queue->store.unpin(ref, bytes);
        }
      }
    }
  }
  leave();
}

void Broker::onConfirmed(uint64_t through) {
  const std::lock_guard sessions_lock(sessions_mutex_);
  for (Session* session : sessions_) {
    if (session->staged_through.load() > session->told_through.load(std::memory_order_relaxed)) {
      session->told_through.store(through, std::memory_order_relaxed);
      session->wake();
    }
  }
}

void Broker::onRoom() {
  wakeRoomWaiters();
  wakeUnjournaled();
}

void Broker::onFailed(const Status& status, uint64_t) {
  const std::lock_guard lock(sessions_mutex_);
  failure_ = status;
  for (Session* session : sessions_) session->wake();
}

bool Broker::isLive(uint32_t queue_id, log::Seq seq, log::Ref ref) {
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return false;
  const std::lock_guard lock(queue->mutex);
  return queue->ledger.holds(seq, ref);
}

}  // namespace millrace::engine
