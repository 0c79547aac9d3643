// The ring without JavaScript: messages from one thread to another, every one checked. Prints messages a
// second.
//
//   millrace_bench ring COUNT SIZE BATCH       BATCH 1: one call each
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "ring/ring.h"

using namespace millrace;
using namespace millrace::ring;

namespace {

constexpr uint32_t kSlots = 4096;
constexpr uint32_t kSpins = 1'000;

struct Work {
  uint64_t count;
  uint32_t size;
  size_t batch;
};

void produce(Ring ring, Work work) {
  std::vector<std::byte> memory(work.batch * work.size);
  std::vector<Bytes> messages;
  for (size_t i = 0; i < work.batch; ++i) messages.push_back(Bytes(memory).subspan(i * work.size, work.size));
  for (uint64_t sent = 0; sent < work.count; sent += work.batch) {
    for (size_t i = 0; i < work.batch; ++i) store(memory.data() + i * work.size, sent + i);
    size_t accepted = 0;
    while (accepted < work.batch) {
      const Pushed pushed = ring.tryPushBatch(std::span(messages).subspan(accepted));
      if (pushed.count == 0) ring.spin(Side::kSpace, kSpins);
      accepted += pushed.count;
    }
  }
}

bool consume(Ring ring, Work work) {
  std::vector<std::byte> into(work.batch * work.size);
  std::vector<uint32_t> lengths(work.batch);
  uint64_t seen = 0;
  while (seen < work.count) {
    const Popped popped = ring.tryPopBatch(into, lengths);
    if (popped.count == 0) ring.spin(Side::kMessages, kSpins);
    for (uint32_t i = 0; i < popped.count; ++i) {
      const bool intact =
          lengths[i] == work.size && load<uint64_t>(into.data() + i * size_t{work.size}) == seen;
      if (!intact) return false;
      ++seen;
    }
  }
  return true;
}

double rate(Work work) {
  const Geometry geometry{kSlots, work.size};
  std::vector<uint64_t> memory(Ring::sizeFor(geometry).value() / 8 + 1);
  auto made = Ring::create(std::as_writable_bytes(std::span(memory)), geometry);
  if (!made.ok()) return 0;
  const uint64_t start = monotonicNs();
  std::thread producer(produce, made.value(), work);
  const bool intact = consume(made.value(), work);
  producer.join();
  return intact ? static_cast<double>(work.count) * 1e9 / static_cast<double>(monotonicNs() - start) : 0;
}

}  // namespace

int ringBench(int argc, char** argv) {
  const uint64_t size = argc == 4 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const uint64_t batch = argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 0;
  if (size < 8 || size > 65'535 || batch == 0 || batch > kSlots) {
    std::fprintf(stderr, "usage: millrace_bench ring COUNT SIZE BATCH\n");
    return 2;
  }
  const uint64_t count = (std::strtoull(argv[1], nullptr, 10) + batch - 1) / batch * batch;
  const double result = rate({count, static_cast<uint32_t>(size), batch});
  std::printf("%.0f\n", result);
  return result > 0 ? 0 : 1;
}
