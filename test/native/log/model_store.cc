#include "log/model_store.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "harness/test.h"

namespace millrace::test {

using log::Kind;
using log::MessageLayout;
using log::StageOutcome;

namespace {

std::vector<std::byte> encodeMessage(const MessageKey& key, size_t body_bytes) {
  std::vector<std::byte> record(static_cast<size_t>(log::messageRecordBytes(0, 0, body_bytes)));
  std::byte* at = record.data();
  store(at + MessageLayout::kBytes, static_cast<uint32_t>(record.size()));
  at[MessageLayout::kKind] = static_cast<std::byte>(Kind::kMessage);
  store(at + MessageLayout::kQueue, key.first);
  store(at + MessageLayout::kBodyBytes, static_cast<uint32_t>(body_bytes));
  store(at + MessageLayout::kSeq, key.second);
  store(at + MessageLayout::kTimestamp, uint64_t{1'700'000'000'000});
  const std::vector<std::byte> body = bodyOf(key, body_bytes);
  std::copy(body.begin(), body.end(), at + MessageLayout::kContent);
  store(at + MessageLayout::kContentCrc, log::MessageView::parse(record).value().computeCrc());
  return record;
}

std::vector<std::byte> encodeQueue(uint32_t queue, Bytes settings) {
  const log::QueueRecord record{queue, settings};
  std::vector<std::byte> bytes(static_cast<size_t>(record.recordBytes()));
  record.encode(bytes.data());
  return bytes;
}

void append(std::vector<std::byte>& to, const std::vector<std::byte>& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> encode(const Operation& operation, uint64_t number) {
  std::vector<std::byte> unit = encodeQueue(kMarkerQueue, std::as_bytes(std::span(&number, 1)));
  for (const auto& [key, bytes] : operation.sent) append(unit, encodeMessage(key, bytes));
  for (const MessageKey& key : operation.settled) {
    std::vector<std::byte> record(log::SettleRecord::kRecordBytes);
    log::SettleRecord{key.first, 1, key.second}.encode(record.data());
    append(unit, record);
  }
  return unit;
}

}  // namespace

std::vector<std::byte> bodyOf(const MessageKey& key, size_t bytes) {
  std::vector<std::byte> body(bytes);
  Random random(key.first * 1'000'003ull + key.second * 31 + bytes);
  for (std::byte& value : body) value = static_cast<std::byte>(random.next());
  return body;
}

std::set<MessageKey> liveAfter(const History& history, uint64_t operations) {
  std::set<MessageKey> live;
  for (uint64_t n = 1; n <= operations; ++n) {
    for (const auto& [key, bytes] : history[n].sent) live.insert(key);
    for (const MessageKey& key : history[n].settled) live.erase(key);
  }
  return live;
}

ModelStore::ModelStore(std::unique_ptr<os::Directory> directory, log::Options options)
    : directory_(std::move(directory)), options_(options) {}

ModelStore::~ModelStore() { crash(); }

log::Options smallOptions(bool sync) {
  log::Options options;
  options.segment_bytes = kSmallSegment;
  options.sync = sync;
  options.checkpoint_bytes = 1 << 20;
  return options;
}

Status ModelStore::open() {
  auto log = log::Log::open(std::move(directory_), options_, *this, *this, report_);
  if (!log.ok()) return log.status();
  log_ = log.take();
  at_work_ = log_.get();
  for (const auto& [key, message] : state_.live) log_->retain(message.ref, message.bytes);
  return Status();
}

Status ModelStore::openAndStart() {
  MILLRACE_RETURN_IF_ERROR(open());
  start();
  return Status();
}

void ModelStore::forgetLost() { history->resize(static_cast<size_t>(state().operation) + 1); }

StageOutcome ModelStore::send(const std::vector<size_t>& body_bytes, uint32_t queue) {
  Operation operation;
  log::Seq seq = 1;
  for (const Operation& earlier : *history) {
    for (const auto& [key, bytes] : earlier.sent) {
      if (key.first == queue) seq = std::max(seq, key.second + 1);
    }
  }
  for (const size_t bytes : body_bytes) operation.sent.push_back({{queue, seq++}, uint32_t(bytes)});
  return stage(operation);
}

StageOutcome ModelStore::settle(const std::vector<MessageKey>& keys) {
  Operation operation;
  operation.settled = keys;
  return stage(operation);
}

StageOutcome ModelStore::settleOldest(size_t count, uint32_t queue) {
  std::vector<MessageKey> keys;
  for (const MessageKey& key : liveAfter(*history, history->size() - 1)) {
    if (key.first == queue && keys.size() < count) keys.push_back(key);
  }
  return settle(keys);
}

StageOutcome ModelStore::stage(const Operation& operation) {
  const std::vector<std::byte> unit = encode(operation, history->size());
  const auto purpose = operation.sent.empty() ? log::Purpose::kSettle : log::Purpose::kSend;
  for (;;) {
    uint64_t rooms = 0;
    {
      const std::lock_guard guard(mutex_);
      rooms = rooms_;
    }
    StageOutcome outcome = StageOutcome::kFailed;
    {
      log::Log::Lock lock(*log_);
      std::byte* at = nullptr;
      uint64_t number = 0;
      outcome = lock.reserve(unit.size(), purpose, at, number);
      if (outcome == StageOutcome::kStaged) {
        std::copy(unit.begin(), unit.end(), at);
        const std::lock_guard guard(mutex_);
        last_unit_ = number;
        history->push_back(operation);
      }
    }
    // A settlement may have to wait on a full disk too, while the janitor moves stragglers out of its way.
    const bool waits = outcome == StageOutcome::kDiskFull && purpose == log::Purpose::kSettle;
    if (outcome != StageOutcome::kFull && !waits) return outcome;
    CHECK(waitUntil([&] { return rooms_ != rooms || failures_ > 0; }));
  }
}

StageOutcome ModelStore::stageSettings(const std::string& settings) {
  const std::vector<std::byte> unit = encodeQueue(7, bytesOf(settings));
  log::Log::Lock lock(*log_);
  std::byte* at = nullptr;
  uint64_t number = 0;
  const StageOutcome outcome = lock.reserve(unit.size(), log::Purpose::kSettle, at, number);
  if (outcome != StageOutcome::kStaged) return outcome;
  std::copy(unit.begin(), unit.end(), at);
  const std::lock_guard guard(mutex_);
  last_unit_ = std::max(last_unit_, number);
  return outcome;
}

bool ModelStore::commit() {
  CHECK(waitUntil([&] { return failures_ > 0 || applied_unit_ >= last_unit_; }));
  return !isFailed();
}

void ModelStore::checkpoint() {
  const uint64_t before = log_->stats().checkpoints;
  log_->requestCheckpoint();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (log_->stats().checkpoints == before && !log_->failed()) {
    CHECK(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

bool ModelStore::waitUntil(const std::function<bool()>& state, int seconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(seconds), state);
}

// Messages are copied forward meanwhile: what was found where one no longer lies says nothing.
Status ModelStore::readAll() {
  for (const auto& [key, message] : state().live) {
    log::Ref ref = message.ref;
    for (Status found = readOne(key, ref, message.bytes); !found.ok();) {
      const auto live = state().live;
      const auto now = live.find(key);
      if (now == live.end() || now->second.ref == ref) return found;
      ref = now->second.ref;
      found = readOne(key, ref, message.bytes);
    }
  }
  return Status();
}

Status ModelStore::readOne(const MessageKey& key, log::Ref ref, uint32_t bytes) {
  std::vector<std::byte> record(bytes);
  MILLRACE_RETURN_IF_ERROR(log_->read(ref, record));
  const auto view = log::MessageView::parse(record);
  if (!view.ok()) return view.status();
  if (view.value().computeCrc() != view.value().storedCrc()) return Status(Code::kCorrupt, "content CRC");
  if (view.value().queue() != key.first || view.value().seq() != key.second) {
    return Status(Code::kCorrupt, "another message");
  }
  const std::vector<std::byte> body = bodyOf(key, view.value().bodyBytes());
  if (!std::equal(body.begin(), body.end(), view.value().body().begin())) {
    return Status(Code::kCorrupt, "another body");
  }
  return Status();
}

ModelState ModelStore::state() {
  const std::lock_guard guard(mutex_);
  return state_;
}
size_t ModelStore::liveCount() {
  const std::lock_guard guard(mutex_);
  return state_.live.size();
}
uint64_t ModelStore::stagedOperation() {
  const std::lock_guard guard(mutex_);
  return history->size() - 1;
}
uint64_t ModelStore::committedOperation() {
  const std::lock_guard guard(mutex_);
  return state_.operation;
}
bool ModelStore::isFailed() {
  const std::lock_guard guard(mutex_);
  return failures_ > 0;
}
size_t ModelStore::failures() {
  const std::lock_guard guard(mutex_);
  return failures_;
}

void ModelStore::onCommitted(Bytes records, const std::function<log::Ref(size_t)>& refOf) {
  const std::lock_guard guard(mutex_);
  log::RecordReader reader(records);
  while (reader.next()) CHECK_OK(apply(reader, refOf(reader.offset()), true));
  CHECK(!reader.corrupt());
  CHECK_EQ(at_work_->committedThrough(), applied_unit_);
}

void ModelStore::onConfirmed(uint64_t through) {
  {
    const std::lock_guard guard(mutex_);
    CHECK_EQ(at_work_->committedThrough(), through);
    applied_unit_ = through;
  }
  changed_.notify_all();
}

void ModelStore::onRoom() {
  {
    const std::lock_guard guard(mutex_);
    ++rooms_;
  }
  changed_.notify_all();
}

void ModelStore::onFailed(const Status& status, uint64_t through) {
  CHECK(status.code() == Code::kStoreFailed);
  CHECK_EQ(at_work_->committedThrough(), through);
  {
    const std::lock_guard guard(mutex_);
    ++failures_;
  }
  changed_.notify_all();
}

bool ModelStore::isLive(uint32_t queue, log::Seq seq, log::Ref ref) {
  const std::lock_guard guard(mutex_);
  const auto found = state_.live.find({queue, seq});
  return found != state_.live.end() && found->second.ref == ref;
}

Status ModelStore::apply(const log::RecordReader& record, log::Ref ref, bool counting) {
  switch (record.kind()) {
    case Kind::kMessage:
    case Kind::kMove:
      applyMessage(record, ref, counting);
      break;
    case Kind::kSettle: {
      const log::SettleRecord settled = record.settle();
      for (log::Seq seq = settled.first; seq < settled.first + settled.count; ++seq) {
        const auto found = state_.live.find({settled.queue, seq});
        if (found == state_.live.end()) continue;
        if (counting) at_work_->release(found->second.ref, found->second.bytes);
        state_.live.erase(found);
      }
      break;
    }
    case Kind::kDeliver: {
      const log::DeliverRecord delivered = record.deliver();
      const auto found = state_.live.find({delivered.queue, delivered.first});
      if (found == state_.live.end()) break;
      found->second.deliveries = std::max(found->second.deliveries, delivered.delivery_count);
      break;
    }
    case Kind::kQueue:
      if (record.queue().queue == kMarkerQueue) {
        const uint64_t operation = load<uint64_t>(record.queue().settings.data());
        if (counting && operation != state_.operation + 1)
          return Status(Code::kIo, "an operation is missing");
        state_.operation = std::max(state_.operation, operation);
      } else {
        std::string settings(textOf(record.queue().settings));
        auto& known = state_.settings;  // replayed over a snapshot that ran ahead, it may be known
        if (std::find(known.begin(), known.end(), settings) == known.end()) known.push_back(settings);
      }
      break;
    case Kind::kReturn:
    case Kind::kNone:
      break;
  }
  return Status();
}

void ModelStore::applyMessage(const log::RecordReader& record, log::Ref ref, bool counting) {
  const auto view = log::MessageView::parse(record.record()).take();
  const MessageKey key{view.queue(), view.seq()};
  const auto found = state_.live.find(key);
  if (record.kind() == Kind::kMove && found == state_.live.end()) return;  // settled while it was moved
  if (counting) {
    if (found != state_.live.end()) at_work_->release(found->second.ref, found->second.bytes);
    at_work_->retain(ref, view.bytes());
  }
  LiveMessage& message = state_.live[key];
  message.ref = ref;
  message.bytes = view.bytes();
}

Status ModelStore::writeSnapshot(log::SnapshotWriter& writer) {
  ByteWriter out;
  {
    const std::lock_guard guard(mutex_);
    out.varint(state_.operation);
    out.varint(state_.live.size());
    for (const auto& [key, message] : state_.live) {
      out.varint(key.first);
      out.varint(key.second);
      out.fixed(message.ref);
      out.varint(message.bytes);
      out.varint(message.deliveries);
    }
    out.varint(state_.settings.size());
    for (const std::string& settings : state_.settings) out.sizedText(settings);
  }
  const size_t half = out.size() / 2;  // in two pieces, whatever their borders
  MILLRACE_RETURN_IF_ERROR(writer.append(out.view().first(half)));
  return writer.append(out.view().subspan(half));
}

Status ModelStore::onSnapshot(Bytes piece, bool last, const log::SnapshotSource&) {
  snapshot_.insert(snapshot_.end(), piece.begin(), piece.end());
  return last ? loadSnapshot() : Status();
}

Status ModelStore::loadSnapshot() {
  ByteReader in(snapshot_);
  state_.operation = in.varint();
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    const auto queue = static_cast<uint32_t>(in.varint());
    const log::Seq seq = in.varint();
    LiveMessage& message = state_.live[{queue, seq}];
    message.ref = in.fixed<uint64_t>();
    message.bytes = static_cast<uint32_t>(in.varint());
    message.deliveries = static_cast<uint32_t>(in.varint());
  }
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    state_.settings.emplace_back(in.sizedText());
  }
  return in.ok() && in.remaining() == 0 ? Status() : Status(Code::kCorrupt, "snapshot");
}

std::vector<bool> ModelStore::onJournal(const std::vector<log::DeliverRecord>& entries) {
  journaled = entries;
  std::vector<bool> needed;
  for (const log::DeliverRecord& entry : entries) {
    const auto found = state_.live.find({entry.queue, entry.first});
    needed.push_back(found != state_.live.end() && found->second.deliveries < entry.delivery_count);
    if (needed.back()) found->second.deliveries = entry.delivery_count;
  }
  return needed;
}

Status ModelStore::onRecord(const log::RecordReader& record, log::Ref ref) {
  return apply(record, ref, false);
}

namespace {

void printDifference(const std::set<MessageKey>& live, const std::set<MessageKey>& expected,
                     uint64_t operation, uint64_t committed) {
  std::fprintf(stderr,
               "  after operation %llu, with %llu committed:", static_cast<unsigned long long>(operation),
               static_cast<unsigned long long>(committed));
  const auto print = [](const char* what, const std::set<MessageKey>& some,
                        const std::set<MessageKey>& others) {
    for (const MessageKey& key : some) {
      if (others.contains(key)) continue;
      std::fprintf(stderr, " %s %u/%llu", what, key.first, static_cast<unsigned long long>(key.second));
    }
  };
  print("missing", expected, live);
  print("not expected", live, expected);
  std::fprintf(stderr, "\n");
}

}  // namespace

uint64_t expectPrefix(ModelStore& store, uint64_t committed) {
  const ModelState state = store.state();
  CHECK(state.operation >= committed);
  CHECK(state.operation < store.history->size());
  std::set<MessageKey> live;
  for (const auto& [key, message] : state.live) live.insert(key);
  const std::set<MessageKey> expected = liveAfter(*store.history, state.operation);
  if (live != expected) printDifference(live, expected, state.operation, committed);
  CHECK(live == expected);
  CHECK_OK(store.readAll());
  return state.operation;
}

void expectEverything(ModelStore& store) { expectPrefix(store, store.history->size() - 1); }

}  // namespace millrace::test
