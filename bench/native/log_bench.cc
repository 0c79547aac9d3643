// What the log costs beside the bare device, on the same file system in the same run:
//   raw      4 KiB pwrite + fdatasync into a file written with zeros before, one after the other
//   confirm  one unit in flight: staged, committed at `sync`, noticed by a thread that looks for it
//   stream   256-byte messages from one producer as fast as the stage takes them
// raw and confirm take turns in slices, so that a change of the machine's mood hits both. The confirm slices
// are followed by a reopen that counts the messages. One JSON line per figure.
//   log [directory] [slices] [per slice]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/shared_atomic.h"
#include "log/log.h"

int logBench(int argc, char** argv);

namespace millrace::log {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMessageBytes = 256;

struct Counting final : Listener, RecoverySink {
  void onCommitted(Bytes, const std::function<Ref(size_t)>& refOf) override {
    log->retain(refOf(0), 1);  // nothing is settled: the log must keep it all
  }
  void onConfirmed(uint64_t unit) override { through.store(unit, std::memory_order_release); }
  void onRoom() override {
    rooms.fetch_add(1, std::memory_order_release);
    rooms.notify_one();
  }
  void onFailed(const Status& status, uint64_t) override {
    std::fprintf(stderr, "%s\n", status.toString().c_str());
    std::exit(1);
  }
  bool isLive(uint32_t, Seq, Ref) override { return false; }
  Status writeSnapshot(SnapshotWriter&) override { return Status(); }
  Status onSnapshot(Bytes, bool, const SnapshotSource&) override { return Status(); }
  Status onRecord(const RecordReader&, Ref) override {
    ++recovered;
    return Status();
  }
  std::vector<bool> onJournal(const std::vector<DeliverRecord>& entries) override {
    return std::vector<bool>(entries.size());
  }
  Log* log = nullptr;
  std::atomic<uint64_t> through{0};
  std::atomic<uint32_t> rooms{0};
  uint64_t recovered = 0;
};

void fillMessage(std::byte* at, uint64_t seq) {
  std::memset(at, 'x', kMessageBytes);
  store(at, static_cast<uint32_t>(kMessageBytes));
  at[MessageLayout::kKind] = static_cast<std::byte>(Kind::kMessage);
  at[MessageLayout::kFlags] = std::byte{0};
  store(at + MessageLayout::kHeaderBytes, uint16_t{0});
  store(at + MessageLayout::kBodyBytes, static_cast<uint32_t>(kMessageBytes - MessageLayout::kContent));
  store(at + MessageLayout::kSeq, seq);
  store(at + MessageLayout::kExtensionBytes, uint32_t{0});
}

double microseconds(std::vector<uint64_t>& ns, double quantile) {
  std::sort(ns.begin(), ns.end());
  return static_cast<double>(ns[static_cast<size_t>(static_cast<double>(ns.size() - 1) * quantile)]) / 1000;
}

void print(const char* what, std::vector<uint64_t>& ns) {
  std::printf("{\"bench\":\"%s\",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"samples\":%zu}\n", what,
              microseconds(ns, 0.5), microseconds(ns, 0.9), microseconds(ns, 0.99), ns.size());
}

Options options(bool sync) {
  Options chosen;
  chosen.sync = sync;
  chosen.checkpoint_bytes = 1ull << 40;  // none in between
  return chosen;
}

std::unique_ptr<Log> openLog(const std::string& path, Counting& counting, bool sync) {
  auto directory = os::openDirectory(path, true);
  MILLRACE_CHECK(directory.ok());
  RecoveryReport report;
  auto log = Log::open(directory.take(), options(sync), counting, counting, report);
  if (!log.ok()) std::fprintf(stderr, "%s\n", log.status().toString().c_str());
  MILLRACE_CHECK(log.ok());
  counting.log = log.value().get();
  MILLRACE_CHECK(log.value()->start().ok());
  while (log.value()->stats().segments_free < 2) std::this_thread::yield();  // nothing else disturbs
  return log.take();
}

StageOutcome stageOne(Log& log, uint64_t& unit) {
  Log::Lock lock(log);
  std::byte* at = nullptr;
  const StageOutcome outcome = lock.reserve(kMessageBytes, Purpose::kSend, at, unit);
  if (outcome == StageOutcome::kStaged) fillMessage(at, unit);
  return outcome;
}

void rawSlice(os::File& file, uint64_t& at, size_t count, std::vector<uint64_t>& ns) {
  const std::vector<std::byte> page(kPage, std::byte{'x'});
  for (size_t i = 0; i < count; ++i, at += kPage) {
    const uint64_t start = monotonicNs();
    MILLRACE_CHECK(file.write(at, page).ok());
    MILLRACE_CHECK(file.sync().ok());
    ns.push_back(monotonicNs() - start);
  }
}

void confirmSlice(Log& log, Counting& counting, size_t count, std::vector<uint64_t>& ns) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t start = monotonicNs();
    uint64_t unit = 0;
    MILLRACE_CHECK(stageOne(log, unit) == StageOutcome::kStaged);
    for (int looks = 0; counting.through.load(std::memory_order_acquire) < unit; ++looks) {
      if (looks % 64 == 63)
        std::this_thread::yield();
      else
        spinPause();
    }
    ns.push_back(monotonicNs() - start);
  }
}

void benchConfirm(const std::string& path, size_t slices, size_t per_slice) {
  auto directory = os::openDirectory(path + "/raw", true);
  auto raw = directory.value()->create("raw");
  MILLRACE_CHECK(raw.ok());
  const size_t raw_bytes = slices * per_slice * kPage;
  for (size_t at = 0; at < raw_bytes; at += 1 << 20) {
    MILLRACE_CHECK(raw.value()->write(at, std::vector<std::byte>(1 << 20)).ok());
  }
  MILLRACE_CHECK(raw.value()->sync().ok());
  std::vector<uint64_t> raw_ns;
  std::vector<uint64_t> sync_ns;
  std::vector<uint64_t> process_ns;
  uint64_t at = 0;
  {
    Counting counting;
    auto log = openLog(path + "/confirm", counting, true);
    for (size_t slice = 0; slice < slices; ++slice) {
      rawSlice(*raw.value(), at, per_slice, raw_ns);
      confirmSlice(*log, counting, per_slice, sync_ns);
    }
  }
  {
    Counting counting;
    auto log = openLog(path + "/process", counting, false);
    confirmSlice(*log, counting, slices * per_slice, process_ns);
  }
  Counting counted;
  auto reopened = openLog(path + "/confirm", counted, true);
  MILLRACE_CHECK(counted.recovered == slices * per_slice);
  print("raw_4k_pwrite_fdatasync", raw_ns);
  print("confirm_sync_1_in_flight", sync_ns);
  print("confirm_process_1_in_flight", process_ns);
  std::printf("{\"bench\":\"confirm_over_raw\",\"p50_ratio\":%.3f,\"p99_ratio\":%.3f}\n",
              microseconds(sync_ns, 0.5) / microseconds(raw_ns, 0.5),
              microseconds(sync_ns, 0.99) / microseconds(raw_ns, 0.99));
}

void benchStream(const std::string& path, bool sync, uint64_t messages) {
  Counting counting;
  double seconds = 0;
  Stats stats;
  {
    auto log = openLog(path, counting, sync);
    const uint64_t start = monotonicNs();
    for (uint64_t sent = 0; sent < messages;) {
      uint64_t unit = 0;
      const uint32_t rooms = counting.rooms.load(std::memory_order_acquire);
      const StageOutcome outcome = stageOne(*log, unit);
      MILLRACE_CHECK(outcome == StageOutcome::kStaged || outcome == StageOutcome::kFull);
      if (outcome == StageOutcome::kStaged)
        ++sent;
      else
        counting.rooms.wait(rooms, std::memory_order_acquire);
    }
    while (counting.through.load(std::memory_order_acquire) < messages) std::this_thread::yield();
    seconds = static_cast<double>(monotonicNs() - start) / 1e9;
    stats = log->stats();
  }
  Counting counted;
  const uint64_t start = monotonicNs();
  { auto log = openLog(path, counted, sync); }
  const double reopen = static_cast<double>(monotonicNs() - start) / 1e9;
  MILLRACE_CHECK(counted.recovered == messages);
  std::printf(
      "{\"bench\":\"stream_%s_256B\",\"messages_per_s\":%.0f,\"MB_per_s\":%.0f,\"commits\":%llu,"
      "\"mean_commit_bytes\":%llu,\"bytes_per_byte\":%.3f,\"recovery_s\":%.3f}\n",
      sync ? "sync" : "process", static_cast<double>(messages) / seconds,
      static_cast<double>(messages * kMessageBytes) / seconds / 1e6,
      static_cast<unsigned long long>(stats.commits),
      static_cast<unsigned long long>(stats.committed_bytes / stats.commits),
      static_cast<double>(stats.committed_bytes) / static_cast<double>(messages * kMessageBytes), reopen);
}

}  // namespace
}  // namespace millrace::log

int logBench(int argc, char** argv) {
  using namespace millrace::log;
  const std::string base = argc > 1 ? argv[1] : "/tmp";
  const size_t slices = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 10;
  const size_t per_slice = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 500;
  const std::string path = base + "/millrace-log-bench";
  std::filesystem::remove_all(path);
  benchConfirm(path, slices, per_slice);
  benchStream(path + "/stream", true, 2'000'000);
  std::filesystem::remove_all(path + "/stream");
  benchStream(path + "/stream", false, 2'000'000);
  std::filesystem::remove_all(path);
  return 0;
}
