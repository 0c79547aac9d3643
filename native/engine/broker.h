// An open broker: its life, and the one door to everything that it consists of (ARCHITECTURE.md, "The
// engine").
//
// Threads: every public method may be called from any thread, one with a Session or a Consumer only from its
// environment's. No method waits for a disk except open() and close(), which belong on a thread pool; a
// journal write of receive() ends in the page cache.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/answers.h"
#include "engine/applier.h"
#include "engine/catalogue.h"
#include "engine/consumers.h"
#include "engine/context.h"
#include "engine/copy_out.h"
#include "engine/deadlines.h"
#include "engine/deliveries.h"
#include "engine/hold_keeper.h"
#include "engine/mover.h"
#include "engine/options.h"
#include "engine/purger.h"
#include "engine/sender.h"
#include "engine/sessions.h"
#include "engine/settlements.h"
#include "engine/timer.h"
#include "engine/waker.h"
#include "log/log.h"

namespace millrace::engine {

struct BrokerStats {
  log::Stats log;
  uint64_t queues = 0;
  uint64_t sessions = 0;
};

class Broker final {
 public:
  static Result<std::shared_ptr<Broker>> open(const BrokerOptions& options);
  // The same on a directory that somebody else made (null: memory only).
  static Result<std::shared_ptr<Broker>> open(const BrokerOptions& options,
                                              std::unique_ptr<os::Directory> directory);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // Ends everything: sessions are told (kClosed), the log is closed. Blocks. Further calls do nothing.
  Status close();
  // Refuses work from here on; what was staged is still being committed until finished().
  bool closed() const { return context_.isClosed(); }
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  // After a failed write or sync: the reason.
  Status failure() const { return sessions_.failure(); }
  bool durable() const { return context_.log != nullptr; }
  const BrokerOptions& options() const { return context_.options; }
  const log::RecoveryReport& recovery() const { return recovery_report_; }
  BrokerStats stats() const;

  // -- sessions
  void attach(Session& session) { sessions_.attach(session); }
  // Returns every lease of the session's consumers. The session is not used afterwards. True: it was the last
  // one.
  bool detach(Session& session) {
    consumers_.closeAll(session);
    return sessions_.detach(session);
  }

  // -- queues (Catalogue, Purger)
  Result<std::pair<uint32_t, QueueSettings>> declare(const std::string& name, const SettingsPatch& patch,
                                                     Session& session, uint64_t& unit) {
    return catalogue_.declare(name, patch, session, unit);
  }
  Result<std::pair<uint32_t, QueueSettings>> lookup(const std::string& name) const {
    return catalogue_.lookup(name);
  }
  Status pause(uint32_t queue, bool paused);
  Result<Purged> purge(uint32_t queue, Session& session, const PurgeRange& range, uint64_t& unit) {
    return purger_.purge(queue, session, range, unit);
  }
  Result<QueueStats> queueStats(uint32_t queue) const;
  Receipt peek(uint32_t queue, MutableBytes inbox, uint32_t max) const;

  // -- send (Sender)
  Result<SendReport> send(Session& session, MutableBytes outbox, std::span<SendResult> results, bool whole) {
    return sender_.send(session, outbox, results, whole);
  }
  uint64_t committedThrough() const { return context_.committedThrough(); }

  // -- consume (Consumers, Deliveries, Answers, Mover)
  Result<Consumer*> openConsumer(Session& session, uint32_t queue) { return consumers_.open(session, queue); }
  void closeConsumer(Session& session, uint32_t consumer) { consumers_.close(session, consumer); }
  void stopConsumer(Consumer& consumer) { consumers_.stop(consumer); }
  static size_t leasesOf(const Consumer& consumer) { return Consumers::leasesOf(consumer); }
  Receipt receive(Consumer& consumer, MutableBytes inbox, uint32_t max) {
    return deliveries_.receive(consumer, inbox, max);
  }
  Result<uint64_t> ack(Consumer& consumer, std::span<const double> seqs, std::span<const uint32_t> counts,
                       std::span<uint8_t> lost, bool awaited) {
    return answers_.ack(consumer, seqs, counts, lost, awaited);
  }
  void hurry(Session& session, uint64_t unit) { answers_.hurry(session, unit); }
  Status answer(Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms,
                std::string_view reason, uint64_t& unit) {
    return answers_.answer(consumer, verb, seq, count, ms, reason, unit);
  }
  Status burial(Session& session, uint32_t queue, ledger::Seq seq, uint64_t& unit) {
    return mover_.burial(session, queue, seq, unit);
  }

 private:
  explicit Broker(const BrokerOptions& options);

  Status openLog(std::unique_ptr<os::Directory> directory);
  void closeQueue(Queue& queue);

  Context context_;
  log::RecoveryReport recovery_report_;
  Mutex close_mutex_{LockRank::kLifecycle};
  Status close_status_;  // guarded by close_mutex_
  std::atomic<bool> finished_{false};

  // Each needs only those above it. The timer's callback reaches those below.
  Timer timer_;
  Sessions sessions_{context_};
  Waker waker_{context_, timer_};
  Settlements settlements_{context_, sessions_};
  Catalogue catalogue_{context_, sessions_};
  HoldKeeper hold_keeper_{context_, catalogue_, settlements_, timer_};
  Sender sender_{context_, catalogue_, waker_};
  Mover mover_{context_, catalogue_, sessions_, settlements_, waker_};
  Consumers consumers_{context_, catalogue_, settlements_, waker_, mover_};
  Deliveries deliveries_{context_, sessions_, hold_keeper_, waker_};
  Answers answers_{context_, sessions_, settlements_, waker_, hold_keeper_, mover_};
  Purger purger_{context_, catalogue_, sessions_, settlements_};
  Deadlines deadlines_{context_, catalogue_, settlements_, waker_, mover_};
  Applier applier_{catalogue_, sessions_, settlements_, waker_, hold_keeper_, deliveries_};
};

}  // namespace millrace::engine
