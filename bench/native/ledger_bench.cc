// What the ledger costs a message, alone and beside a large backlog: nanoseconds of each step, and bytes.
// Prints one JSON object a line. Usage: ledgerBench [--backlog N] [--rounds N]
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "ledger/ledger.h"

namespace {

using namespace millrace;
using namespace millrace::ledger;

constexpr size_t kBatch = 64;
constexpr size_t kInFlight = 1024;
constexpr uint32_t kBytes = 256;
constexpr ConsumerId kConsumer = 7;

uint64_t heapBytes() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

void report(const char* what, uint64_t backlog, uint64_t messages, uint64_t ns) {
  std::printf(
      "{\"bench\":\"ledger\",\"case\":\"%s\",\"backlog\":%llu,\"messages\":%llu,\"ns_per_message\":%.2f}\n",
      what, static_cast<unsigned long long>(backlog), static_cast<unsigned long long>(messages),
      static_cast<double>(ns) / static_cast<double>(messages));
}

struct Bench {
  Ledger ledger{Limits{}};
  Now now{1000, 1'700'000'000'000};
  Seq next_seq = 1;
  std::vector<Delivery> out;

  void enqueue(size_t count) {
    for (size_t i = 0; i < count; ++i, ++next_seq) ledger.enqueue(next_seq, next_seq * 40, kBytes);
  }
  void take(size_t count) {
    out.clear();
    ledger.take(kConsumer, now, count, UINT64_MAX, out);
  }
};

// enqueue + take + ack + forget in batches of 64, acked in order 1,024 messages after they were taken.
void cycle(uint64_t backlog, uint64_t messages) {
  Bench bench;
  bench.enqueue(backlog + kInFlight);
  std::vector<Delivery> window(kInFlight);
  bench.take(kInFlight);
  std::copy(bench.out.begin(), bench.out.end(), window.begin());
  size_t at = 0;
  const uint64_t start = monotonicNs();
  for (uint64_t done = 0; done < messages; done += kBatch) {
    if (done % (kBatch * 16) == 0) ++bench.now.monotonic_ms;
    bench.enqueue(kBatch);
    for (size_t i = at; i < at + kBatch; ++i) {
      MILLRACE_CHECK(bench.ledger.ack(kConsumer, window[i].seq, window[i].delivery_count).answer !=
                     Answer::kLeaseLost);
      bench.ledger.forget(window[i].seq);
    }
    bench.take(kBatch);
    std::copy(bench.out.begin(), bench.out.end(), window.begin() + static_cast<ptrdiff_t>(at));
    at = (at + kBatch) % kInFlight;
  }
  report("cycle", backlog, messages, monotonicNs() - start);
}

void backlogMemory(uint64_t backlog) {
  const uint64_t before = heapBytes();
  Bench bench;
  const uint64_t start = monotonicNs();
  bench.enqueue(backlog);
  report("enqueue", backlog, backlog, monotonicNs() - start);
  std::printf("{\"bench\":\"ledger\",\"case\":\"memory\",\"backlog\":%llu,\"bytes_per_message\":%.2f}\n",
              static_cast<unsigned long long>(backlog),
              static_cast<double>(heapBytes() - before) / static_cast<double>(backlog));

  std::vector<Saved> saved;
  saved.reserve(4096);
  const uint64_t start_save = monotonicNs();
  Ledger copy{Limits{}};
  for (Seq from = 1; from != 0;) {
    saved.clear();
    from = bench.ledger.save(from, 4096, saved);
    for (const Saved& one : saved) copy.restore(one);
  }
  copy.finishRecovery(bench.ledger.longestRunMs());
  report("save-and-restore", backlog, backlog, monotonicNs() - start_save);
}

// Every message fails once: taken, nacked (at once or with a delay that ends), taken again, acked, forgotten.
void redelivery(const char* what, uint64_t messages, uint64_t delay_ms) {
  Bench bench;
  std::vector<Returned> returned;
  std::vector<Dead> dead;
  const uint64_t start = monotonicNs();
  for (uint64_t done = 0; done < messages; done += kInFlight) {
    bench.enqueue(kInFlight);
    bench.take(kInFlight);
    for (const Delivery& d : bench.out)
      MILLRACE_CHECK(bench.ledger.nack(kConsumer, d.seq, d.delivery_count, delay_ms, bench.now).answer !=
                     Answer::kLeaseLost);
    bench.now.wall_ms += delay_ms;
    bench.ledger.tick(bench.now, returned, dead);
    bench.take(kInFlight);
    for (const Delivery& d : bench.out) {
      MILLRACE_CHECK(bench.ledger.ack(kConsumer, d.seq, d.delivery_count).answer != Answer::kLeaseLost);
      bench.ledger.forget(d.seq);
    }
  }
  report(what, 0, messages, monotonicNs() - start);
}

void consumerDeath(uint64_t messages) {
  Bench bench;
  std::vector<Returned> returned;
  std::vector<Dead> dead;
  returned.reserve(messages);
  bench.enqueue(messages);
  bench.take(messages);
  const uint64_t start = monotonicNs();
  bench.ledger.returnLeases(kConsumer, messages / 2, returned, dead);
  report("consumer-death", 0, messages, monotonicNs() - start);
}

// A million a second under a timeout of half an hour: what the timers keep.
void longLeases(uint64_t messages) {
  const uint64_t before = heapBytes();
  Bench bench;
  const uint64_t start = monotonicNs();
  uint64_t peak = 0;
  for (uint64_t done = 0; done < messages; done += kInFlight) {
    ++bench.now.monotonic_ms;
    bench.enqueue(kInFlight);
    bench.take(kInFlight);
    for (size_t i = 0; i + 1 < bench.out.size(); ++i) {  // one of each thousand is never answered
      MILLRACE_CHECK(bench.ledger.ack(kConsumer, bench.out[i].seq, bench.out[i].delivery_count).answer !=
                     Answer::kLeaseLost);
      bench.ledger.forget(bench.out[i].seq);
    }
    if (done % (kInFlight * 1024) == 0) peak = std::max(peak, heapBytes() - before);
  }
  report("long-leases", 0, messages, monotonicNs() - start);
  std::printf(
      "{\"bench\":\"ledger\",\"case\":\"long-leases-memory\",\"stragglers\":%llu,\"bytes_per_straggler\":%."
      "0f}\n",
      static_cast<unsigned long long>(messages / kInFlight),
      static_cast<double>(peak) / static_cast<double>(messages / kInFlight));
}

}  // namespace

int ledgerBench(int argc, char** argv) {
  uint64_t backlog = 10'000'000;
  uint64_t rounds = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--backlog") == 0) backlog = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::strtoull(argv[i + 1], nullptr, 10);
  }
  constexpr uint64_t kMillion = 1 << 20;
  for (uint64_t round = 0; round < rounds; ++round) {
    cycle(0, 16 * kMillion);
    cycle(backlog, 16 * kMillion);
    backlogMemory(backlog);
    redelivery("nack", 4 * kMillion, 0);
    redelivery("nack-delayed", 4 * kMillion, 250);
    consumerDeath(kMillion);
    longLeases(16 * kMillion);
  }
  return 0;
}
