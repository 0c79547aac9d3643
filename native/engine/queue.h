// One queue of an open broker: its ledger, who waits for it, and its counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/settings.h"
#include "engine/store.h"
#include "engine/timer.h"
#include "ledger/delivered_runs.h"
#include "ledger/ledger.h"

namespace millrace::engine {

struct Consumer;

// A message that must move to the dead-letter queue, and why.
struct Doomed {
  ledger::Dead dead;
  std::string reason;
  bool written = false;  // the log has the verdict: it found no place at once
};

constexpr uint64_t kDoomedRetryMsMin = 5;
constexpr uint64_t kDoomedRetryMsMax = 1000;

struct QueueCounters {
  uint64_t sent = 0;
  uint64_t acked = 0;
  uint64_t returned = 0;  // nack, release, expiry, death of a consumer
  uint64_t dead_lettered = 0;
  uint64_t dropped = 0;  // dead without a dead-letter queue
  uint64_t purged = 0;
  uint64_t lease_lost = 0;  // answers refused
  uint64_t corrupt = 0;     // damaged records met at delivery
};

struct Queue {
  Queue(uint32_t queue_id, QueueSettings queue_settings, MessageStore& message_store)
      : id(queue_id),
        memory(queue_settings.memory),
        store(message_store),
        settings(std::move(queue_settings)),
        ledger(settings.limits()) {
    capacity.store(settings.capacity, std::memory_order_relaxed);
  }

  const uint32_t id;
  const bool memory;
  MessageStore& store;

  // Messages admitted and not yet settled, against `capacity`. Raised under the stage's lock (durable) or
  // under `mutex` (memory), so the limit is exact; lowered anywhere.
  std::atomic<uint64_t> admitted{0};
  std::atomic<uint64_t> capacity{0};
  // A sender was refused: the next settlement tells every session that there is room.
  std::atomic<bool> refused_sender{false};
  // Last seq given out. Durable: guarded by the stage's lock. Memory: by `mutex`.
  uint64_t last_seq = 0;
  // The flush that found the queue full: later messages of the same flush are refused too, to keep their
  // order. Guarded like last_seq.
  uint64_t full_in_flush = 0;

  std::mutex mutex;  // guards everything below; taken before the stage's lock, never after
  QueueSettings settings;
  ledger::Ledger ledger;
  uint64_t committed_seq = 0;                    // last seq that entered the ledger
  std::deque<Consumer*> waiting;                 // consumers to wake, first come first served
  std::vector<Doomed> doomed;                    // dead letters that found no room, to try again
  std::unordered_set<ledger::Seq> unburied;      // of all that are doomed, wherever they are being tried
  uint64_t doomed_retry_ms = kDoomedRetryMsMin;  // doubles while they find none
  uint64_t burial_unit = 0;                      // the last one that moved a dead letter
  ledger::DeliveredRuns replayed;                // during recovery only: not yet applied
  uint64_t scheduled_ms = kNever;                // earliest deadline the timer knows
  bool paused = false;
  bool closed = false;  // the broker closes: nothing comes in or goes out any more
  QueueCounters counters;
};

}  // namespace millrace::engine
