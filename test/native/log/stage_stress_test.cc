// Many threads staging at once: every unit is committed whole, once, in the order of its number.
#include <atomic>
#include <thread>

#include "harness/test.h"
#include "log/log.h"
#include "support/random.h"
#include "support/simulated_disk.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

// Units are runs of settle records that all hold { queue: thread, count: records, first: number in thread }.
class Checker final : public log::Listener, public log::RecoverySink {
 public:
  explicit Checker(size_t threads) : seen_(threads, 0) {}

  void onCommitted(Bytes records, const std::function<log::Ref(size_t)>&) override {
    log::RecordReader reader(records);
    while (reader.next()) take(reader);
    CHECK(!reader.corrupt());
  }
  Status onRecord(const log::RecordReader& record, log::Ref) override {
    take(record);
    return Status();
  }
  void onConfirmed(uint64_t through) override {
    CHECK(through > through_);
    through_ = through;
  }
  void onRoom() override { rooms.fetch_add(1); }
  void onFailed(const Status&, uint64_t) override { CHECK(false); }
  bool isLive(uint32_t, log::Seq, log::Ref) override { return false; }
  Status writeSnapshot(log::SnapshotWriter& writer) override { return writer.append(bytesOf("x")); }
  Status onSnapshot(Bytes, bool, const log::SnapshotSource&) override { return Status(); }
  std::vector<bool> onJournal(const std::vector<log::DeliverRecord>& entries) override {
    return std::vector<bool>(entries.size());
  }

  uint64_t seen(size_t thread) const { return seen_[thread]; }
  std::atomic<uint64_t> rooms{0};

 private:
  void take(const log::RecordReader& record) {
    const log::SettleRecord settle = record.settle();
    if (left_ == 0) {
      CHECK_EQ(settle.first, seen_[settle.queue] + 1);
      seen_[settle.queue] = settle.first;
      left_ = settle.count;
      current_ = settle;
    }
    CHECK(settle.queue == current_.queue && settle.first == current_.first);
    --left_;
  }

  std::vector<uint64_t> seen_;
  uint64_t through_ = 0;
  uint32_t left_ = 0;
  log::SettleRecord current_{};
};

struct Pusher {
  log::Log& log;
  Checker& checker;
  uint32_t thread;
  uint64_t units;

  void run() {
    Random random(seed() + thread);
    uint64_t last = 0;
    for (uint64_t number = 1; number <= units;) {
      const auto records = static_cast<uint32_t>(random.between(1, random.chance(2) ? 500 : 8));
      const uint64_t rooms = checker.rooms;
      const StageOutcome outcome = push(number, records, last);
      if (outcome == StageOutcome::kStaged) ++number;
      if (outcome == StageOutcome::kFull) {
        while (checker.rooms == rooms) std::this_thread::yield();
      }
      CHECK(outcome == StageOutcome::kStaged || outcome == StageOutcome::kFull);
      if (random.chance(1)) std::this_thread::yield();
    }
    while (log.committedThrough() < last) std::this_thread::yield();
  }

  StageOutcome push(uint64_t number, uint32_t records, uint64_t& last) {
    log::Log::Lock lock(log);
    std::byte* at = nullptr;
    uint64_t unit = 0;
    const auto outcome =
        lock.reserve(records * log::SettleRecord::kRecordBytes, log::Purpose::kSettle, at, unit);
    if (outcome != StageOutcome::kStaged) return outcome;
    CHECK(unit > last);
    last = unit;
    for (uint32_t i = 0; i < records; ++i) {
      log::SettleRecord{thread, records, number}.encode(at + i * log::SettleRecord::kRecordBytes);
    }
    return outcome;
  }
};

void stress(bool sync, size_t threads, uint64_t units) {
  SimulatedDisk disk(seed());
  log::Options options;
  options.segment_bytes = 256 << 10;
  options.sync = sync;
  options.checkpoint_bytes = 1ull << 40;
  log::RecoveryReport report;
  {
    Checker checker(threads);
    auto log = log::Log::open(disk.directory(), options, checker, checker, report);
    CHECK_OK(log.status());
    CHECK_OK(log.value()->start());
    std::vector<Pusher> pushers;
    for (size_t i = 0; i < threads; ++i) {
      pushers.push_back({*log.value(), checker, static_cast<uint32_t>(i), units});
    }
    std::vector<std::thread> running;
    for (Pusher& pusher : pushers) running.emplace_back([&pusher] { pusher.run(); });
    for (std::thread& thread : running) thread.join();
    CHECK_OK(log.value()->close());
    for (size_t i = 0; i < threads; ++i) CHECK_EQ(checker.seen(i), units);
    CHECK_EQ(log.value()->stats().committed_units, units * threads);
    std::byte* at = nullptr;
    uint64_t unit = 0;
    log::Log::Lock lock(*log.value());
    CHECK(lock.reserve(24, log::Purpose::kSettle, at, unit) == StageOutcome::kClosed);
  }
}

}  // namespace

TEST(StageManyThreadsAtSync) { stress(true, 4, 3000 * scale()); }
TEST(StageManyThreadsAtProcess) { stress(false, 4, 3000 * scale()); }
TEST(StageTwoThreadsMany) { stress(false, 2, 30'000 * scale()); }

}  // namespace millrace::test
