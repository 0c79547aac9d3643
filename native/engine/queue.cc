#include "engine/queue.h"

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "log/record.h"

namespace millrace::engine {

Queue::Queue(uint32_t queue_id, QueueSettings queue_settings, MessageStore& message_store)
    : id(queue_id),
      memory(queue_settings.memory),
      store(message_store),
      room(queue_settings.capacity),
      mutex(LockRank::kQueue, queue_id),
      settings(std::move(queue_settings)),
      ledger(settings.limits()) {}

void Queue::place(std::byte* at, Bytes record) {
  room.add();
  std::memcpy(at, record.data(), record.size());
  millrace::store<uint64_t>(at + log::MessageLayout::kSeq, ++last_seq);
}

void Queue::enqueue(Ref ref, uint32_t bytes) {
  room.add();
  committed_seq = ++last_seq;
  ledger.enqueue(last_seq, ref, bytes);
  counters.sent++;
}

bool Queue::change(const QueueSettings& changed) {
  settings = changed;
  ledger.setLimits(settings.limits());
  return room.setCapacity(settings.capacity);
}

std::string Queue::name() { return copySettings().name; }

QueueSettings Queue::copySettings() {
  const std::lock_guard lock(mutex);
  return settings;
}

QueueStats Queue::stats() {
  const std::lock_guard lock(mutex);
  return {ledger.counts(), counters, unburied.size(), paused};
}

void giveWay(std::unique_lock<Mutex>& queue_lock) {
  constexpr std::chrono::microseconds kWakeUp(50);
  queue_lock.unlock();
  checkMayWait("a pause");
  std::this_thread::sleep_for(kWakeUp);
  queue_lock.lock();
}

}  // namespace millrace::engine
