#include "base/mutex.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace millrace {
namespace {

// More than there are ranks that one thread takes one after the other.
constexpr size_t kHeldMax = 16;

struct Held {
  LockRank rank;
  uint64_t number;
};

const char* nameOf(LockRank rank) {
  switch (rank) {
    case LockRank::kRegistry:
      return "registry";
    case LockRank::kLifecycle:
      return "lifecycle";
    case LockRank::kLogEnd:
      return "log's end";
    case LockRank::kCatalogue:
      return "catalogue";
    case LockRank::kQueue:
      return "queue";
    case LockRank::kStage:
      return "stage";
    case LockRank::kUnjournaled:
      return "unjournaled";
    case LockRank::kSuspects:
      return "suspects";
    case LockRank::kSessions:
      return "sessions";
    case LockRank::kTimer:
      return "timer";
    case LockRank::kSegmentPool:
      return "segment pool";
    case LockRank::kMappings:
      return "mappings";
    case LockRank::kJanitor:
      return "janitor";
    case LockRank::kParking:
      return "parking";
    case LockRank::kFailure:
      return "failure";
    case LockRank::kWoken:
      return "woken";
    case LockRank::kPort:
      return "port";
    case LockRank::kEnvironment:
      return "environment";
    case LockRank::kTurnWatch:
      return "turn watch";
  }
  return "unknown";
}

[[noreturn]] void refuse(const char* wanted, uint64_t number, const Held& held) {
  std::fprintf(stderr, "millrace: lock order broken: %s (%llu) while %s (%llu) is held\n", wanted,
               static_cast<unsigned long long>(number), nameOf(held.rank),
               static_cast<unsigned long long>(held.number));
  std::abort();
}

// The locks of one thread, in the order in which they were taken: the last one ranks highest.
struct Locks {
  Held held[kHeldMax];
  size_t count = 0;
};

Locks& mine() {
  static thread_local Locks locks;
  return locks;
}

}  // namespace

void HeldLocks::enter(LockRank rank, uint64_t number) {
  Locks& locks = mine();
  if (locks.count > 0) {
    const Held& last = locks.held[locks.count - 1];
    const bool rises = last.rank < rank || (last.rank == rank && last.number < number);
    if (!rises || locks.count == kHeldMax) refuse(nameOf(rank), number, last);
  }
  locks.held[locks.count++] = {rank, number};
}

// Not always the last one that was taken.
void HeldLocks::leave(LockRank rank, uint64_t number) {
  Locks& locks = mine();
  size_t at = locks.count;
  while (at > 0 && (locks.held[at - 1].rank != rank || locks.held[at - 1].number != number)) at--;
  if (at == 0) std::abort();
  for (; at < locks.count; ++at) locks.held[at - 1] = locks.held[at];
  locks.count--;
}

void HeldLocks::checkMayWait(const char* what) {
  const Locks& locks = mine();
  for (size_t i = 0; i < locks.count; ++i) {
    const LockRank rank = locks.held[i].rank;
    if (rank >= LockRank::kCatalogue && rank <= LockRank::kStage) refuse(what, 0, locks.held[i]);
  }
}

}  // namespace millrace
