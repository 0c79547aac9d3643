#include "engine/deliveries.h"

#include <algorithm>
#include <mutex>

namespace millrace::engine {

// Writes the runs of consumer.deliveries to the delivery journal. When it refuses, the rest is taken back;
// false if nothing is left to hand out.
bool Deliveries::journal(Queue& queue, Consumer& consumer) {
  std::vector<ledger::Delivery>& deliveries = consumer.deliveries;
  size_t run = 0;
  while (run < deliveries.size()) {
    size_t end = run + 1;
    while (end < deliveries.size() && deliveries[end].seq == deliveries[end - 1].seq + 1 &&
           deliveries[end].delivery_count == deliveries[run].delivery_count) {
      end++;
    }
    if (!context_.log->noteDelivered({queue.id, static_cast<uint32_t>(end - run), deliveries[run].seq,
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
bool Deliveries::take(Queue& queue, Consumer& consumer, uint32_t max, size_t bytes, uint64_t& needed_bytes) {
  consumer.deliveries.clear();
  if (queue.paused || queue.closed) return true;
  if (queue.ledger.counts().suspects > 0 && hold_keeper_.begin(queue, consumer, bytes, needed_bytes)) {
    if (consumer.deliveries.empty()) return true;
    const ledger::Seq suspect = consumer.deliveries[0].seq;
    if (journal(queue, consumer)) return true;
    hold_keeper_.cancel(queue, suspect);
    return false;
  }
  queue.ledger.take(consumer.id, context_.now(), max, bytes, consumer.deliveries);
  needed_bytes = consumer.deliveries.empty() ? queue.ledger.neededBytes() : 0;
  return consumer.deliveries.empty() || queue.memory || journal(queue, consumer);
}

void Deliveries::noteUnjournaled(Queue& queue) {
  const std::lock_guard lock(mutex_);
  if (std::find(unjournaled_.begin(), unjournaled_.end(), &queue) == unjournaled_.end()) {
    unjournaled_.push_back(&queue);
  }
}

void Deliveries::wakeUnjournaled() {
  std::vector<Queue*> queues;
  {
    const std::lock_guard lock(mutex_);
    queues.swap(unjournaled_);
  }
  for (Queue* queue : queues) {
    const std::lock_guard lock(queue->mutex);
    waker_.wakeForReady(*queue);
  }
}

Receipt Deliveries::receive(Consumer& consumer, MutableBytes inbox, uint32_t max) {
  Receipt receipt;
  receipt.error = context_.checkOpen();
  if (!receipt.error.ok()) return receipt;
  Queue& queue = *consumer.queue;
  {
    const std::lock_guard lock(queue.mutex);
    receipt.lease_ms = queue.settings.visibility_timeout_ms;
    if (!take(queue, consumer, max, inbox.size(), receipt.needed_bytes)) {
      // The journal has room again after a commit that is on its way. It may have come since: from here on it
      // wakes this queue's consumers, so one more look cannot miss it.
      noteUnjournaled(queue);
      if (!take(queue, consumer, max, inbox.size(), receipt.needed_bytes) && context_.hasFailed()) {
        receipt.error = sessions_.failure();
        return receipt;
      }
    }
    if (consumer.deliveries.empty()) {
      if (receipt.needed_bytes != 0) return receipt;
      Waker::wait(queue, consumer);
      // Refused by the journal although there are messages: onRoom() wakes it, or the timer if what the
      // journal waited for was not a commit.
      if (queue.ledger.counts().ready + queue.ledger.counts().suspects > 0) waker_.schedule(queue);
      return receipt;
    }
    pinAll(queue, consumer.deliveries);
    waker_.wakeForReady(queue);
  }
  const uint64_t lease_ms = receipt.lease_ms;
  receipt = copyOut(queue, consumer.deliveries, inbox, false);
  receipt.lease_ms = lease_ms;
  if (!receipt.error.ok()) setDamagedAside(queue, consumer, receipt);
  return receipt;
}

// The delivery ends before the first damaged message. One that comes first is set aside: it stays in the
// store, nobody gets it before the next open, and its consumer is told. What was taken behind goes back
// without a trace, so that the deliveries of a consumer are those it was told of, in the same order. Where
// there was no descriptor or memory to read with, everything goes back.
void Deliveries::setDamagedAside(Queue& queue, Consumer& consumer, Receipt& receipt) {
  const std::lock_guard lock(queue.mutex);
  const bool passing = receipt.error.isPassing();
  const ledger::Delivery first = consumer.deliveries.front();
  if (first.was_suspect) {  // it comes alone
    hold_keeper_.takeBack(queue, consumer, first, !passing);
  } else {
    const size_t kept = passing ? receipt.count : std::max<size_t>(receipt.count, 1);
    const auto behind = consumer.deliveries.begin() + static_cast<ptrdiff_t>(kept);
    queue.ledger.untake(consumer.id, {behind, consumer.deliveries.end()});
    if (!passing && receipt.count == 0) queue.ledger.setAside(consumer.id, first.seq, first.delivery_count);
    // Others may wait for what went back. Where there was nothing to read with, the timer wakes them.
    if (passing)
      waker_.schedule(queue);
    else
      waker_.wakeForReady(queue);
  }
  if (receipt.count > 0) {
    receipt.error = Status();  // met again with the next call
    return;
  }
  if (passing) {  // nothing is damaged: the timer wakes it for another try
    receipt.error = Status();
    Waker::wait(queue, consumer);
    waker_.schedule(queue);
    return;
  }
  queue.counters.corrupt++;
}

}  // namespace millrace::engine
