#include "engine/catalogue.h"

#include <algorithm>
#include <mutex>

namespace millrace::engine {

Catalogue::Catalogue(Context& context, Sessions& sessions)
    : context_(context), sessions_(sessions), queues_(std::make_unique<std::atomic<Queue*>[]>(kQueuesMax)) {}

Catalogue::Listing Catalogue::list() const {
  const std::lock_guard lock(mutex_);
  Listing listing{{}, next_id_};
  listing.queues.reserve(owned_.size());
  for (const auto& queue : owned_) listing.queues.push_back(queue.get());
  return listing;
}

size_t Catalogue::count() const {
  const std::lock_guard lock(mutex_);
  return owned_.size();
}

Queue* Catalogue::find(const std::string& name) const {
  const auto found = id_by_name_.find(name);
  return found == id_by_name_.end() ? nullptr : at(found->second);
}

Queue& Catalogue::add(uint32_t id, const QueueSettings& settings) {
  MessageStore& store = settings.memory ? static_cast<MessageStore&>(context_.heap_store)
                                        : static_cast<MessageStore&>(context_.log_store);
  owned_.push_back(std::make_unique<Queue>(id, settings, store));
  if (!settings.memory) graveyard_names_.insert(settings.dead_letter);
  Queue& queue = *owned_.back();
  id_by_name_.emplace(settings.name, id);
  next_id_ = std::max(next_id_, id + 1);
  queues_[id].store(&queue, std::memory_order_release);
  return queue;
}

void Catalogue::change(Queue& queue, const QueueSettings& settings) {
  const std::lock_guard lock(queue.mutex);
  if (!settings.memory) graveyard_names_.insert(settings.dead_letter);
  if (queue.change(settings)) sessions_.tellRoom();
}

Result<Catalogue::Declared> Catalogue::declare(const std::string& name, const SettingsPatch& patch,
                                               Session& session, uint64_t& unit) {
  MILLRACE_RETURN_IF_ERROR(context_.checkOpen());
  MILLRACE_RETURN_IF_ERROR(checkQueueName(name));
  const std::lock_guard lock(mutex_);
  Result<Declared> declared = declareLocked(name, patch, unit);
  sessions_.noteStaged(session, unit);
  return declared;
}

Result<Catalogue::Declared> Catalogue::declareLocked(const std::string& name, const SettingsPatch& patch,
                                                     uint64_t& unit) {
  if (!open_) return Status(Code::kClosed, "the broker is closed");
  Queue* queue = find(name);
  if (queue == nullptr && next_id_ >= kQueuesMax) {
    return Status(Code::kLimit, "a broker has at most " + std::to_string(kQueuesMax - 1) + " queues");
  }
  const QueueSettings before =
      queue == nullptr ? defaultSettings(name, context_.log == nullptr) : queue->copySettings();
  Result<QueueSettings> merged = patch.mergedInto(before);
  if (!merged.ok()) return merged.status();
  const QueueSettings settings = merged.take();
  MILLRACE_RETURN_IF_ERROR(checkDurability(settings, queue));
  MILLRACE_RETURN_IF_ERROR(checkGraveyard(settings));
  if (queue != nullptr && settings == before) return Declared(queue->id, settings);
  const uint32_t id = queue != nullptr ? queue->id : next_id_;
  if (!settings.memory) MILLRACE_RETURN_IF_ERROR(stage(id, settings, unit));
  if (queue == nullptr) {
    add(id, settings);
  } else {
    change(*queue, settings);
  }
  return Declared(id, settings);
}

Status Catalogue::checkDurability(const QueueSettings& settings, const Queue* existing) const {
  if (!settings.memory && context_.log == nullptr) {
    return Status(Code::kInvalidArgument, "a broker without a directory has no durable queues");
  }
  if (existing != nullptr && settings.memory != existing->memory) {
    return Status(Code::kInvalidArgument, "queue \"" + settings.name + "\" exists with another durability");
  }
  return Status();
}

// Whole, whatever of it is new: a record says what the queue is from there on.
Status Catalogue::stage(uint32_t id, const QueueSettings& settings, uint64_t& unit) {
  ByteWriter encoded;
  settings.encode(encoded);
  const log::QueueRecord record{id, encoded.view()};
  log::Log::Lock stage(*context_.log);
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

// What a durable queue owes does not end in memory: its dead letters go to a durable queue, whichever of the
// two is declared first.
Status Catalogue::checkGraveyard(const QueueSettings& settings) const {
  const auto refuse = [](const std::string& queue, const std::string& graveyard) {
    return Status(Code::kInvalidArgument, "the dead letters of durable queue \"" + queue +
                                              "\" cannot go to memory queue \"" + graveyard + "\"");
  };
  if (!settings.memory) {
    const Queue* graveyard = find(settings.dead_letter);
    const bool lost = graveyard != nullptr && graveyard->memory;
    return lost ? refuse(settings.name, settings.dead_letter) : Status();
  }
  // Only for a new queue that was ever named: a look at all of them for each would take minutes.
  if (id_by_name_.contains(settings.name) || !graveyard_names_.contains(settings.name)) return Status();
  for (const auto& other : owned_) {
    if (other->memory) continue;
    const std::lock_guard lock(other->mutex);
    if (other->settings.dead_letter == settings.name) return refuse(other->settings.name, settings.name);
  }
  return Status();
}

Result<Catalogue::Declared> Catalogue::lookup(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  Queue* queue = find(name);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no queue \"" + name + "\"");
  return Declared(queue->id, queue->copySettings());
}

Queue* Catalogue::graveyard(const std::string& name, bool memory, uint64_t& unit) {
  const std::lock_guard lock(mutex_);
  Queue* queue = find(name);
  if (queue != nullptr) return queue;
  SettingsPatch patch;
  patch.memory = memory;
  const Result<Declared> declared = declareLocked(name, patch, unit);
  return declared.ok() ? at(declared.value().first) : nullptr;
}

void Catalogue::close() {
  const std::lock_guard lock(mutex_);
  open_ = false;
}

Queue& Catalogue::restore(uint32_t id, const QueueSettings& settings) {
  const std::lock_guard lock(mutex_);
  Queue* queue = at(id);
  if (queue == nullptr) return add(id, settings);
  change(*queue, settings);
  return *queue;
}

void Catalogue::skipTo(uint32_t next) {
  const std::lock_guard lock(mutex_);
  next_id_ = std::max(next_id_, next);
}

}  // namespace millrace::engine
