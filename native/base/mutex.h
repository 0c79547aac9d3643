// The mutex of the native code: a std::mutex with a place in the one order of locks. A thread takes a lock
// only if it ranks above all that it holds; locks of one rank are taken by rising number. Where kLocksChecked
// holds (the native tests, debug builds, sanitizer builds by GCC) breaking that ends the process and names
// both locks. Elsewhere a Mutex is a std::mutex and nothing else.
//
// Threads: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <type_traits>

namespace millrace {

#if defined(MILLRACE_CHECK_LOCKS) || defined(_DEBUG) || defined(__SANITIZE_THREAD__) || \
    defined(__SANITIZE_ADDRESS__)
constexpr bool kLocksChecked = true;
#else
constexpr bool kLocksChecked = false;
#endif

// From the first that is taken to the last. ARCHITECTURE.md, "Locks", says what each one guards.
enum class LockRank : uint8_t {
  kRegistry,
  kLifecycle,
  kLogEnd,
  kCatalogue,
  kQueue,  // numbered by the queue's id
  kStage,
  // From here on nothing is decided under a lock that another thread's decision waits for.
  kUnjournaled,
  kSuspects,
  kSessions,
  kTimer,
  kSegmentPool,
  kMappings,
  kJanitor,
  kParking,
  kFailure,
  kWoken,
  kPort,
  kEnvironment,
  kTurnWatch,
};

// Which locks the calling thread holds.
struct HeldLocks {
  static void enter(LockRank rank, uint64_t number);
  static void leave(LockRank rank, uint64_t number);
  static void checkMayWait(const char* what);
};

struct CheckedPlace {
  LockRank rank;
  uint64_t number;
  void enter() const { HeldLocks::enter(rank, number); }
  void leave() const { HeldLocks::leave(rank, number); }
};

struct UncheckedPlace {
  UncheckedPlace(LockRank, uint64_t) {}
  void enter() const {}
  void leave() const {}
};

class Mutex {
 public:
  explicit Mutex(LockRank rank, uint64_t number = 0) : place_{rank, number} {}

  void lock() {
    place_.enter();
    mutex_.lock();
  }
  void unlock() {
    // Unlocked, it may be gone.
    place_.leave();
    mutex_.unlock();
  }

 private:
  friend class Condition;

  std::mutex mutex_;
  [[no_unique_address]] std::conditional_t<kLocksChecked, CheckedPlace, UncheckedPlace> place_;
};
static_assert(kLocksChecked || sizeof(Mutex) == sizeof(std::mutex));

// What may take as long as a disk or another thread does (a sync, a wait, a join) says so here: nobody does
// it with the lock of the catalogue, a queue or the stage.
inline void checkMayWait(const char* what) {
  if constexpr (kLocksChecked) HeldLocks::checkMayWait(what);
}

// A std::condition_variable for a Mutex.
class Condition {
 public:
  void notifyOne() { changed_.notify_one(); }
  void notifyAll() { changed_.notify_all(); }

  template <typename Ready>
  void wait(std::unique_lock<Mutex>& lock, Ready ready) {
    checkMayWait("a wait");
    Inner inner(lock);
    changed_.wait(inner.lock, ready);
  }
  template <typename Rep, typename Period, typename Ready>
  bool waitFor(std::unique_lock<Mutex>& lock, std::chrono::duration<Rep, Period> time, Ready ready) {
    checkMayWait("a wait");
    Inner inner(lock);
    return changed_.wait_for(inner.lock, time, ready);
  }
  // May return early.
  template <typename Rep, typename Period>
  void waitFor(std::unique_lock<Mutex>& lock, std::chrono::duration<Rep, Period> time) {
    checkMayWait("a wait");
    Inner inner(lock);
    changed_.wait_for(inner.lock, time);
  }

 private:
  // The std::mutex inside, which the caller's lock owns before and after.
  struct Inner {
    explicit Inner(std::unique_lock<Mutex>& outer) : lock(outer.mutex()->mutex_, std::adopt_lock) {}
    ~Inner() { lock.release(); }
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;
    std::unique_lock<std::mutex> lock;
  };

  std::condition_variable changed_;
};

}  // namespace millrace
