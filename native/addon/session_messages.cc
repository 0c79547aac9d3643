// Session's methods for messages: send, receive and what is said of them.
#include "addon/convert.h"
#include "addon/session_object.h"

namespace millrace::addon {

// send(outbox, bytes, results, count, whole) => consumed; results[count] = unit
Napi::Value SessionObject::send(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const MutableBytes outbox = bytes(info[0]);
  const uint64_t bytes = unsigned64(info[1]);
  const std::span<double> results = doubles(info[2]);
  const uint32_t count = unsigned32(info[3]);
  if (bytes > outbox.size() || results.size() <= count) return invalid("outbox");
  Result<engine::SendReport> report = broker_->send(*session_, outbox.first(static_cast<size_t>(bytes)),
                                                    results.first(count), boolean(info[4]));
  if (!report.ok()) return fail(report.status());
  results[count] = static_cast<double>(report.value().unit);
  return number(report.value().consumed);
}

// openConsumer(queue, started) => id
Napi::Value SessionObject::openConsumer(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const std::span<double> started = doubles(info[1]);
  if (started.empty()) return invalid("started");
  Result<engine::Consumer*> consumer = broker_->openConsumer(*session_, unsigned32(info[0]));
  if (!consumer.ok()) return fail(consumer.status());
  started_.emplace(consumer.value()->id,
                   Started{Napi::Persistent(info[1].As<Napi::Object>()), started.data()});
  return number(consumer.value()->id);
}

void SessionObject::stopConsumer(const Napi::CallbackInfo& info) {
  if (!usable()) return;
  engine::Consumer* consumer = findConsumer(unsigned32(info[0]));
  if (consumer != nullptr) broker_->stopConsumer(*consumer);
}

void SessionObject::closeConsumer(const Napi::CallbackInfo& info) {
  if (usable()) endConsumer(unsigned32(info[0]));
}

// Fills report = [bytes, needed bytes, 1 if a message was damaged, lease ms: see Receipt]; throws any other
// error.
Napi::Value SessionObject::finishReceive(const engine::Receipt& receipt, std::span<double> report) {
  const bool damaged = receipt.error.code() == Code::kCorrupt;
  if (!receipt.error.ok() && !damaged) return fail(receipt.error);
  report[0] = static_cast<double>(receipt.bytes);
  report[1] = static_cast<double>(receipt.needed_bytes);
  report[2] = damaged ? 1 : 0;
  report[3] = static_cast<double>(receipt.lease_ms);
  if (damaged) damage_ = receipt.error;
  return number(receipt.count);
}

// leases(consumer) => how many messages are leased to it
Napi::Value SessionObject::leases(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  engine::Consumer* consumer = findConsumer(unsigned32(info[0]));
  return number(consumer == nullptr ? 0 : static_cast<double>(broker_->leasesOf(*consumer)));
}

// receive(consumer, inbox, offset, max, report) => count
Napi::Value SessionObject::receive(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  engine::Consumer* consumer = findConsumer(unsigned32(info[0]));
  const MutableBytes inbox = bytes(info[1]);
  const uint64_t offset = unsigned64(info[2]);
  const std::span<double> report = doubles(info[4]);
  if (consumer == nullptr || offset > inbox.size() || report.size() < 4) return invalid("inbox");
  return finishReceive(
      broker_->receive(*consumer, inbox.subspan(static_cast<size_t>(offset)), unsigned32(info[3])), report);
}

// peek(queue, inbox, max, report) => count
Napi::Value SessionObject::peek(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const std::span<double> report = doubles(info[3]);
  if (report.size() < 4) return invalid("report");
  return finishReceive(broker_->peek(unsigned32(info[0]), bytes(info[1]), unsigned32(info[2])), report);
}

// The last damage that receive or peek reported, as an error.
Napi::Value SessionObject::damage(const Napi::CallbackInfo& info) {
  return usable() ? environment_->makeError(damage_) : Napi::Value();
}

// ack(consumer, seqs, counts, lost, n, awaited) => unit
Napi::Value SessionObject::ack(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  engine::Consumer* consumer = findConsumer(unsigned32(info[0]));
  const std::span<double> seqs = doubles(info[1]);
  const std::span<uint32_t> counts = words(info[2]);
  const MutableBytes lost = bytes(info[3]);
  const uint32_t n = unsigned32(info[4]);
  if (n > seqs.size() || n > counts.size() || n > lost.size()) return invalid("acks");
  auto* flags = reinterpret_cast<uint8_t*>(lost.data());
  if (consumer == nullptr) {  // closed: its leases went back
    for (uint32_t i = 0; i < n; ++i) flags[i] = 1;
    return number(0);
  }
  if (broker_->closed()) return fail(Status(Code::kClosed, "the broker is closed"));
  if (!broker_->failure().ok()) return fail(storeFailed());
  Result<uint64_t> unit =
      broker_->ack(*consumer, seqs.first(n), counts.first(n), {flags, n}, boolean(info[5]));
  return unit.ok() ? number(static_cast<double>(unit.value())) : fail(unit.status());
}

// hurry(unit): somebody waits for what was staged here without haste.
void SessionObject::hurry(const Napi::CallbackInfo& info) {
  if (usable()) broker_->hurry(*session_, unsigned64(info[0]));
}

// answer(consumer, verb, seq, count, ms, reason) => unit, or -1: see burial
Napi::Value SessionObject::answer(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const uint32_t verb = unsigned32(info[1]);
  if (verb > static_cast<uint32_t>(engine::Verb::kExtend)) return invalid("verb");
  engine::Consumer* consumer = findConsumer(unsigned32(info[0]));
  if (consumer == nullptr) return fail(Status(Code::kLeaseLost, "the consumer is closed"));
  if (broker_->closed()) return fail(Status(Code::kClosed, "the broker is closed"));
  if (!broker_->failure().ok()) return fail(storeFailed());
  uint64_t unit = 0;
  const Status status = broker_->answer(*consumer, static_cast<engine::Verb>(verb), unsigned64(info[2]),
                                        unsigned32(info[3]), unsigned64(info[4]), text(info[5]), unit);
  if (!status.ok()) return fail(status);
  return unitNumber(unit);
}

// -1: the message is dead and waits for room in its dead-letter queue.
Napi::Value SessionObject::unitNumber(uint64_t unit) const {
  return number(unit == engine::kDeferred ? -1 : static_cast<double>(unit));
}

// burial(queue, seq) => unit, or -1: not yet. Throws when it never will be.
Napi::Value SessionObject::burial(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  uint64_t unit = 0;
  const Status status = broker_->burial(*session_, unsigned32(info[0]), unsigned64(info[1]), unit);
  return status.ok() ? unitNumber(unit) : fail(status);
}

// poll(state) => number of woken consumers written from state[2] on; state[0] = committed through,
// state[1] = 0 open, 1 closed, 2 failed. Those that do not fit come with the next call.
Napi::Value SessionObject::poll(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const std::span<double> state = doubles(info[0]);
  if (state.size() < 3) return invalid("state");
  // The end is read first: what was committed before it counts.
  const bool failed = !broker_->failure().ok();
  state[1] = broker_->finished() ? 1 : failed ? 2 : 0;
  state[0] = static_cast<double>(broker_->committedThrough());
  session_->takeWoken(woken_, state.size() - 2);
  for (size_t i = 0; i < woken_.size(); ++i) state[2 + i] = woken_[i];
  return number(static_cast<double>(woken_.size()));
}

Napi::Value SessionObject::failure(const Napi::CallbackInfo& info) {
  return usable() ? environment_->makeError(storeFailed()) : Napi::Value();
}

}  // namespace millrace::addon
