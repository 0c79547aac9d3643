// A small owner of a log for its tests: queues as plain maps, every unit one numbered operation, so that what
// a reopened store holds can be compared with the state after exactly so many operations.
//
//   ModelStore store(disk);  CHECK_OK(store.open());
//   store.send({100, 200});  store.settleOldest(1);  store.commit();  CHECK_OK(store.close());
//
// Operation n writes a kQueue record of queue kMarkerQueue that holds n, then its messages or settlements. A
// store is right if its state is that of a prefix of the operations, no shorter than what was committed.
//
// Threads: one driver calls; the log's threads call the listener's methods. One mutex, never held while the
// log is called with its own lock wanted.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "harness/test.h"
#include "log/log.h"
#include "support/random.h"
#include "support/simulated_disk.h"

namespace millrace::test {

constexpr uint32_t kMarkerQueue = 99;
constexpr uint64_t kSmallSegment = 256 << 10;

using MessageKey = std::pair<uint32_t, log::Seq>;  // queue, seq

struct LiveMessage {
  log::Ref ref = 0;
  uint32_t bytes = 0;
  uint32_t deliveries = 0;
};

struct ModelState {
  uint64_t operation = 0;  // the newest that took effect
  std::map<MessageKey, LiveMessage> live;
  std::vector<std::string> settings;  // kQueue records of other queues, in order
};

// What one operation does, for replaying a prefix.
struct Operation {
  std::vector<std::pair<MessageKey, uint32_t>> sent;  // with record bytes
  std::vector<MessageKey> settled;
};
// Shared by all sessions of one store. Entry n is operation n; 0 is empty.
using History = std::vector<Operation>;
std::set<MessageKey> liveAfter(const History& history, uint64_t operations);

// The body of a message is a function of its key and length, so any altered byte is noticed.
std::vector<std::byte> bodyOf(const MessageKey& key, size_t bytes);

// Small segments, frequent checkpoints.
log::Options smallOptions(bool sync = true);

class ModelStore final : public log::Listener, public log::RecoverySink {
 public:
  explicit ModelStore(std::unique_ptr<os::Directory> directory, log::Options options = smallOptions());
  ~ModelStore() override;

  Status open();  // recovers and retains; starts no thread
  void start() { CHECK_OK(log_->start()); }
  Status openAndStart();
  // After open(): the operations that a cut took back are no longer history; their numbers are used again.
  void forgetLost();
  Status close() { return log_->close(); }
  void crash() { log_.reset(); }  // threads end, nothing is written any more

  // One operation each. Waits out kFull; gives the outcome that ended it.
  log::StageOutcome send(const std::vector<size_t>& body_bytes, uint32_t queue = 1);
  log::StageOutcome settle(const std::vector<MessageKey>& keys);
  log::StageOutcome settleOldest(size_t count, uint32_t queue = 1);
  // Not an operation: takes effect whenever it is committed.
  log::StageOutcome stageSettings(const std::string& settings);
  // Until everything staged is committed, or the store failed (false).
  [[nodiscard]] bool commit();
  void checkpoint();  // requests one and waits for it
  [[nodiscard]] bool waitUntil(const std::function<bool()>& state, int seconds = 60);

  // Reads every live message and checks its bytes; an error if one cannot be read.
  Status readAll();
  Status readOne(const MessageKey& key, log::Ref ref, uint32_t bytes);

  log::Log& log() { return *log_; }
  ModelState state();
  size_t liveCount();
  uint64_t stagedOperation();
  uint64_t committedOperation();
  bool isFailed();
  size_t failures();  // calls of onFailed
  [[nodiscard]] bool waitForFailure() {
    return waitUntil([this] { return failures_ > 0; });
  }
  const log::RecoveryReport& report() const { return report_; }
  std::shared_ptr<History> history = std::make_shared<History>(1);
  std::vector<log::DeliverRecord> journaled;  // what recovery gave

  void onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) override;
  void onConfirmed(uint64_t through) override;
  void onRoom() override;
  void onFailed(const Status& status, uint64_t through) override;
  bool isLive(uint32_t queue, log::Seq seq, log::Ref ref) override;
  Status writeSnapshot(log::SnapshotWriter& writer) override;
  Status onSnapshot(Bytes piece, bool last, const log::SnapshotSource& source) override;
  Status onRecord(const log::RecordReader& record, log::Ref ref) override;
  std::vector<bool> onJournal(const std::vector<log::DeliverRecord>& entries) override;

 private:
  log::StageOutcome stage(const Operation& operation);
  Status apply(const log::RecordReader& record, log::Ref ref, bool counting);
  void applyMessage(const log::RecordReader& record, log::Ref ref, bool counting);
  Status loadSnapshot();

  std::unique_ptr<os::Directory> directory_;
  const log::Options options_;
  log::RecoveryReport report_;
  std::unique_ptr<log::Log> log_;
  log::Log* at_work_ = nullptr;  // for the listener's calls: valid until the threads have ended

  std::mutex mutex_;
  std::condition_variable changed_;
  ModelState state_;
  uint64_t last_unit_ = 0;     // staged
  uint64_t applied_unit_ = 0;  // committed, and in state_
  uint64_t rooms_ = 0;
  size_t failures_ = 0;
  std::vector<std::byte> snapshot_;
};

// The store holds exactly what the first n operations of its history made, n not below `committed`, and every
// live message reads as it was sent. Gives n.
uint64_t expectPrefix(ModelStore& store, uint64_t committed);
// The same for all of the history.
void expectEverything(ModelStore& store);

}  // namespace millrace::test
