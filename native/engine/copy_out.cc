#include "engine/copy_out.h"

#include <mutex>
#include <string>
#include <utility>

#include "log/log.h"
#include "log/record.h"

namespace millrace::engine {
namespace {

// Is this the message, unaltered? In memory nothing can alter it.
bool isSound(const Queue& queue, ledger::Seq seq, MutableBytes record) {
  const Result<log::MessageView> parsed = log::MessageView::parse(record);
  if (!parsed.ok()) return false;
  const log::MessageView& message = parsed.value();
  return queue.memory ||
         (message.seq() == seq && message.queue() == queue.id && message.computeCrc() == message.storedCrc());
}

Status readChecked(Queue& queue, const ledger::Delivery& delivery, MutableBytes place) {
  Status status = queue.store.read(delivery.ref, place);
  if (status.ok()) {
    if (isSound(queue, delivery.seq, place)) return Status();
    status = Status(Code::kCorrupt, "it does not match its checksum");
  }
  if (status.isPassing()) return status;
  return Status(Code::kCorrupt, "message " + std::to_string(delivery.seq) + " of queue \"" + queue.name() +
                                    "\" at " + queue.store.placeOf(delivery.ref) + ": " + status.detail() +
                                    log::kDamageAdvice);
}

// Calls `count(ref, bytes)` once for each run of neighbours that the store counts together: other threads write to
// the counters too, so each look at one is dear.
template <typename Count>
void forEachRun(const MessageStore& store, const std::vector<ledger::Delivery>& deliveries, Count count) {
  for (size_t at = 0; at < deliveries.size();) {
    const Ref first = deliveries[at].ref;
    uint32_t bytes = 0;
    do bytes += deliveries[at++].bytes;
    while (at < deliveries.size() && store.countsTogether(first, deliveries[at].ref));
    count(first, bytes);
  }
}

void unpinAll(Queue& queue, const std::vector<ledger::Delivery>& deliveries) {
  forEachRun(queue.store, deliveries, [&](Ref ref, uint32_t bytes) { queue.store.unpin(ref, bytes); });
}

}  // namespace

void pinAll(Queue& queue, const std::vector<ledger::Delivery>& deliveries) {
  forEachRun(queue.store, deliveries, [&](Ref ref, uint32_t bytes) { queue.store.pin(ref, bytes); });
}

Receipt copyOut(Queue& queue, const std::vector<ledger::Delivery>& deliveries, MutableBytes inbox,
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
    store<uint32_t>(place.data() + log::MessageLayout::kDeliveryCount, delivery.delivery_count);
    receipt.bytes += delivery.bytes;
    receipt.count++;
  }
  unpinAll(queue, deliveries);
  return receipt;
}

bool readOne(Queue& queue, ledger::Seq seq, std::vector<std::byte>& record) {
  ledger::Stored stored{};
  {
    const std::lock_guard lock(queue.mutex);
    std::vector<ledger::Saved> saved;
    (void)queue.ledger.save(seq, 1, saved);
    if (saved.empty() || saved[0].seq != seq) return false;
    stored = {saved[0].ref, saved[0].bytes};
    queue.store.pin(stored.ref, stored.bytes);
  }
  record.resize(stored.bytes);
  const Status read = queue.store.read(stored.ref, record);
  queue.store.unpin(stored.ref, stored.bytes);
  return read.ok() && isSound(queue, seq, record);
}

Receipt peek(Queue& queue, MutableBytes inbox, uint32_t max) {
  Receipt receipt;
  std::vector<ledger::Delivery> next;
  {
    const std::lock_guard lock(queue.mutex);
    queue.ledger.peek(max, next);
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
    pinAll(queue, next);
  }
  return copyOut(queue, next, inbox, true);
}

}  // namespace millrace::engine
