// Many threads: what was pushed is popped exactly once, intact, each producer's messages in order.
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "harness/test.h"
#include "ring/ring.h"
#include "ring/ring_fixture.h"

using namespace millrace;
using namespace millrace::ring;
using namespace millrace::test;

namespace {

constexpr uint64_t kEach = 200'000;  // messages of all producers together

struct Load {
  uint32_t producers;
  uint32_t consumers;
  Geometry geometry;
  uint64_t start;
};

// Producer, number, and padding whose every byte follows from them.
std::vector<std::byte> messageOf(uint32_t producer, uint32_t number, uint32_t slot_bytes) {
  const uint32_t size = 8 + (producer * 7 + number) % (slot_bytes - 7);
  std::vector<std::byte> message(size, static_cast<std::byte>(producer ^ number));
  store(message.data(), producer);
  store(message.data() + 4, number);
  return message;
}

class Seen {
 public:
  Seen(uint32_t producers, uint32_t each)
      : each_(each), seen_(new std::atomic<uint8_t>[producers * each]()) {}

  // `last`: the highest number this consumer had from each producer.
  void take(Bytes message, uint32_t slot_bytes, std::vector<int64_t>& last) {
    CHECK(message.size() >= 8);
    const auto producer = load<uint32_t>(message.data());
    const auto number = load<uint32_t>(message.data() + 4);
    CHECK(producer < last.size() && number < each_);
    const std::vector<std::byte> wanted = messageOf(producer, number, slot_bytes);
    CHECK(message.size() == wanted.size() && std::equal(wanted.begin(), wanted.end(), message.begin()));
    CHECK(last[producer] < number);
    last[producer] = number;
    CHECK_EQ(int{seen_[producer * each_ + number].fetch_add(1)}, 0);
    count_.fetch_add(1);
  }
  uint64_t count() const { return count_.load(); }

 private:
  uint32_t each_;
  std::unique_ptr<std::atomic<uint8_t>[]> seen_;
  std::atomic<uint64_t> count_{0};
};

void produce(Ring ring, uint32_t producer, uint32_t each) {
  std::mt19937_64 random(seed() * 1'000 + producer);
  uint32_t number = 0;
  while (number < each) {
    const auto wanted = static_cast<uint32_t>(std::min<uint64_t>(each - number, 1 + random() % 9));
    std::vector<std::vector<std::byte>> messages;
    for (uint32_t i = 0; i < wanted; ++i)
      messages.push_back(messageOf(producer, number + i, ring.slotBytes()));
    const std::vector<Bytes> batch(messages.begin(), messages.end());
    const Pushed pushed = ring.tryPushBatch(batch);
    CHECK(pushed.outcome == Outcome::kDone || pushed.outcome == Outcome::kFull);
    number += pushed.count;
    if (pushed.count == 0) ring.spin(Side::kSpace, 100);
  }
}

void consume(Ring ring, uint32_t consumer, uint32_t producers, Seen& seen) {
  std::mt19937_64 random(seed() * 2'000 + consumer);
  std::vector<int64_t> last(producers, -1);
  std::vector<std::byte> into(16 * ring.slotBytes());
  std::vector<uint32_t> lengths(16);
  for (;;) {
    const Popped popped = ring.tryPopBatch(into, std::span(lengths).first(1 + random() % 16));
    if (popped.outcome == Outcome::kClosed) return;
    if (popped.count == 0) ring.spin(Side::kMessages, 100);
    size_t at = 0;
    for (uint32_t i = 0; i < popped.count; ++i) {
      seen.take(Bytes(into).subspan(at, lengths[i]), ring.slotBytes(), last);
      at += lengths[i];
    }
  }
}

void run(const Load& with) {
  const auto each = static_cast<uint32_t>((kEach * scale()) / with.producers);
  RingMemory memory(with.geometry, with.start);
  Seen seen(with.producers, each);
  std::vector<std::thread> consumers;
  for (uint32_t i = 0; i < with.consumers; ++i) {
    consumers.emplace_back([&, i] { consume(memory.attach(), i, with.producers, seen); });
  }
  std::vector<std::thread> producers;
  for (uint32_t i = 0; i < with.producers; ++i) {
    producers.emplace_back([&, i] { produce(memory.attach(), i, each); });
  }
  for (std::thread& producer : producers) producer.join();
  memory.attach().close();
  for (std::thread& consumer : consumers) consumer.join();
  CHECK_EQ(seen.count(), uint64_t{each} * with.producers);
  memory.checkGuards();
}

}  // namespace

TEST(RingStressOneToOne) { run({1, 1, {64, 64}, 0}); }
TEST(RingStressManyToMany) { run({4, 4, {64, 33}, 0}); }
TEST(RingStressTwoSlots) { run({3, 3, {2, 16}, 0}); }
TEST(RingStressSequencesWrap) { run({4, 4, {16, 24}, (uint64_t{1} << 32) - 50'000}); }
TEST(RingStressIndicesWrap) { run({4, 4, {16, 24}, (uint64_t{1} << 63) - 50'000}); }

TEST(RingStressSleepersAreAlwaysWoken) {
  // A sleeper as JavaScript is one, with C++20's wait in place of waitAsync and no timer to help: a lost
  // wake-up hangs, and the harness's alarm fails the test.
  RingMemory memory({2, 8});
  const auto sleep = [](Ring& ring, MutableBytes bytes, Side side) {
    const Wait wait = ring.prepareWait(side);
    if (wait.advice != Wait::Advice::kSleep) return;
    auto* word = reinterpret_cast<uint32_t*>(bytes.data() + ring.waiterWordAt(side));
    while (loadSeqCst(word) == wait.word) std::this_thread::yield();
  };
  const uint64_t total = 40'000 * scale();
  std::atomic<uint64_t> popped{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      Ring ring = memory.attach();
      for (uint64_t n = 0; n < total / 2;) {
        if (push(ring, "m")) {
          ++n;
        } else {
          sleep(ring, memory.memory(), Side::kSpace);
        }
      }
    });
    threads.emplace_back([&] {
      Ring ring = memory.attach();
      for (std::string got = pop(ring); got != "!"; got = pop(ring, 8)) {
        if (got == "m") {
          if (popped.fetch_add(1) + 1 == total) ring.close();
        } else {
          sleep(ring, memory.memory(), Side::kMessages);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(popped.load(), total);
}
