// Records: what is well formed, and that nothing else is ever taken for one.
#include "log/record.h"

#include <vector>

#include "harness/test.h"
#include "support/random.h"

namespace millrace::test {
namespace {

using log::Kind;
using log::MessageLayout;
using log::MessageView;
using log::RecordReader;

std::vector<std::byte> message(size_t headers, size_t extension, size_t body, Kind kind = Kind::kMessage) {
  std::vector<std::byte> record(static_cast<size_t>(log::messageRecordBytes(headers, extension, body)));
  store(record.data(), static_cast<uint32_t>(record.size()));
  record[MessageLayout::kKind] = static_cast<std::byte>(kind);
  store(&record[MessageLayout::kHeaderBytes], static_cast<uint16_t>(headers));
  store(&record[MessageLayout::kBodyBytes], static_cast<uint32_t>(body));
  store(&record[MessageLayout::kExtensionBytes], static_cast<uint32_t>(extension));
  for (size_t i = 0; i < headers + extension + body; ++i) {
    record[MessageLayout::kContent + i] = static_cast<std::byte>(i + 1);
  }
  return record;
}

}  // namespace

TEST(RecordMessageOfEveryShapeIsParsed) {
  for (size_t headers = 0; headers < 10; ++headers) {
    for (size_t extension = 0; extension < 10; ++extension) {
      for (size_t body = 0; body < 20; ++body) {
        const auto record = message(headers, extension, body);
        const auto view = MessageView::parse(record);
        CHECK_OK(view.status());
        CHECK_EQ(view.value().headers().size(), headers);
        CHECK_EQ(view.value().extension().size(), extension);
        CHECK_EQ(view.value().body().size(), body);
        if (body > 0) CHECK(view.value().body()[0] == static_cast<std::byte>(headers + extension + 1));
      }
    }
  }
}

TEST(RecordMessageWithWrongLengthsIsCorrupt) {
  const auto good = message(3, 5, 20);
  const auto broken = [&](size_t at, auto value) {
    auto record = good;
    store(&record[at], value);
    return MessageView::parse(record).status().code() == Code::kCorrupt;
  };
  CHECK(broken(MessageLayout::kBytes, uint32_t{64}));
  CHECK(broken(MessageLayout::kBytes, uint32_t{0xffffffff}));
  CHECK(broken(MessageLayout::kBodyBytes, uint32_t{60}));
  CHECK(broken(MessageLayout::kBodyBytes, uint32_t{0xffffffff}));
  CHECK(broken(MessageLayout::kExtensionBytes, uint32_t{0xffffffff}));
  CHECK(broken(MessageLayout::kHeaderBytes, uint16_t{0xffff}));
  CHECK(broken(MessageLayout::kKind, Kind::kSettle));
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    CHECK(!MessageView::parse(Bytes(good).first(bytes)).ok());
  }
}

TEST(RecordContentCrcCoversWhatItSays) {
  auto record = message(3, 5, 20);
  const uint32_t crc = MessageView::parse(record).value().computeCrc();
  const auto covers = [&](size_t at) {
    record[at] ^= std::byte{1};
    const uint32_t changed = MessageView::parse(record).value().computeCrc();
    record[at] ^= std::byte{1};
    return changed != crc;
  };
  for (size_t at = MessageLayout::kTimestamp; at < MessageLayout::kContentCrc; ++at) CHECK(covers(at));
  for (size_t at = MessageLayout::kContent; at < MessageLayout::kContent + 28; ++at) CHECK(covers(at));
  CHECK(!covers(MessageLayout::kQueue));  // the same content may stand in another queue
  CHECK(!covers(MessageLayout::kSeq));
}

TEST(RecordEveryKindComesBackAsWritten) {
  std::vector<std::byte> run(24 + 32 + 48 + 24);
  log::SettleRecord{1, 2, 3}.encode(run.data());
  log::DeliverRecord{4, 5, 6, 7}.encode(run.data() + 24);
  log::ReturnRecord{8, 9, 10, 11, 12, 13}.encode(run.data() + 56);
  log::QueueRecord{14, bytesOf("abc")}.encode(run.data() + 104);
  const auto moved = message(1, 0, 2, Kind::kMove);
  run.insert(run.end(), moved.begin(), moved.end());
  RecordReader reader(run);
  CHECK(reader.next() && reader.kind() == Kind::kSettle);
  CHECK(reader.settle().queue == 1 && reader.settle().count == 2 && reader.settle().first == 3);
  CHECK(reader.next() && reader.kind() == Kind::kDeliver);
  CHECK(reader.deliver().queue == 4 && reader.deliver().count == 5 && reader.deliver().first == 6);
  CHECK_EQ(reader.deliver().delivery_count, 7u);
  CHECK(reader.next() && reader.kind() == Kind::kReturn);
  const log::ReturnRecord returned = reader.returned();
  CHECK(returned.queue == 8 && returned.deliveries == 9 && returned.seq == 10 && returned.uncounted == 11);
  CHECK(returned.due_ms == 12 && returned.first_delivery_ms == 13);
  CHECK(reader.next() && reader.kind() == Kind::kQueue);
  CHECK(reader.queue().queue == 14 && textOf(reader.queue().settings) == "abc");
  CHECK_EQ(reader.offset(), 104u);
  CHECK(reader.next() && reader.kind() == Kind::kMove);
  CHECK(!reader.next() && !reader.corrupt());
  CHECK(!reader.next() && !reader.corrupt());
}

TEST(RecordReaderSurvivesAnything) {
  Random random(seed());
  for (uint64_t round = 0; round < 200'000 * scale(); ++round) {
    std::vector<std::byte> run(random.below(200));
    for (std::byte& value : run) value = static_cast<std::byte>(random.chance(60) ? 0 : random.next());
    if (run.size() >= 8) {  // lengths and kinds that get further in
      store(run.data(), static_cast<uint32_t>(random.chance(50) ? run.size() : random.below(80) & ~7ull));
      run[4] = static_cast<std::byte>(random.below(8));
    }
    RecordReader reader(run);
    size_t steps = 0;
    while (reader.next()) {
      CHECK(reader.offset() + reader.record().size() <= run.size());
      CHECK(++steps <= run.size() / 8);
      if (reader.kind() == Kind::kQueue) CHECK(reader.queue().settings.size() <= run.size());
      if (reader.kind() == Kind::kMessage) MessageView::parse(reader.record()).value().computeCrc();
    }
    CHECK(!reader.next());
  }
}

}  // namespace millrace::test
