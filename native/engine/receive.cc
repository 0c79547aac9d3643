// The receiving half of Broker: consumers, hand-out and leases.
#include <algorithm>

#include "engine/broker.h"

namespace millrace::engine {
namespace {

using Layout = log::MessageLayout;

}  // namespace

Result<Consumer*> Broker::openConsumer(Session& session, uint32_t queue_id) {
  MILLRACE_RETURN_IF_ERROR(checkOpen());
  Queue* queue = queueAt(queue_id);
  if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
  auto consumer = std::make_unique<Consumer>();
  consumer->id = next_consumer_.fetch_add(1, std::memory_order_relaxed);
  consumer->queue = queue;
  consumer->session = &session;
  Consumer* raw = consumer.get();
  session.consumers.emplace(raw->id, std::move(consumer));
  return raw;
}

void Broker::closeConsumer(Session& session, uint32_t consumer_id) {
  const auto found = session.consumers.find(consumer_id);
  if (found == session.consumers.end()) return;
  Consumer& consumer = *found->second;
  Queue& queue = *consumer.queue;
  std::vector<ledger::Returned> returned;
  std::vector<ledger::Dead> dead;
  uint64_t unit = 0;
  {
    const std::lock_guard lock(queue.mutex);
    if (consumer.waiting) std::erase(queue.waiting, &consumer);
    queue.ledger.returnLeases(consumer.id, consumer.started, returned, dead);
    queue.counters.returned += returned.size();
    (void)stageReturnsLocked(queue, returned, unit);  // a store that failed keeps the older counts
    // A wake-up that this consumer got and did not use passes on to the next one.
    wakeLocked(queue, queue.ledger.counts().ready);
  }
  std::vector<Doomed> doomed;
  doomed.reserve(dead.size());
  for (const ledger::Dead& one : dead) doomed.push_back({one, "consumer died"});
  bury(queue, doomed, unit);
  session.consumers.erase(found);
}

void Broker::stopConsumer(Consumer& consumer) {
  Queue& queue = *consumer.queue;
  const std::lock_guard lock(queue.mutex);
  if (consumer.waiting) std::erase(queue.waiting, &consumer);
  consumer.waiting = false;
  wakeLocked(queue, queue.ledger.counts().ready);
}

// Whoever is woken may be busy in a handler, so the timer is told too: it wakes the next one.
void Broker::wakeLocked(Queue& queue, uint64_t messages) {
  if (queue.paused) return;
  for (; messages > 0 && !queue.waiting.empty(); messages--) wakeOneLocked(queue);
  scheduleLocked(queue);
}

void Broker::wakeOneLocked(Queue& queue) {
  if (queue.waiting.empty()) return;
  Consumer* consumer = queue.waiting.front();
  queue.waiting.pop_front();
  consumer->waiting = false;
  consumer->session->wakeConsumer(consumer->id);
}

void Broker::waitLocked(Queue& queue, Consumer& consumer) {
  if (consumer.waiting) return;
  consumer.waiting = true;
  queue.waiting.push_back(&consumer);
}

// Writes the runs of consumer.deliveries to the delivery journal. When it refuses, the rest is taken back;
// false if nothing is left to hand out.
bool Broker::journalLocked(Queue& queue, Consumer& consumer) {
  std::vector<ledger::Delivery>& deliveries = consumer.deliveries;
  size_t run = 0;
  while (run < deliveries.size()) {
    size_t end = run + 1;
    while (end < deliveries.size() && deliveries[end].seq == deliveries[end - 1].seq + 1 &&
           deliveries[end].delivery_count == deliveries[run].delivery_count) {
      end++;
    }
    if (!log_->noteDelivered({queue.id, static_cast<uint32_t>(end - run), deliveries[run].seq,
                              deliveries[run].delivery_count})) {
      const std::vector<ledger::Delivery> refused(deliveries.begin() + static_cast<ptrdiff_t>(run),
                                                  deliveries.end());
      queue.ledger.untake(consumer.id, refused);
      deliveries.resize(run);
      break;
    }
    run = end;
  }
  return !deliveries.empty();
}

// Leases up to `max` messages into consumer.deliveries. False: there are some, but the journal refuses them.
bool Broker::takeLocked(Queue& queue, Consumer& consumer, uint32_t max, size_t bytes,
                        uint64_t& needed_bytes) {
  consumer.deliveries.clear();
  if (queue.paused || queue.closed) return true;
  if (queue.ledger.counts().suspects > 0 && beginSuspectLocked(queue, consumer, bytes, needed_bytes)) {
    if (consumer.deliveries.empty()) return true;
    const ledger::Seq suspect = consumer.deliveries[0].seq;
    if (journalLocked(queue, consumer)) return true;
    cancelSuspect(queue, suspect);
    return false;
  }
  queue.ledger.take(consumer.id, now(), max, bytes, consumer.deliveries);
  needed_bytes = consumer.deliveries.empty() ? queue.ledger.neededBytes() : 0;
  return consumer.deliveries.empty() || queue.memory || journalLocked(queue, consumer);
}

void Broker::noteUnjournaled(Queue& queue) {
  const std::lock_guard lock(unjournaled_mutex_);
  if (std::find(unjournaled_.begin(), unjournaled_.end(), &queue) == unjournaled_.end()) {
    unjournaled_.push_back(&queue);
  }
}

void Broker::wakeUnjournaled() {
  std::vector<Queue*> queues;
  {
    const std::lock_guard lock(unjournaled_mutex_);
    queues.swap(unjournaled_);
  }
  for (Queue* queue : queues) {
    const std::lock_guard lock(queue->mutex);
    wakeLocked(*queue, queue->ledger.counts().ready);
  }
}

Receipt Broker::receive(Consumer& consumer, MutableBytes inbox, uint32_t max) {
  Receipt receipt;
  receipt.error = checkOpen();
  if (!receipt.error.ok()) return receipt;
  Queue& queue = *consumer.queue;
  {
    const std::lock_guard lock(queue.mutex);
    receipt.lease_ms = queue.settings.visibility_timeout_ms;
    if (!takeLocked(queue, consumer, max, inbox.size(), receipt.needed_bytes)) {
      // The journal has room again after a commit that is on its way. It may have come since: from here on it
      // wakes this queue's consumers, so one more look cannot miss it.
      noteUnjournaled(queue);
      if (!takeLocked(queue, consumer, max, inbox.size(), receipt.needed_bytes) && log_->failed()) {
        receipt.error = failure();
        return receipt;
      }
    }
    if (consumer.deliveries.empty()) {
      if (receipt.needed_bytes != 0) return receipt;
      waitLocked(queue, consumer);
      // Refused by the journal although there are messages: onRoom() wakes it, or the timer if what the
      // journal waited for was not a commit.
      if (queue.ledger.counts().ready + queue.ledger.counts().suspects > 0) scheduleLocked(queue);
      return receipt;
    }
    for (const ledger::Delivery& delivery : consumer.deliveries)
      queue.store.pin(delivery.ref, delivery.bytes);
    wakeLocked(queue, queue.ledger.counts().ready);
  }
  const uint64_t lease_ms = receipt.lease_ms;
  receipt = copyOut(queue, consumer.deliveries, inbox, false);
  receipt.lease_ms = lease_ms;
  for (const ledger::Delivery& delivery : consumer.deliveries)
    queue.store.unpin(delivery.ref, delivery.bytes);
  if (!receipt.error.ok()) setDamagedAside(queue, consumer, receipt);
  return receipt;
}

// The delivery ends before the first damaged message. One that comes first is set aside: it stays in the
// store, nobody gets it before the next open, and its consumer is told. What was taken behind goes back
// without a trace, so that the deliveries of a consumer are those it was told of, in the same order. Where
// there was no descriptor or memory to read with, everything goes back.
void Broker::setDamagedAside(Queue& queue, Consumer& consumer, Receipt& receipt) {
  const std::lock_guard lock(queue.mutex);
  const bool passing = receipt.error.isPassing();
  const ledger::Delivery first = consumer.deliveries.front();
  if (first.was_suspect) {  // it comes alone
    takeBackSuspectLocked(queue, consumer, first, !passing);
  } else {
    const size_t kept = passing ? receipt.count : std::max<size_t>(receipt.count, 1);
    const auto behind = consumer.deliveries.begin() + static_cast<ptrdiff_t>(kept);
    queue.ledger.untake(consumer.id, {behind, consumer.deliveries.end()});
    if (!passing && receipt.count == 0) queue.ledger.setAside(consumer.id, first.seq, first.delivery_count);
    // Others may wait for what went back. Where there was nothing to read with, the timer wakes them.
    if (passing)
      scheduleLocked(queue);
    else
      wakeLocked(queue, queue.ledger.counts().ready);
  }
  if (receipt.count > 0) {
    receipt.error = Status();  // met again with the next call
    return;
  }
  if (passing) {  // nothing is damaged: the timer wakes it for another try
    receipt.error = Status();
    waitLocked(queue, consumer);
    scheduleLocked(queue);
    return;
  }
  queue.counters.corrupt++;
}

// What is altered is not handed out (P3).
Status Broker::readChecked(Queue& queue, const ledger::Delivery& delivery, MutableBytes place) {
  Status status = queue.store.read(delivery.ref, place);
  if (status.ok()) {
    const Result<log::MessageView> parsed = log::MessageView::parse(place);
    const bool sound =
        parsed.ok() &&
        (queue.memory || (parsed.value().seq() == delivery.seq && parsed.value().queue() == queue.id &&
                          parsed.value().computeCrc() == parsed.value().storedCrc()));
    if (sound) return Status();
    status = Status(Code::kCorrupt, "it does not match its checksum");
  }
  if (status.isPassing()) return status;
  return Status(Code::kCorrupt, "message " + std::to_string(delivery.seq) + " of queue \"" + nameOf(queue) +
                                    "\" at " + queue.store.placeOf(delivery.ref) + ": " + status.detail() +
                                    log::kDamageAdvice);
}

// Copies pinned records to the inbox. A damaged one ends it, or is left out: the last error tells.
Receipt Broker::copyOut(Queue& queue, const std::vector<ledger::Delivery>& deliveries, MutableBytes inbox,
                        bool leave_out_damaged) {
  Receipt receipt;
  for (const ledger::Delivery& delivery : deliveries) {
    const MutableBytes place = inbox.subspan(receipt.bytes, delivery.bytes);
    Status status = readChecked(queue, delivery, place);
    if (!status.ok()) {
      receipt.error = std::move(status);
      if (leave_out_damaged) continue;
      break;
    }
    store<uint32_t>(place.data() + Layout::kDeliveryCount, delivery.delivery_count);
    receipt.bytes += delivery.bytes;
    receipt.count++;
  }
  return receipt;
}

Receipt Broker::peek(uint32_t queue_id, MutableBytes inbox, uint32_t max) {
  Receipt receipt;
  Queue* queue = queueAt(queue_id);
  receipt.error = queue == nullptr ? Status(Code::kQueueNotFound, "no such queue") : checkOpen();
  if (queue == nullptr || !receipt.error.ok()) return receipt;
  std::vector<ledger::Delivery> next;
  {
    const std::lock_guard lock(queue->mutex);
    queue->ledger.peek(max, next);
    uint64_t bytes = 0;
    size_t fitting = 0;
    while (fitting < next.size() && (fitting == 0 || bytes + next[fitting].bytes <= kPeekBytesMax)) {
      bytes += next[fitting++].bytes;
    }
    next.resize(fitting);
    if (bytes > inbox.size()) {
      receipt.needed_bytes = bytes;
      return receipt;
    }
    for (const ledger::Delivery& delivery : next) queue->store.pin(delivery.ref, delivery.bytes);
  }
  receipt = copyOut(*queue, next, inbox, true);
  for (const ledger::Delivery& delivery : next) queue->store.unpin(delivery.ref, delivery.bytes);
  return receipt;
}

size_t Broker::leasesOf(Consumer& consumer) {
  const std::lock_guard lock(consumer.queue->mutex);
  return consumer.queue->ledger.leasesOf(consumer.id);
}

std::string Broker::nameOf(Queue& queue) {
  const std::lock_guard lock(queue.mutex);
  return queue.settings.name;
}

}  // namespace millrace::engine
