#include "os/thread.h"

#include <sys/resource.h>

#include <atomic>
#include <memory>
#include <thread>

#include "harness/test.h"

using namespace millrace;

TEST(ThreadRunsAndIsJoined) {
  std::atomic<int> ran{0};
  {
    os::Thread thread;
    CHECK(!thread.joinable());
    CHECK_OK(thread.start([&] { ran.fetch_add(1); }));
    CHECK(thread.joinable());
    thread.join();
    CHECK(!thread.joinable());
    CHECK_EQ(ran.load(), 1);
    CHECK_OK(thread.start([&] { ran.fetch_add(1); }));
  }
  CHECK_EQ(ran.load(), 2);  // the destructor joins
}

TEST(ThreadElsewhereRunsOnceWithWhatItHolds) {
  auto held = std::make_shared<std::atomic<int>>(0);
  os::runElsewhere([held] { held->fetch_add(1); });
  while (held->load() == 0 || held.use_count() > 1) std::this_thread::yield();
  CHECK_EQ(held->load(), 1);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
// Sanitizers need the address space that this takes away.
TEST(ThreadThatCannotStartIsAnErrorAndElsewhereIsHere) {
  const struct rlimit none { 0, 0 };
  CHECK_EQ(::setrlimit(RLIMIT_AS, &none), 0);  // no stack to be had
  os::Thread thread;
  bool ran = false;
  CHECK(thread.start([&] { ran = true; }).code() == Code::kLimit);
  CHECK(!ran && !thread.joinable());
  os::runElsewhere([&] { ran = true; });
  CHECK(ran);
}
#endif
