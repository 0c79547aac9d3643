#include "ledger/suspects.h"

#include <algorithm>

#include "ledger/suspicion.h"

namespace millrace::ledger {
namespace {

// Marks come the more rarely the longer a suspect runs. What a mark shows is never less than 8/9 of the time
// that passed, so twice that is always more than it was.
uint64_t nextMarkMs(uint64_t began_ms, uint64_t now_ms) {
  const uint64_t ran_ms = std::max<uint64_t>(now_ms - began_ms, 1000);
  return now_ms + ran_ms / 8;
}

}  // namespace

uint64_t Suspects::holdMs() const {
  const uint64_t twice = longest_run_ms_ > kNever / 2 ? kNever : 2 * longest_run_ms_;
  return std::max(kHoldMsMin, twice);
}

bool Suspects::mayBegin(uint32_t queue, uint64_t now_ms) const {
  return !hold_ && (!isOffered(now_ms) || offered_queue_ == queue);
}

void Suspects::offer(uint32_t queue, uint64_t now_ms) {
  offered_queue_ = queue;
  offered_until_ms_ = now_ms + kOfferMs;
}

void Suspects::begin(uint32_t queue, Seq seq, uint32_t delivery_count, uint64_t now_ms) {
  offered_queue_ = 0;
  const uint64_t hold_ms = holdMs();
  const uint64_t ends_ms = hold_ms > kNever - now_ms ? kNever : now_ms + hold_ms;
  hold_ = Begun{queue, seq, delivery_count, now_ms, ends_ms};
}

void Suspects::cancel(uint32_t queue, Seq seq) {
  if (hold_ && hold_->is(queue, seq)) hold_.reset();
}

void Suspects::pause(uint64_t now_ms) {
  offered_queue_ = kNobody;
  offered_until_ms_ = now_ms + kPauseMs;
}

bool Suspects::settled(uint32_t queue, Seq first, uint64_t count) {
  if (!hold_ || hold_->queue != queue || hold_->seq < first || hold_->seq - first >= count) return false;
  hold_.reset();
  return true;
}

bool Suspects::returned(uint32_t queue, Seq seq, uint32_t delivery_count, uint64_t now_ms) {
  if (!hold_ || !hold_->is(queue, seq) || hold_->delivery_count != delivery_count) return false;
  if (hold_->mark_ms == kNever) {
    // Its own mark, most likely. If it was given back at that moment the next look at it finds out.
    outlived_.push_back(*hold_);
    outlived_.back().mark_ms = nextMarkMs(hold_->began_ms, now_ms);
  }
  hold_.reset();
  return true;
}

std::optional<Suspects::Due> Suspects::popDue(uint64_t now_ms) {
  Begun* due = nullptr;
  if (hold_ && hold_->mark_ms <= now_ms) {
    due = &*hold_;
    due->mark_ms = kNever;
  } else if (!outlived_.empty() && outlived_.front().mark_ms <= now_ms) {
    due = &outlived_.front();
    due->mark_ms = nextMarkMs(due->began_ms, now_ms);
  }
  if (due == nullptr) return std::nullopt;
  return Due{due->queue, due->seq, due->delivery_count, clampMs(now_ms - due->began_ms)};
}

void Suspects::forget(const Due& due) {
  std::erase_if(outlived_, [&](const Begun& one) {
    return one.is(due.queue, due.seq) && one.delivery_count == due.delivery_count;
  });
}

uint64_t Suspects::nextMs(uint64_t now_ms) const {
  uint64_t next = hold_ ? hold_->mark_ms : kNever;
  if (!outlived_.empty()) next = std::min(next, outlived_.front().mark_ms);
  if (isOffered(now_ms)) next = std::min(next, offered_until_ms_);
  return next;
}

}  // namespace millrace::ledger
