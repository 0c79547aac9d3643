// The queues of a broker: their names, ids and settings, and which of them may take whose dead letters.
//
// Threads: any. Its lock is taken before any queue's. at() takes none.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/context.h"
#include "engine/queue.h"
#include "engine/sessions.h"
#include "engine/settings.h"

namespace millrace::engine {

constexpr uint32_t kQueuesMax = 65536;

class Catalogue {
 public:
  Catalogue(Context& context, Sessions& sessions);

  // Null: there is none. Queues are created and never removed while the broker is open, so a pointer read
  // once stays good.
  Queue* at(uint32_t id) const {
    return id < kQueuesMax ? queues_[id].load(std::memory_order_acquire) : nullptr;
  }
  struct Listing {
    std::vector<Queue*> queues;
    uint32_t next_id;
  };
  Listing list() const;
  size_t count() const;

  // A queue's id, and what it has now.
  using Declared = std::pair<uint32_t, QueueSettings>;
  // Creates the queue, or merges what the patch names into its settings; two at once both win. `unit` must be
  // committed before that is durable (0: nothing to wait for). Refused, it changes nothing.
  Result<Declared> declare(const std::string& name, const SettingsPatch& patch, Session& session,
                           uint64_t& unit);
  Result<Declared> lookup(const std::string& name) const;
  // The queue of this name that dead letters go to, created with default settings if nobody declared it;
  // null: (unit unchanged) it cannot be created now.
  Queue* graveyard(const std::string& name, bool memory, uint64_t& unit);
  // Nothing is declared any more.
  void close();

  // Recovery, one thread. The queue with these settings, new or changed.
  Queue& restore(uint32_t id, const QueueSettings& settings);
  // Ids below `next` are taken.
  void skipTo(uint32_t next);

 private:
  Queue* find(const std::string& name) const;
  Queue& add(uint32_t id, const QueueSettings& settings);
  void change(Queue& queue, const QueueSettings& settings);
  Status checkGraveyard(const QueueSettings& settings) const;
  Status checkDurability(const QueueSettings& settings, const Queue* existing) const;
  Status stage(uint32_t id, const QueueSettings& settings, uint64_t& unit);
  Result<Declared> declareLocked(const std::string& name, const SettingsPatch& patch, uint64_t& unit);

  Context& context_;
  Sessions& sessions_;
  const std::unique_ptr<std::atomic<Queue*>[]> queues_;
  mutable Mutex mutex_{LockRank::kCatalogue};  // guards the rest
  std::vector<std::unique_ptr<Queue>> owned_;
  std::unordered_map<std::string, uint32_t> id_by_name_;
  std::unordered_set<std::string> graveyard_names_;  // what durable queues named as theirs, now or before
  uint32_t next_id_ = 1;
  bool open_ = true;
};

}  // namespace millrace::engine
