// What a ring answers, one thread, states crafted directly.
#include "ring/ring.h"

#include <array>

#include "harness/test.h"
#include "ring/ring_fixture.h"

using namespace millrace;
using namespace millrace::ring;
using namespace millrace::test;

TEST(RingReturnsMessagesInOrderAndIntact) {
  RingMemory memory({4, 16});
  Ring ring = memory.attach();
  for (int round = 0; round < 10; ++round) {
    CHECK(push(ring, "one"));
    CHECK(push(ring, ""));
    CHECK(push(ring, "sixteen bytes..."));
    CHECK_EQ(pop(ring), std::string("one"));
    CHECK_EQ(pop(ring), std::string(""));
    CHECK_EQ(pop(ring), std::string("sixteen bytes..."));
    CHECK_EQ(pop(ring), std::string("-"));
  }
  memory.checkGuards();
}

TEST(RingRefusesOnlyWhenEverySlotIsTaken) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  CHECK(push(ring, "a"));
  CHECK(push(ring, "b"));
  CHECK(ring.tryPush(bytesOf("c")).outcome == Outcome::kFull);
  CHECK_EQ(ring.length(), 2u);
  CHECK_EQ(pop(ring), std::string("a"));
  CHECK(push(ring, "c"));
  CHECK_EQ(popped(ring, 3), std::string("bc-"));
}

TEST(RingRefusesAMessageLargerThanASlot) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  CHECK(ring.tryPush(bytesOf("nine byte")).outcome == Outcome::kTooLarge);
  CHECK_EQ(pop(ring), std::string("-"));
}

TEST(RingKeepsAMessageThatDoesNotFitTheReader) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  CHECK(push(ring, "four"));
  CHECK_EQ(pop(ring, 3), std::string("<"));
  CHECK_EQ(pop(ring, 4), std::string("four"));
}

TEST(RingBatchTakesThePrefixThatFits) {
  RingMemory memory({4, 8});
  Ring ring = memory.attach();
  CHECK(push(ring, "0"));
  const std::array<Bytes, 5> batch{bytesOf("1"), bytesOf("22"), bytesOf("333"), bytesOf("4"), bytesOf("5")};
  CHECK_EQ(ring.tryPushBatch(batch).count, 3u);
  CHECK(ring.tryPushBatch(batch).outcome == Outcome::kFull);

  std::array<std::byte, 4> into{};
  std::array<uint32_t, 8> lengths{};
  const Popped popped = ring.tryPopBatch(into, lengths);
  CHECK_EQ(popped.count, 3u);  // "333" no longer fits
  CHECK_EQ(popped.bytes, 4u);
  CHECK_EQ(std::string(textOf(into)), std::string("0122"));
  CHECK_EQ(lengths[2], 2u);
  CHECK_EQ(pop(ring), std::string("333"));
}

TEST(RingBatchStopsBeforeATooLargeMessage) {
  RingMemory memory({4, 4});
  Ring ring = memory.attach();
  const std::array<Bytes, 2> batch{bytesOf("fine"), bytesOf("large")};
  CHECK_EQ(ring.tryPushBatch(batch).count, 1u);
  CHECK(ring.tryPushBatch(std::span(batch).subspan(1)).outcome == Outcome::kTooLarge);
}

TEST(RingBatchClaimsOnlySlotsThatAreAllReady) {
  RingMemory memory({4, 8});
  Ring ring = memory.attach();
  for (const char* text : {"a", "b", "c"}) CHECK(push(ring, text));
  // A producer between claim and publication in the middle.
  const uint64_t published = *memory.slotWord(1, 8);
  *memory.slotWord(1, 8) = slotWord(1, 0);
  std::array<std::byte, 64> into{};
  std::array<uint32_t, 4> lengths{};
  CHECK_EQ(ring.tryPopBatch(into, lengths).count, 1u);
  CHECK_EQ(pop(ring), std::string("-"));
  *memory.slotWord(1, 8) = published;
  CHECK_EQ(popped(ring, 2), std::string("bc"));
}

TEST(RingClosedRefusesPushesAndDrains) {
  RingMemory memory({4, 8});
  Ring ring = memory.attach();
  CHECK(push(ring, "last"));
  CHECK(!ring.isClosed());
  ring.close();
  ring.close();
  CHECK(memory.attach().isClosed());
  CHECK(ring.tryPush(bytesOf("late")).outcome == Outcome::kClosed);
  CHECK_EQ(pop(ring), std::string("last"));
  CHECK_EQ(pop(ring), std::string("!"));
}

TEST(RingClosedIsNotDrainedWhileAPushIsUnpublished) {
  RingMemory memory({4, 8});
  Ring ring = memory.attach();
  *memory.word64(kPushWordAt) = 1 | kClosedBit;  // claimed, then closed by another thread
  CHECK_EQ(pop(ring), std::string("-"));
  CHECK(ring.prepareWait(Side::kMessages).advice == Wait::Advice::kSoon);
  *memory.slotWord(0, 8) = slotWord(1, 0);
  CHECK_EQ(popped(ring, 2), std::string("!"));
}

TEST(RingIndicesAndSequencesWrap) {
  for (const uint64_t end : {uint64_t{1} << 32, uint64_t{1} << 63}) {
    RingMemory memory({8, 8}, end - 21);
    Ring ring = memory.attach();
    for (int i = 0; i < 100; ++i) {
      std::array<Bytes, 3> batch{bytesOf("x"), bytesOf("yy"), bytesOf("zzz")};
      CHECK_EQ(ring.tryPushBatch(batch).count, 3u);
      CHECK_EQ(popped(ring, 4), std::string("xyyzzz-"));
    }
    int filled = 0;
    while (push(ring, "f")) ++filled;
    CHECK_EQ(filled, 8);
    ring.close();
    for (int i = 0; i < 8; ++i) CHECK_EQ(pop(ring), std::string("f"));
    CHECK_EQ(pop(ring), std::string("!"));
  }
}

TEST(RingWorksAtEveryAlignment) {
  for (size_t skew = 0; skew < 64; skew += 8) {
    RingMemory memory({4, 5}, 0, skew);
    Ring ring = memory.attach();
    CHECK_EQ(reinterpret_cast<uintptr_t>(memory.lines()) % 64, 0u);
    for (int i = 0; i < 9; ++i) {
      CHECK(push(ring, "five!"));
      CHECK_EQ(pop(ring), std::string("five!"));
    }
    memory.checkGuards();
  }
}

TEST(RingRefusesGeometriesOutOfRange) {
  for (const Geometry wrong : {Geometry{0, 8}, Geometry{1, 8}, Geometry{3, 8}, Geometry{kSlotsMax * 2, 8},
                               Geometry{4, 0}, Geometry{4, kSlotBytesMax + 1}, Geometry{kSlotsMax, 64}}) {
    CHECK(Ring::sizeFor(wrong).status().code() == Code::kOutOfRange);
  }
  CHECK(Ring::sizeFor({1u << 23, 64}).ok());
}

TEST(RingAttachRefusesWhatIsNoRing) {
  RingMemory memory({4, 8});
  const auto refused = [](MutableBytes bytes) {
    return Ring::attach(bytes).status().code() == Code::kIncompatible;
  };
  CHECK(refused({}));
  CHECK(refused(memory.memory().first(63)));
  CHECK(refused(memory.memory().first(memory.memory().size() - 1)));
  struct Damage {
    size_t at;
    uint32_t value;
  };
  for (const Damage damage : {Damage{kMagicAt, 0}, Damage{kVersionAt, 2}, Damage{kSlotsAt, 3},
                              Damage{kSlotsAt, 8}, Damage{kSlotsAt, 0xffffffff}, Damage{kSlotBytesAt, 0},
                              Damage{kSlotBytesAt, kSlotBytesMax}, Damage{kSlotBytesAt, 0xffffffff}}) {
    const uint32_t sound = load<uint32_t>(memory.memory().data() + damage.at);
    store(memory.memory().data() + damage.at, damage.value);
    CHECK(refused(memory.memory()));
    store(memory.memory().data() + damage.at, sound);
  }
  CHECK(!refused(memory.memory()));
}

TEST(RingWakesOnlyWhoAnnouncedItself) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  CHECK(!ring.tryPush(bytesOf("a")).wake);
  CHECK_EQ(pop(ring), std::string("a"));
  const Wait sleeper = ring.prepareWait(Side::kMessages);
  CHECK(sleeper.advice == Wait::Advice::kSleep);
  const auto* word = reinterpret_cast<uint32_t*>(memory.memory().data() + ring.waiterWordAt(Side::kMessages));
  CHECK_EQ(*word, sleeper.word);
  CHECK(ring.tryPush(bytesOf("b")).wake);
  CHECK(*word != sleeper.word);
  CHECK(!ring.tryPush(bytesOf("c")).wake);

  CHECK(ring.prepareWait(Side::kMessages).advice == Wait::Advice::kRetry);
  CHECK(ring.prepareWait(Side::kSpace).advice == Wait::Advice::kSleep);
  std::array<std::byte, 8> into{};
  CHECK(ring.tryPop(into).wake);
  CHECK(!ring.tryPop(into).wake);
}

TEST(RingCloseMovesBothWaiterWords) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  const Wait sleeper = ring.prepareWait(Side::kMessages);
  ring.close();
  CHECK(ring.prepareWait(Side::kMessages).advice == Wait::Advice::kRetry);
  CHECK(ring.prepareWait(Side::kMessages).word != sleeper.word);
  CHECK(ring.prepareWait(Side::kSpace).advice == Wait::Advice::kRetry);
}

TEST(RingSpinReportsBothSides) {
  RingMemory memory({2, 8});
  Ring ring = memory.attach();
  CHECK(!ring.spin(Side::kMessages, 100));
  CHECK(ring.spin(Side::kSpace, 100));
  CHECK(push(ring, "a"));
  CHECK(push(ring, "b"));
  CHECK(ring.spin(Side::kMessages, 0));
  CHECK(!ring.spin(Side::kSpace, 0));
}
