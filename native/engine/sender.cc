#include "engine/sender.h"

#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace millrace::engine {
namespace {

using Layout = log::MessageLayout;

SendResult refusal(Code code) { return -static_cast<double>(code); }

Code codeOf(log::StageOutcome outcome) {
  switch (outcome) {
    case log::StageOutcome::kDiskFull:
      return Code::kDiskFull;
    case log::StageOutcome::kLimit:
      return Code::kLimit;
    case log::StageOutcome::kClosed:
      return Code::kClosed;
    default:
      return Code::kStoreFailed;
  }
}

uint32_t recordBytes(const std::byte* record) { return load<uint32_t>(record + Layout::kBytes); }

}  // namespace

// Checks every record of the outbox and fills in what the sender does not know. The caller's bytes are input.
Status Sender::seal(MutableBytes outbox, size_t count) const {
  const uint64_t now_ms = wallMs();
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t left = outbox.size() - at;
    const size_t bytes = left < Layout::kContent ? left : recordBytes(outbox.data() + at);
    if (bytes > left) return Status(Code::kInvalidArgument, "malformed outbox");
    Result<log::MessageView> parsed = log::MessageView::parse(outbox.subspan(at, bytes));
    if (!parsed.ok()) return Status(Code::kInvalidArgument, "malformed outbox");
    const log::MessageView& message = parsed.value();
    std::byte* record = outbox.data() + at;
    if (message.kind() != log::Kind::kMessage || message.extensionBytes() != 0) {
      return Status(Code::kInvalidArgument, "malformed outbox");
    }
    if (uint64_t{message.headerBytes()} + message.bodyBytes() > context_.options.message_bytes_max) {
      return Status(Code::kMessageTooLarge, "a message has at most " +
                                                std::to_string(context_.options.message_bytes_max) +
                                                " bytes of headers and body");
    }
    const Queue* queue = catalogue_.at(message.queue());
    if (queue == nullptr) return Status(Code::kQueueNotFound, "no such queue");
    store<uint64_t>(record + Layout::kTimestamp, now_ms);
    if (!queue->memory) store<uint32_t>(record + Layout::kContentCrc, message.computeCrc());
    at += message.bytes();
  }
  return Status();
}

Result<SendReport> Sender::send(Session& session, MutableBytes outbox, std::span<SendResult> results,
                                bool whole) {
  MILLRACE_RETURN_IF_ERROR(context_.checkOpen());
  if (whole) MILLRACE_RETURN_IF_ERROR(checkRoom(session, outbox, results.size()));
  MILLRACE_RETURN_IF_ERROR(seal(outbox, results.size()));
  SendReport report;
  if (whole) {
    MILLRACE_RETURN_IF_ERROR(sendWhole(session, outbox, results, report));
    return report;
  }
  const uint64_t flush = next_flush_.fetch_add(1, std::memory_order_relaxed);
  std::byte* record = outbox.data();
  while (report.consumed < results.size()) {
    Queue& queue = *catalogue_.at(load<uint32_t>(record + Layout::kQueue));
    const size_t before = report.consumed;
    if (queue.memory) {
      record = sendMemoryRun(session, queue, record, results, flush, report);
    } else {
      record = sendDurableRun(session, record, results, flush, report);
    }
    if (report.consumed == before) break;  // the stage is full
  }
  return report;
}

// Messages of one memory queue, from results[report.consumed] on: under one hold of its mutex.
std::byte* Sender::sendMemoryRun(Session& session, Queue& queue, std::byte* record,
                                 std::span<SendResult> results, uint64_t flush, SendReport& report) {
  const std::lock_guard lock(queue.mutex);
  uint64_t arrived = 0;
  // Looked at in here: what came in after close() emptied the queue would stay for ever.
  const bool is_closed = queue.closed;
  while (report.consumed < results.size() && load<uint32_t>(record + Layout::kQueue) == queue.id) {
    const uint32_t bytes = recordBytes(record);
    SendResult& result = results[report.consumed++];
    if (is_closed) {
      result = refusal(Code::kClosed);
    } else if (queue.full_in_flush == flush || !queue.room.admits(session, 1)) {
      queue.full_in_flush = flush;
      result = refusal(Code::kQueueFull);
    } else if (const Ref ref = context_.heap_store.add({record, bytes}, queue.nextSeq())) {
      queue.enqueue(ref, bytes);
      result = static_cast<SendResult>(queue.last_seq);
      arrived++;
    } else {
      result = refusal(Code::kLimit);
    }
    record += bytes;
  }
  waker_.wake(queue, arrived);
  return record;
}

// Messages of durable queues, from results[report.consumed] on: under one hold of the stage's lock. Stops at
// a memory queue's message, and before the first one that the stage has no room for.
std::byte* Sender::sendDurableRun(Session& session, std::byte* record, std::span<SendResult> results,
                                  uint64_t flush, SendReport& report) {
  log::Log::Lock stage(*context_.log);
  while (report.consumed < results.size()) {
    Queue& queue = *catalogue_.at(load<uint32_t>(record + Layout::kQueue));
    if (queue.memory) break;
    const uint32_t bytes = recordBytes(record);
    SendResult& result = results[report.consumed];
    if (queue.full_in_flush == flush || !queue.room.admits(session, 1)) {
      queue.full_in_flush = flush;
      result = refusal(Code::kQueueFull);
      stage.hurry();  // what was settled quietly makes room when it is committed
    } else {
      std::byte* at = nullptr;
      const log::StageOutcome outcome = stage.reserve(bytes, log::Purpose::kSend, at, report.unit);
      if (outcome == log::StageOutcome::kFull) {
        session.wants_room.store(true);
        break;
      }
      if (outcome == log::StageOutcome::kStaged) {
        queue.place(at, {record, bytes});
        result = static_cast<SendResult>(queue.last_seq);
      } else {
        result = refusal(codeOf(outcome));
      }
    }
    report.consumed++;
    record += bytes;
  }
  session.noteStaged(report.unit);
  return record;
}

// Before megabytes are checked for nothing: a batch that waits for room is tried again with each settlement.
// Only a look, at bytes that seal() has not seen yet; sendWhole() decides.
Status Sender::checkRoom(Session& session, Bytes outbox, size_t messages) {
  if (messages == 0 || outbox.size() < Layout::kContent) return Status();
  Queue* queue = catalogue_.at(load<uint32_t>(outbox.data() + Layout::kQueue));
  if (queue == nullptr || messages > queue->room.capacity()) return Status();
  if (queue->room.admits(session, messages)) return Status();
  if (!queue->memory) log::Log::Lock(*context_.log).hurry();
  return Status(Code::kQueueFull, "the queue is full");
}

Status Sender::sendWholeMemory(Session& session, Queue& queue, MutableBytes outbox,
                               std::span<SendResult> results) {
  const std::lock_guard lock(queue.mutex);
  if (queue.closed) return Status(Code::kClosed, "the broker is closed");
  if (!queue.room.admits(session, results.size())) return Status(Code::kQueueFull, "the queue is full");
  std::vector<std::pair<Ref, uint32_t>> added;
  added.reserve(results.size());
  std::byte* record = outbox.data();
  while (added.size() < results.size()) {
    const uint32_t bytes = recordBytes(record);
    const Ref ref = context_.heap_store.add({record, bytes}, queue.nextSeq() + added.size());
    if (ref == 0) {
      for (const auto& [one, one_bytes] : added) context_.heap_store.unpin(one, one_bytes);
      return Status(Code::kLimit, "out of memory");
    }
    added.emplace_back(ref, bytes);
    record += bytes;
  }
  for (size_t i = 0; i < results.size(); ++i) {
    queue.enqueue(added[i].first, added[i].second);
    results[i] = static_cast<SendResult>(queue.last_seq);
  }
  waker_.wake(queue, results.size());
  return Status();
}

Status Sender::sendWholeDurable(Session& session, Queue& queue, Bytes outbox, std::span<SendResult> results,
                                SendReport& report) {
  const uint64_t bytes_max = log::unitBytesMax(context_.options.segment_bytes);
  if (outbox.size() > bytes_max) {
    return Status(Code::kMessageTooLarge, "a batch has at most " + std::to_string(bytes_max) + " bytes");
  }
  log::Log::Lock stage(*context_.log);
  if (!queue.room.admits(session, results.size())) {
    stage.hurry();
    return Status(Code::kQueueFull, "the queue is full");
  }
  std::byte* at = nullptr;
  const log::StageOutcome outcome = stage.reserve(outbox.size(), log::Purpose::kSend, at, report.unit);
  if (outcome == log::StageOutcome::kFull) {
    session.wants_room.store(true);
    return Status();  // consumed stays 0
  }
  if (outcome != log::StageOutcome::kStaged) return Status(codeOf(outcome), "the store refuses new messages");
  const std::byte* record = outbox.data();
  for (SendResult& result : results) {
    const uint32_t record_bytes = recordBytes(record);
    queue.place(at, {record, record_bytes});
    result = static_cast<SendResult>(queue.last_seq);
    record += record_bytes;
    at += record_bytes;
  }
  report.consumed = static_cast<uint32_t>(results.size());
  session.noteStaged(report.unit);
  return Status();
}

// All of one queue's batch or nothing of it: one unit in the log, one hold of the mutex in memory.
Status Sender::sendWhole(Session& session, MutableBytes outbox, std::span<SendResult> results,
                         SendReport& report) {
  if (results.empty()) return Status();
  Queue& queue = *catalogue_.at(load<uint32_t>(outbox.data() + Layout::kQueue));
  size_t bytes = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (load<uint32_t>(outbox.data() + bytes + Layout::kQueue) != queue.id) {
      return Status(Code::kInvalidArgument, "a batch goes to one queue");
    }
    bytes += recordBytes(outbox.data() + bytes);
  }
  if (results.size() > queue.room.capacity()) {
    return Status(Code::kMessageTooLarge, "a batch has at most the queue's capacity of messages");
  }
  if (!queue.memory) return sendWholeDurable(session, queue, outbox.first(bytes), results, report);
  MILLRACE_RETURN_IF_ERROR(sendWholeMemory(session, queue, outbox, results));
  report.consumed = static_cast<uint32_t>(results.size());
  return Status();
}

}  // namespace millrace::engine
