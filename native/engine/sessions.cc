#include "engine/sessions.h"

#include <mutex>

namespace millrace::engine {

void Sessions::attach(Session& session) {
  const std::lock_guard lock(mutex_);
  sessions_.push_back(&session);
}

bool Sessions::detach(Session& session) {
  const std::lock_guard lock(mutex_);
  std::erase(sessions_, &session);
  return sessions_.empty();
}

size_t Sessions::count() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

void Sessions::noteStaged(Session& session, uint64_t unit) const {
  if (unit == 0) return;
  session.noteStaged(unit);
  if (context_.committedThrough() >= unit || context_.hasFailed()) session.wake();
}

void Sessions::confirm(uint64_t through) {
  const std::lock_guard lock(mutex_);
  for (Session* session : sessions_) {
    if (session->staged_through.load() > session->told_through.load(std::memory_order_relaxed)) {
      session->told_through.store(through, std::memory_order_relaxed);
      session->wake();
    }
  }
}

void Sessions::tellRoom() {
  const std::lock_guard lock(mutex_);
  for (Session* session : sessions_) {
    if (session->wants_room.exchange(false)) session->wake();
  }
}

void Sessions::fail(const Status& why) {
  const std::lock_guard lock(mutex_);
  failure_ = why;
  for (Session* session : sessions_) session->wake();
}

void Sessions::end() {
  const std::lock_guard lock(mutex_);
  for (Session* session : sessions_) session->wake();
}

Status Sessions::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace millrace::engine
