// The memory is input: whatever it holds, no call leaves it, hangs or crashes.
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "harness/test.h"
#include "ring/ring.h"
#include "ring/ring_fixture.h"

using namespace millrace;
using namespace millrace::ring;
using namespace millrace::test;

namespace {

constexpr Geometry kGeometry{16, 40};

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

// Plausible damage does more harm than noise: small numbers, sequences near the positions, flipped bits.
void scribble(RingMemory& memory, std::mt19937_64& random) {
  const std::span<uint64_t> words = memory.words();
  uint64_t* word = &words[random() % words.size()];
  const uint64_t old = loadRelaxed(word);
  const std::array<uint64_t, 6> values{
      random(),      old + random() % 40, old ^ (uint64_t{1} << (random() % 64)),
      random() % 64, ~uint64_t{0},        old | kClosedBit};
  storeRelaxed(word, values[random() % values.size()]);
}

void callAnything(Ring& ring, std::mt19937_64& random) {
  std::array<std::byte, 256> into{};
  std::array<uint32_t, 8> lengths{};
  const std::array<Bytes, 3> batch{bytesOf("a"), bytesOf("bc"),
                                   bytesOf("0123456789012345678901234567890123456789")};
  switch (random() % 8) {
    case 0:
      CHECK(ring.tryPush(batch[random() % 3]).count <= 1);
      break;
    case 1:
      CHECK(ring.tryPop(std::span(into).first(random() % 60)).bytes <= kGeometry.slot_bytes);
      break;
    case 2:
      CHECK(ring.tryPushBatch(batch).count <= batch.size());
      break;
    case 3: {
      const Popped popped = ring.tryPopBatch(into, lengths);
      CHECK(popped.count <= lengths.size() && popped.bytes <= into.size());
      break;
    }
    case 4:
      (void)ring.prepareWait(random() % 2 == 0 ? Side::kMessages : Side::kSpace);
      break;
    case 5:
      (void)ring.spin(random() % 2 == 0 ? Side::kMessages : Side::kSpace, 3);
      break;
    case 6:
      CHECK(ring.length() <= kGeometry.slots);
      break;
    default:
      if (random() % 100 == 0) ring.close();
  }
}

}  // namespace

TEST(RingSurvivesScribblesBetweenCalls) {
  std::mt19937_64 random(seed());
  for (uint64_t round = 0; round < 300 * scale(); ++round) {
    RingMemory memory(kGeometry, random());
    Ring ring = memory.attach();
    for (int i = 0; i < 500; ++i) {
      if (random() % 4 == 0) scribble(memory, random);
      callAnything(ring, random);
      if (random() % 16 == 0) (void)Ring::attach(memory.memory());
    }
    memory.checkGuards();
  }
}

TEST(RingSurvivesScribblesDuringCalls) {
  // Payloads race here by design, which is what ThreadSanitizer reports.
  if (kThreadSanitizer) return;
  for (uint64_t round = 0; round < 20 * scale(); ++round) {
    RingMemory memory(kGeometry, seed() + round);
    std::atomic<bool> stop{false};
    std::thread vandal([&] {
      std::mt19937_64 random(seed() + round);
      while (!stop.load(std::memory_order_relaxed)) scribble(memory, random);
    });
    std::array<std::thread, 2> users;
    Ring ring = Ring::create(memory.memory(), kGeometry).value();
    for (size_t user = 0; user < users.size(); ++user) {
      users[user] = std::thread([&, user, own = ring]() mutable {
        std::mt19937_64 random(seed() * 31 + round * 7 + user);
        for (int i = 0; i < 20'000; ++i) callAnything(own, random);
      });
    }
    for (std::thread& user : users) user.join();
    stop.store(true);
    vandal.join();
    memory.checkGuards();
  }
}
