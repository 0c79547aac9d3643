// Session's methods for messages: send, receive and what is said of them.
#include "addon/session_methods.h"

namespace millrace::addon {

// send(outbox, bytes, results, count, whole) => consumed; results[count] = unit
napi_value SessionMethods::send(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const MutableBytes outbox = call.bytes(0);
  const uint64_t bytes = call.unsigned64(1);
  const std::span<double> results = call.doubles(2);
  const uint32_t count = call.unsigned32(3);
  if (bytes > outbox.size() || results.size() <= count) return invalid(self, "outbox");
  Result<engine::SendReport> report = self->broker_->send(
      *self->session_, outbox.first(static_cast<size_t>(bytes)), results.first(count), call.boolean(4));
  if (!report.ok()) return fail(self, report.status());
  results[count] = static_cast<double>(report.value().unit);
  return number(env, report.value().consumed);
}

// openConsumer(queue, started) => id
napi_value SessionMethods::openConsumer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const std::span<double> started = call.doubles(1);
  napi_ref array = nullptr;
  if (started.empty() || napi_create_reference(env, call.arguments[1], 1, &array) != napi_ok) {
    return invalid(self, "started");
  }
  Result<engine::Consumer*> consumer = self->broker_->openConsumer(*self->session_, call.unsigned32(0));
  if (!consumer.ok()) {
    napi_delete_reference(env, array);
    return fail(self, consumer.status());
  }
  self->started_.emplace(consumer.value()->id, SessionObject::Started{array, started.data()});
  return number(env, consumer.value()->id);
}

napi_value SessionMethods::stopConsumer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  engine::Consumer* consumer = self->consumer(call.unsigned32(0));
  if (consumer != nullptr) self->broker_->stopConsumer(*consumer);
  return nullptr;
}

napi_value SessionMethods::closeConsumer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self != nullptr) self->closeConsumer(call.unsigned32(0));
  return nullptr;
}

// Fills report = [bytes, needed bytes, 1 if a message was damaged, lease ms: see Receipt]; throws any other
// error.
napi_value SessionMethods::finishReceive(SessionObject* self, const engine::Receipt& receipt,
                                         std::span<double> report) {
  const bool damaged = receipt.error.code() == Code::kCorrupt;
  if (!receipt.error.ok() && !damaged) return fail(self, receipt.error);
  report[0] = static_cast<double>(receipt.bytes);
  report[1] = static_cast<double>(receipt.needed_bytes);
  report[2] = damaged ? 1 : 0;
  report[3] = static_cast<double>(receipt.lease_ms);
  if (damaged) self->damage_ = receipt.error;
  return number(self->environment_.env, receipt.count);
}

// leases(consumer) => how many messages are leased to it
napi_value SessionMethods::leases(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  engine::Consumer* consumer = self->consumer(call.unsigned32(0));
  return number(env, consumer == nullptr ? 0 : static_cast<double>(self->broker_->leasesOf(*consumer)));
}

// receive(consumer, inbox, offset, max, report) => count
napi_value SessionMethods::receive(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  engine::Consumer* consumer = self->consumer(call.unsigned32(0));
  const MutableBytes inbox = call.bytes(1);
  const uint64_t offset = call.unsigned64(2);
  const std::span<double> report = call.doubles(4);
  if (consumer == nullptr || offset > inbox.size() || report.size() < 4) return invalid(self, "inbox");
  return finishReceive(
      self, self->broker_->receive(*consumer, inbox.subspan(static_cast<size_t>(offset)), call.unsigned32(3)),
      report);
}

// peek(queue, inbox, max, report) => count
napi_value SessionMethods::peek(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const std::span<double> report = call.doubles(3);
  if (report.size() < 4) return invalid(self, "report");
  return finishReceive(self, self->broker_->peek(call.unsigned32(0), call.bytes(1), call.unsigned32(2)),
                       report);
}

// The last damage that receive or peek reported, as an error.
napi_value SessionMethods::damage(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  return self == nullptr ? nullptr : self->environment_.makeError(self->damage_);
}

// ack(consumer, seqs, counts, lost, n, awaited) => unit
napi_value SessionMethods::ack(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  engine::Consumer* consumer = self->consumer(call.unsigned32(0));
  const std::span<double> seqs = call.doubles(1);
  const std::span<uint32_t> counts = call.words(2);
  const MutableBytes lost = call.bytes(3);
  const uint32_t n = call.unsigned32(4);
  if (n > seqs.size() || n > counts.size() || n > lost.size()) return invalid(self, "acks");
  auto* flags = reinterpret_cast<uint8_t*>(lost.data());
  if (consumer == nullptr) {  // closed: its leases went back
    for (uint32_t i = 0; i < n; ++i) flags[i] = 1;
    return number(env, 0);
  }
  if (self->broker_->closed()) return fail(self, Status(Code::kClosed, "the broker is closed"));
  if (!self->broker_->failure().ok()) return fail(self, storeFailed(self));
  Result<uint64_t> unit =
      self->broker_->ack(*consumer, seqs.first(n), counts.first(n), {flags, n}, call.boolean(5));
  return unit.ok() ? number(env, static_cast<double>(unit.value())) : fail(self, unit.status());
}

// hurry(unit): somebody waits for what was staged here without haste.
napi_value SessionMethods::hurry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self != nullptr) self->broker_->hurry(*self->session_, call.unsigned64(0));
  return nullptr;
}

// answer(consumer, verb, seq, count, ms, reason) => unit, or -1: see burial
napi_value SessionMethods::answer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const uint32_t verb = call.unsigned32(1);
  if (verb > static_cast<uint32_t>(engine::Verb::kExtend)) return invalid(self, "verb");
  engine::Consumer* consumer = self->consumer(call.unsigned32(0));
  if (consumer == nullptr) return fail(self, Status(Code::kLeaseLost, "the consumer is closed"));
  if (self->broker_->closed()) return fail(self, Status(Code::kClosed, "the broker is closed"));
  if (!self->broker_->failure().ok()) return fail(self, storeFailed(self));
  uint64_t unit = 0;
  const Status status = self->broker_->answer(*consumer, static_cast<engine::Verb>(verb), call.unsigned64(2),
                                              call.unsigned32(3), call.unsigned64(4), call.text(5), unit);
  if (!status.ok()) return fail(self, status);
  return unitNumber(env, unit);
}

// -1: the message is dead and waits for room in its dead-letter queue.
napi_value SessionMethods::unitNumber(napi_env env, uint64_t unit) {
  return number(env, unit == engine::kDeferred ? -1 : static_cast<double>(unit));
}

// burial(queue, seq) => unit, or -1: not yet. Throws when it never will be.
napi_value SessionMethods::burial(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  uint64_t unit = 0;
  const Status status = self->broker_->burial(*self->session_, call.unsigned32(0), call.unsigned64(1), unit);
  return status.ok() ? unitNumber(env, unit) : fail(self, status);
}

// poll(state) => number of woken consumers written from state[2] on; state[0] = committed through,
// state[1] = 0 open, 1 closed, 2 failed. Those that do not fit come with the next call.
napi_value SessionMethods::poll(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const std::span<double> state = call.doubles(0);
  if (state.size() < 3) return invalid(self, "state");
  // The end is read first: what was committed before it counts.
  const bool failed = !self->broker_->failure().ok();
  state[1] = self->broker_->finished() ? 1 : failed ? 2 : 0;
  state[0] = static_cast<double>(self->broker_->committedThrough());
  self->session_->takeWoken(self->woken_, state.size() - 2);
  for (size_t i = 0; i < self->woken_.size(); ++i) state[2 + i] = self->woken_[i];
  return number(env, static_cast<double>(self->woken_.size()));
}

napi_value SessionMethods::failure(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  return self == nullptr ? nullptr : self->environment_.makeError(storeFailed(self));
}

}  // namespace millrace::addon
