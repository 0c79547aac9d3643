#include "os/process.h"

#include <sys/wait.h>
#include <unistd.h>

#include "harness/test.h"

namespace millrace::os {
namespace {

// Each test runs in a forked child itself, so only a child's answer can be looked at here; that the process
// which loaded the addon is none, every other test of the addon shows.
TEST(TheChildOfAForkIsOne) {
  const pid_t child = fork();
  if (child == 0) _exit(isForkedChild() ? 0 : 1);
  int status = -1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

}  // namespace
}  // namespace millrace::os
