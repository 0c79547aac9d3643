// Breaking the order of locks ends the process: each of these happens in a child of its own.
#include "base/mutex.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>

#include "harness/test.h"
#include "os/file.h"
#include "os/thread.h"

using namespace millrace;
using namespace millrace::test;

namespace {

static_assert(kLocksChecked, "the native tests are built with MILLRACE_CHECK_LOCKS");

// What the child wrote before it was aborted; empty: it was not.
template <typename Body>
std::string lastWordsOf(Body body) {
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char buffer[256];
  for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;) {
    words.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? words : std::string();
}

bool names(const std::string& words, const char* wanted, const char* held) {
  return words.find(wanted) != std::string::npos && words.find(held) != std::string::npos;
}

}  // namespace

TEST(MutexTakenInRisingOrderIsTaken) {
  const std::string words = lastWordsOf([] {
    Mutex catalogue(LockRank::kCatalogue);
    Mutex first(LockRank::kQueue, 1);
    Mutex second(LockRank::kQueue, 2);
    Mutex stage(LockRank::kStage);
    for (int i = 0; i < 2; ++i) {
      const std::lock_guard a(catalogue);
      std::unique_lock b(first);
      const std::lock_guard c(second);
      b.unlock();  // not the last one that was taken
      const std::lock_guard d(stage);
    }
  });
  CHECK_EQ(words, "");
}

TEST(MutexOfALowerRankAborts) {
  const std::string words = lastWordsOf([] {
    Mutex queue(LockRank::kQueue, 7);
    Mutex stage(LockRank::kStage);
    const std::lock_guard held(stage);
    const std::lock_guard wanted(queue);
  });
  CHECK(names(words, "queue (7)", "stage"));
}

TEST(MutexOfTheSameRankAndALowerNumberAborts) {
  const std::string words = lastWordsOf([] {
    Mutex first(LockRank::kQueue, 7);
    Mutex second(LockRank::kQueue, 8);
    const std::lock_guard held(second);
    const std::lock_guard wanted(first);
  });
  CHECK(names(words, "queue (7)", "queue (8)"));
}

TEST(MutexTakenTwiceAborts) {
  const std::string words = lastWordsOf([] {
    Mutex timer(LockRank::kTimer);
    timer.lock();
    timer.lock();
  });
  CHECK(names(words, "timer", "is held"));
}

TEST(MutexOfAQueueIsHeldDuringNoWait) {
  const std::string words = lastWordsOf([] {
    Mutex queue(LockRank::kQueue, 7);
    Mutex timer(LockRank::kTimer);
    Condition changed;
    const std::lock_guard held(queue);
    std::unique_lock lock(timer);
    changed.waitFor(lock, std::chrono::milliseconds(1));
  });
  CHECK(names(words, "a wait", "queue (7)"));
}

TEST(MutexOfAQueueIsHeldDuringNoSync) {
  const std::string directory = temporaryDirectory();
  const std::string words = lastWordsOf([&] {
    auto opened = os::openDirectory(directory, true);
    Mutex queue(LockRank::kQueue, 7);
    const std::lock_guard held(queue);
    (void)opened.value()->sync();
  });
  CHECK(names(words, "a sync", "queue (7)"));
}

TEST(MutexOfAQueueIsHeldDuringNoJoin) {
  const std::string words = lastWordsOf([] {
    os::Thread thread;
    CHECK_OK(thread.start([] {}));
    Mutex queue(LockRank::kQueue, 7);
    const std::lock_guard held(queue);
    thread.join();
  });
  CHECK(names(words, "a join", "queue (7)"));
}

TEST(MutexIsBackAfterAWait) {
  Mutex timer(LockRank::kTimer);
  Condition changed;
  bool ready = false;
  os::Thread thread;
  CHECK_OK(thread.start([&] {
    {
      const std::lock_guard lock(timer);
      ready = true;
    }
    changed.notifyOne();
  }));
  {
    std::unique_lock lock(timer);
    changed.wait(lock, [&] { return ready; });
    CHECK(lock.owns_lock());
    CHECK(!changed.waitFor(lock, std::chrono::milliseconds(1), [] { return false; }));
    CHECK(lock.owns_lock());
  }
  thread.join();
  const std::lock_guard again(timer);
}
