// One queue of an open broker: its ledger, who waits for it, and its counters.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "base/mutex.h"
#include "engine/admission.h"
#include "engine/settings.h"
#include "engine/store.h"
#include "engine/timer.h"
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

// So many messages are purged, forgotten or saved under one hold of a queue's mutex, and so many of those
// that are due (they cost more): well below a millisecond.
constexpr size_t kSliceMessages = 4096;
constexpr size_t kDueSliceMessages = 1024;

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

struct QueueStats {
  ledger::Counts counts;
  QueueCounters counters;
  uint64_t dead_waiting = 0;  // among dying: letters that have no place yet
  bool paused = false;
};

struct Queue {
  Queue(uint32_t queue_id, QueueSettings queue_settings, MessageStore& message_store);

  // A record gets its seq, is counted, and is copied to its place in the stage, whose lock is held. Durable
  // queues.
  void place(std::byte* at, Bytes record);
  // A record that lies at `ref`, enters the ledger. The mutex is held. Memory queues.
  void enqueue(Ref ref, uint32_t bytes);
  uint64_t nextSeq() const { return last_seq + 1; }

  // The mutex is held. True: a sender that was refused may find room now.
  [[nodiscard]] bool change(const QueueSettings& changed);

  // These lock the mutex.
  std::string name();
  QueueSettings copySettings();
  QueueStats stats();

  const uint32_t id;
  const bool memory;
  MessageStore& store;

  Admission room;
  // Last seq given out. Durable: guarded by the stage's lock. Memory: by `mutex`.
  uint64_t last_seq = 0;
  // The flush that found the queue full: later messages of the same flush are refused too, to keep their
  // order. Guarded like last_seq.
  uint64_t full_in_flush = 0;

  Mutex mutex;  // guards everything below; taken before the stage's lock, never after
  QueueSettings settings;
  ledger::Ledger ledger;
  uint64_t committed_seq = 0;                    // last seq that entered the ledger
  std::deque<Consumer*> waiting;                 // consumers to wake, first come first served
  std::vector<Doomed> doomed;                    // dead letters that found no room, to try again
  std::unordered_set<ledger::Seq> unburied;      // of all that are doomed, wherever they are being tried
  uint64_t doomed_retry_ms = kDoomedRetryMsMin;  // doubles while they find none
  uint64_t burial_unit = 0;                      // the last one that moved a dead letter
  uint64_t scheduled_ms = kNever;                // earliest deadline the timer knows
  bool paused = false;
  bool closed = false;  // the broker closes: nothing comes in or goes out any more
  QueueCounters counters;
};

// Between two slices: gives the queue's mutex back for as long as it takes to wake a thread that waits for
// it.
void giveWay(std::unique_lock<Mutex>& queue_lock);

}  // namespace millrace::engine
