// An open broker: the log remembers, the ledgers decide, and this class connects them with the threads that
// send and receive.
//
// Threads: every public method may be called from any thread, a Session's own methods only from its
// environment. Lock order: Queue::mutex, then the log's stage lock. Two Queue mutexes are never held
// together. No method waits for a disk except open() and close(), which belong on a thread pool; a journal
// write of receive() ends in the page cache.
//
// Invariants
//  B1 A durable message enters its ledger only after the block that holds it is durable at the broker's
//  level. B2 What is staged about one message is staged under its queue's mutex, so the log tells its story
//  in order. B3 A settled message leaves its ledger (and its bytes are released) only after the settlement is
//  durable. B4 A delivery is in the delivery journal before its bytes are handed out. B5 A consumer that is
//  waiting is in its queue's `waiting` exactly while the queue has nothing for it, or nothing that the
//  delivery journal has room for.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "engine/queue.h"
#include "engine/session.h"
#include "engine/settings.h"
#include "engine/timer.h"
#include "ledger/suspects.h"
#include "log/log.h"

namespace millrace::engine {

constexpr uint32_t kQueuesMax = 65536;
constexpr uint32_t kMemoryMessageBytesMax = 64u << 20;
constexpr uint32_t kMemoryBatchBytesMax = 256u << 20;

// One look copies no more than this, so that it takes bounded time and memory.
constexpr uint64_t kPeekBytesMax = 64ull << 20;

// The id under which the timer calls for the suspects: no queue has it.
constexpr uint32_t kSuspectsTimer = 0;

// What a record and its dead letter's story need besides headers and body.
constexpr uint32_t kRecordSpareBytes = 8192;
// The largest message that fits into one commit with its story: headers and body.
constexpr uint32_t messageBytesMax(uint64_t segment_bytes) {
  return static_cast<uint32_t>(log::unitBytesMax(segment_bytes) - kRecordSpareBytes);
}

struct BrokerOptions {
  std::string dir;  // empty: memory only
  bool sync = true;
  uint64_t segment_bytes = 64ull << 20;
  uint64_t checkpoint_bytes = 256ull << 20;
  uint32_t message_bytes_max = 1u << 20;  // headers and body
  // Empty: the system's. Tests let hours pass.
  std::function<ledger::Now()> clock;
};

// A send's per-message result: its seq, or a negated Code.
using SendResult = double;

struct [[nodiscard]] SendReport {
  uint32_t consumed = 0;  // messages with a result; the rest should be sent again after onRoom (stage full)
  uint64_t unit = 0;      // wait for this to be committed; 0: already as durable as it gets
};

struct [[nodiscard]] Receipt {
  uint32_t count = 0;         // messages written to the inbox
  uint64_t bytes = 0;         // inbox bytes used
  uint64_t needed_bytes = 0;  // count is 0: the next message needs an inbox of this size
  uint64_t lease_ms = 0;      // how long what was received is leased, as the queue has it now
  Status error;               // kClosed; kCorrupt: a damaged message, set aside (receive) or left out (peek)
};

// Instead of a unit: not staged yet.
constexpr uint64_t kDeferred = UINT64_MAX;

enum class Verb : uint8_t { kNack, kReject, kRelease, kExtend };

struct BrokerStats {
  log::Stats log;
  uint64_t queues = 0;
  uint64_t sessions = 0;
};

struct QueueStats {
  ledger::Counts counts;
  QueueCounters counters;
  uint64_t dead_waiting = 0;  // among dying: letters that have no place yet
  bool paused = false;
};

class Broker final : private log::Listener, private log::RecoverySink {
 public:
  static Result<std::shared_ptr<Broker>> open(const BrokerOptions& options);
  // The same on a directory that somebody else made (null: memory only).
  static Result<std::shared_ptr<Broker>> open(const BrokerOptions& options,
                                              std::unique_ptr<os::Directory> directory);
  ~Broker() override;

  // Ends everything: sessions are told (kClosed), the log is closed. Blocks. Further calls do nothing.
  Status close();
  // Refuses work from here on; what was staged is still being committed until finished().
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  // After a failed write or sync: the reason.
  Status failure() const;
  bool durable() const { return log_ != nullptr; }
  const BrokerOptions& options() const { return options_; }
  const log::RecoveryReport& recovery() const { return recovery_report_; }

  // -- sessions
  void attach(Session& session);
  // Returns every lease of the session's consumers. The session is not used afterwards. True: it was the last
  // one.
  bool detach(Session& session);

  // -- queues
  // Creates the queue, or merges what the patch names into its settings; two at once both win. Its id and
  // what it has now. `unit` must be committed before that is durable (0: nothing to wait for). Refused, it
  // changes nothing.
  Result<std::pair<uint32_t, QueueSettings>> declare(const std::string& name, const SettingsPatch& patch,
                                                     Session& session, uint64_t& unit);
  Result<std::pair<uint32_t, QueueSettings>> lookup(const std::string& name);
  Status pause(uint32_t queue, bool paused);
  Result<uint64_t> purge(uint32_t queue, Session& session, uint64_t& unit);
  Result<QueueStats> queueStats(uint32_t queue);
  // Copies up to `max` of the next messages into `inbox` without a lease: the first, and what fits into
  // kPeekBytesMax with it.
  Receipt peek(uint32_t queue, MutableBytes inbox, uint32_t max);
  BrokerStats stats();

  // -- send
  // `outbox` holds `results.size()` message records whose seq, timestamp and crc are filled in here. `whole`:
  // all of them or none (one unit).
  Result<SendReport> send(Session& session, MutableBytes outbox, std::span<SendResult> results, bool whole);
  uint64_t committedThrough() const { return log_ ? log_->committedThrough() : UINT64_MAX; }

  // -- consume
  Result<Consumer*> openConsumer(Session& session, uint32_t queue);
  // Leases that were handed out return to the queue; those after the first `consumer.started` do not count.
  void closeConsumer(Session& session, uint32_t consumer);
  // The consumer takes nothing more: a message that it was woken for wakes another one. Its leases stay.
  void stopConsumer(Consumer& consumer);
  Receipt receive(Consumer& consumer, MutableBytes inbox, uint32_t max);
  // Messages that are leased to it now: those whose lease ended by itself are not.
  size_t leasesOf(Consumer& consumer);
  // lost[i] is set to 1 where the lease was lost, else 0. Returns the unit to wait for (0: none). Nobody is
  // told of it unless it is `awaited`; otherwise it may ride along with a later commit
  // (log::Purpose::kQuiet).
  Result<uint64_t> ack(Consumer& consumer, std::span<const double> seqs, std::span<const uint32_t> counts,
                       std::span<uint8_t> lost, bool awaited);
  // Somebody waits after all for `unit`, which was staged here without being awaited.
  void hurry(Session& session, uint64_t unit);
  // kLeaseLost, or ok with the unit to wait for. `ms` is the delay (nack) or the extension (extend). The unit
  // is kDeferred when the message is dead and its dead-letter queue has no room: ask burial() again.
  Status answer(Consumer& consumer, Verb verb, ledger::Seq seq, uint32_t count, uint64_t ms,
                std::string_view reason, uint64_t& unit);
  // The unit to wait for until the dead letter of this message is durable, or kDeferred. Its consumer may be
  // gone. kClosed, kStoreFailed: it did not move and will not.
  Status burial(Session& session, uint32_t queue, ledger::Seq seq, uint64_t& unit);

 private:
  explicit Broker(const BrokerOptions& options);

  // log::Listener
  void onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) override;
  void onConfirmed(uint64_t through) override;
  void onRoom() override;
  void onFailed(const Status& status, uint64_t through) override;
  bool isLive(uint32_t queue, log::Seq seq, log::Ref ref) override;
  Status writeSnapshot(log::SnapshotWriter& writer) override;

  // log::RecoverySink
  Status onSnapshot(Bytes piece, bool last, const log::SnapshotSource& source) override;
  Status onRecord(const log::RecordReader& record, log::Ref ref) override;
  std::vector<bool> onJournal(const std::vector<log::DeliverRecord>& entries) override;
  Status loadSnapshot(ByteReader& in, uint64_t segment_bytes);
  Status finishRecovery();

  ledger::Now now() const;
  Queue* queueAt(uint32_t id) const {
    return id < kQueuesMax ? queues_[id].load(std::memory_order_acquire) : nullptr;
  }
  std::vector<Queue*> allQueues();
  Queue& addQueue(uint32_t id, const QueueSettings& settings);
  Status checkGraveyard(const QueueSettings& settings);
  Result<std::pair<uint32_t, QueueSettings>> declareLocked(const std::string& name,
                                                           const SettingsPatch& patch, uint64_t& unit);
  Status checkDurability(const QueueSettings& settings, const QueueSettings& before, bool created);
  Status stageSettings(uint32_t id, const QueueSettings& settings, uint64_t& unit);
  void applySettings(Queue& queue, const QueueSettings& settings);
  static QueueSettings settingsOf(Queue& queue);
  Status checkOpen() const;
  void closeQueue(Queue& queue);
  static std::string nameOf(Queue& queue);
  // The session wants to hear when `unit` is committed. Called under the stage's lock, or late: then the unit
  // may be committed already and the session is woken to look.
  static void noteStaged(Session& session, uint64_t unit);
  void noteStagedLate(Session& session, uint64_t unit);

  // send
  Status sealOutbox(MutableBytes outbox, size_t count);
  std::byte* sendMemoryRun(Session& session, Queue& queue, std::byte* record, std::span<SendResult> results,
                           uint64_t flush, SendReport& report);
  std::byte* sendDurableRun(Session& session, std::byte* record, std::span<SendResult> results,
                            uint64_t flush, SendReport& report);
  Status checkRoom(Session& session, Bytes outbox, size_t messages);
  Status sendWhole(Session& session, MutableBytes outbox, std::span<SendResult> results, SendReport& report);
  Ref addMemory(MutableBytes record, ledger::Seq seq);
  [[nodiscard]] bool enqueueMemoryLocked(Queue& queue, MutableBytes record);
  void enqueueMemoryLocked(Queue& queue, Ref ref, uint32_t bytes);
  Status sendWholeMemory(Session& session, Queue& queue, MutableBytes outbox, std::span<SendResult> results);
  static void placeMessage(Queue& queue, std::byte* at, Bytes record);

  // consume; "Locked": the queue's mutex is held
  void wakeLocked(Queue& queue, uint64_t messages);
  static void wakeOneLocked(Queue& queue);
  void waitLocked(Queue& queue, Consumer& consumer);
  void scheduleLocked(Queue& queue);
  // Suspects (ledger/suspects.h)
  uint64_t judgeSuspects();
  [[nodiscard]] bool beginSuspectLocked(Queue& queue, Consumer& consumer, size_t bytes,
                                        uint64_t& needed_bytes);
  void cancelSuspect(Queue& queue, ledger::Seq seq);
  void takeBackSuspectLocked(Queue& queue, Consumer& consumer, const ledger::Delivery& suspect, bool damaged);
  void endHold(uint32_t queue_id, const log::RecordReader& record);
  uint64_t tendSuspects();
  void markSuspect(const ledger::Suspects::Due& due);
  void offerHold();
  [[nodiscard]] bool takeLocked(Queue& queue, Consumer& consumer, uint32_t max, size_t bytes,
                                uint64_t& needed_bytes);
  [[nodiscard]] bool journalLocked(Queue& queue, Consumer& consumer);
  void noteUnjournaled(Queue& queue);
  void wakeUnjournaled();
  static Status readChecked(Queue& queue, const ledger::Delivery& delivery, MutableBytes place);
  static Receipt copyOut(Queue& queue, const std::vector<ledger::Delivery>& deliveries, MutableBytes inbox,
                         bool leave_out_damaged);
  void setDamagedAside(Queue& queue, Consumer& consumer, Receipt& receipt);
  // False: the log failed or is closed, nothing of this will be durable.
  [[nodiscard]] bool stageSettleLocked(Queue& queue, std::span<const ledger::Range> ranges,
                                       log::Purpose purpose, uint64_t& unit);
  [[nodiscard]] bool stageReturnsLocked(Queue& queue, std::span<const ledger::Returned> returned,
                                        uint64_t& unit);
  Status whyRefused() const;
  void forgetLocked(Queue& queue, ledger::Seq first, uint64_t count);
  void tellRoom(Queue& queue);
  void wakeRoomWaiters();
  uint64_t onTimer(uint32_t queue_id);

  // dead letters
  void bury(Queue& queue, std::vector<Doomed>& doomed, uint64_t& unit);
  [[nodiscard]] static bool readDying(Queue& queue, ledger::Seq seq, std::vector<std::byte>& record);
  [[nodiscard]] bool buryOne(Queue& queue, const Doomed& doomed, uint64_t& unit);
  Queue* deadQueueOf(const std::string& name, bool memory, uint64_t& unit);

  BrokerOptions options_;
  HeapStore heap_store_;
  std::unique_ptr<log::Log> log_;  // null: memory only
  LogStore log_store_{log_};
  log::RecoveryReport recovery_report_;
  std::vector<std::byte> snapshot_;  // during recovery only

  // Queues are created and never removed while the broker is open, so a pointer read once stays good.
  std::unique_ptr<std::atomic<Queue*>[]> queues_;
  std::mutex catalogue_mutex_;  // guards the next five; taken before any other lock
  std::vector<std::unique_ptr<Queue>> owned_queues_;
  std::unordered_map<std::string, uint32_t> queue_by_name_;
  std::unordered_set<std::string> graveyard_names_;  // what durable queues named as theirs, now or before
  uint32_t next_queue_ = 1;
  bool catalogue_open_ = true;

  std::atomic<uint64_t> next_flush_{1};
  std::atomic<uint32_t> next_consumer_{1};
  std::mutex close_mutex_;
  Status close_status_;  // guarded by close_mutex_
  std::atomic<bool> closed_{false};
  std::atomic<bool> finished_{false};

  // Queues whose deliveries the journal refused since the last onRoom(). Its mutex is taken after a queue's.
  std::mutex unjournaled_mutex_;
  std::vector<Queue*> unjournaled_;

  // The queues that recovery found suspects in: no others ever have any. Set by open() alone.
  std::vector<Queue*> suspect_queues_;
  uint64_t suspects_after_ = 0;  // the unit with what open() found out: none is begun before it is committed
  std::mutex suspects_mutex_;    // guards suspects_; taken after a queue's, and nothing is taken under it
  ledger::Suspects suspects_;
  // suspects_.holds(), so that the committer need not ask.
  std::atomic<bool> holding_{false};

  mutable std::mutex sessions_mutex_;  // guards the next two
  std::vector<Session*> sessions_;
  Status failure_;

  Timer timer_;
};

}  // namespace millrace::engine
