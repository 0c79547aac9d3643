#include "engine/client.h"

#include <algorithm>
#include <chrono>

namespace millrace::test {

using Layout = log::MessageLayout;

void TestPort::rest() {
  std::unique_lock lock(mutex_);
  const uint64_t before = wakes_;
  changed_.wait_for(lock, std::chrono::milliseconds(10), [&] { return wakes_ != before; });
}

Client::Client(std::shared_ptr<engine::Broker> broker)
    : broker_(std::move(broker)),
      port_(std::make_shared<TestPort>()),
      session_(std::make_unique<engine::Session>(port_)),
      inbox_(1 << 20) {
  broker_->attach(*session_);
}

void Client::leave() {
  if (session_ == nullptr) return;
  broker_->detach(*session_);
  session_.reset();
}

uint32_t Client::declare(const std::string& name, bool memory) {
  engine::SettingsPatch patch;
  patch.memory = memory;
  return declare(name, patch);
}

uint32_t Client::declare(const engine::QueueSettings& settings) {
  engine::SettingsPatch all;
  all.memory = settings.memory;
  all.values = settings;
  all.options.set();
  return declare(settings.name, all);
}

uint32_t Client::declare(const std::string& name, const engine::SettingsPatch& patch) {
  uint64_t unit = 0;
  const auto declared = broker_->declare(name, patch, *session_, unit);
  CHECK_OK(declared.status());
  CHECK(awaitCommitted(unit));
  return declared.value().first;
}

namespace {

std::vector<std::byte> outboxOf(uint32_t queue, const std::vector<std::string>& bodies) {
  std::vector<std::byte> outbox;
  for (const std::string& body : bodies) {
    const size_t at = outbox.size();
    const size_t bytes = log::messageRecordBytes(0, 0, body.size());
    outbox.resize(at + bytes);
    store<uint32_t>(outbox.data() + at + Layout::kBytes, static_cast<uint32_t>(bytes));
    store(outbox.data() + at + Layout::kKind, log::Kind::kMessage);
    store<uint32_t>(outbox.data() + at + Layout::kQueue, queue);
    store<uint32_t>(outbox.data() + at + Layout::kBodyBytes, static_cast<uint32_t>(body.size()));
    std::memcpy(outbox.data() + at + Layout::kContent, body.data(), body.size());
  }
  return outbox;
}

}  // namespace

Result<engine::SendReport> Client::trySend(uint32_t queue, const std::vector<std::string>& bodies,
                                           std::vector<double>& results, bool whole) {
  std::vector<std::byte> outbox = outboxOf(queue, bodies);
  results.assign(bodies.size(), 0);
  return broker_->send(*session_, outbox, results, whole);
}

uint64_t Client::send(uint32_t queue, const std::vector<std::string>& bodies, std::vector<double>* seqs,
                      bool whole) {
  std::vector<std::byte> outbox = outboxOf(queue, bodies);
  std::vector<double> results;
  uint64_t unit = 0;
  const auto sendOnce = [&](MutableBytes records, size_t count) {
    results.assign(count, 0);
    Result<engine::SendReport> report = broker_->send(*session_, records, results, whole);
    CHECK_OK(report.status());
    results.resize(report.value().consumed);
    unit = std::max(unit, report.value().unit);
  };
  if (seqs != nullptr) {
    sendOnce(outbox, bodies.size());
    *seqs = results;
    return unit;
  }
  MutableBytes rest(outbox);
  size_t left = bodies.size();
  until([&] {
    sendOnce(rest, left);
    for (const double seq : results) {
      CHECK(seq > 0);
      rest = rest.subspan(load<uint32_t>(rest.data() + Layout::kBytes));
    }
    left -= results.size();
    return left == 0;
  });
  return unit;
}

void Client::until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    CHECK(std::chrono::steady_clock::now() < deadline);
    port_->rest();
  }
}

bool Client::awaitCommitted(uint64_t unit) {
  until([&] { return broker_->committedThrough() >= unit || !broker_->failure().ok() || broker_->closed(); });
  return broker_->committedThrough() >= unit;
}

engine::Consumer& Client::consume(uint32_t queue) {
  Result<engine::Consumer*> consumer = broker_->openConsumer(*session_, queue);
  CHECK_OK(consumer.status());
  return *consumer.value();
}

std::vector<Got> Client::take(engine::Consumer& consumer, uint32_t max) {
  return read(broker_->receive(consumer, inbox_, max));
}

std::vector<Got> Client::peek(uint32_t queue, uint32_t max) {
  engine::Receipt receipt = broker_->peek(queue, inbox_, max);
  if (receipt.needed_bytes > inbox_.size()) {
    inbox_.resize(receipt.needed_bytes);
    receipt = broker_->peek(queue, inbox_, max);
  }
  return read(receipt);
}

std::vector<Got> Client::read(const engine::Receipt& receipt) {
  CHECK_OK(receipt.error);
  std::vector<Got> got;
  size_t at = 0;
  for (uint32_t i = 0; i < receipt.count; ++i) {
    Result<log::MessageView> view =
        log::MessageView::parse(MutableBytes(inbox_).subspan(at, load<uint32_t>(inbox_.data() + at)));
    CHECK_OK(view.status());
    got.push_back({view.value().seq(), load<uint32_t>(inbox_.data() + at + Layout::kDeliveryCount),
                   std::string(textOf(view.value().body()))});
    at += view.value().bytes();
  }
  CHECK_EQ(at, receipt.bytes);
  return got;
}

std::vector<Got> Client::takeAll(engine::Consumer& consumer, size_t wanted) {
  std::vector<Got> all;
  until([&] {
    for (;;) {
      std::vector<Got> some = take(consumer);
      if (some.empty()) break;
      all.insert(all.end(), some.begin(), some.end());
    }
    return all.size() >= wanted;
  });
  CHECK_EQ(all.size(), wanted);
  return all;
}

uint64_t Client::ack(engine::Consumer& consumer, const std::vector<Got>& messages, bool awaited) {
  std::vector<double> seqs;
  std::vector<uint32_t> counts;
  for (const Got& got : messages) {
    seqs.push_back(static_cast<double>(got.seq));
    counts.push_back(got.count);
  }
  std::vector<uint8_t> lost(seqs.size());
  const Result<uint64_t> unit = broker_->ack(consumer, seqs, counts, lost, awaited);
  for (const uint8_t one : lost) CHECK_EQ(int{one}, 0);
  CHECK_OK(unit.status());
  return unit.value();
}

bool Client::answer(engine::Consumer& consumer, engine::Verb verb, const Got& message, uint64_t ms,
                    const std::string& reason) {
  uint64_t unit = 0;
  return broker_->answer(consumer, verb, message.seq, message.count, ms, reason, unit).ok();
}

}  // namespace millrace::test
