#include "os/bus_guard.h"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace millrace::os {
namespace {

struct GuardedRange {
  sigjmp_buf resume;
  uintptr_t begin;
  uintptr_t end;
};

// The handler may run on any thread, also on one that never copied. With glibc the general TLS model may
// allocate at the first use, which a signal handler must not; a pointer in the static block never does. musl
// allocates when the library is loaded and refuses initial-exec there.
#if defined(__GLIBC__)
__attribute__((tls_model("initial-exec")))
#endif
thread_local std::atomic<GuardedRange*>
    t_active{nullptr};
static_assert(std::atomic<GuardedRange*>::is_always_lock_free);

struct sigaction g_previous;  // written before the handler is installed, then only read

void endByDefault(int signal, const siginfo_t* info) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  // A fault repeats when this returns and leaves a core at its own address; a signal that was sent does not.
  if (info->si_code <= 0) raise(signal);
}

void passOn(int signal, siginfo_t* info, void* context) {
  if ((g_previous.sa_flags & SA_SIGINFO) != 0) {
    g_previous.sa_sigaction(signal, info, context);
    return;
  }
  if (g_previous.sa_handler == SIG_IGN && info->si_code <= 0) return;
  if (g_previous.sa_handler == SIG_DFL || g_previous.sa_handler == SIG_IGN) {
    endByDefault(signal, info);
    return;
  }
  g_previous.sa_handler(signal);
}

void onBusError(int signal, siginfo_t* info, void* context) {
  GuardedRange* active = t_active.load(std::memory_order_relaxed);  // same thread: only the compiler matters
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const bool is_fault = info->si_code > 0;
  if (active != nullptr && is_fault && address >= active->begin && address < active->end) {
    t_active.store(nullptr, std::memory_order_relaxed);
    // The jump does not restore the mask (saving it would cost every copy a system call). SA_NODEFER leaves
    // nothing to restore, except under a tool that puts its own handler around this one.
    pthread_sigmask(SIG_SETMASK, &static_cast<const ucontext_t*>(context)->uc_sigmask, nullptr);
    siglongjmp(active->resume, 1);
  }
  passOn(signal, info, context);
}

bool install() {
  MILLRACE_CHECK(sigaction(SIGBUS, nullptr, &g_previous) == 0);
  struct sigaction action {};
  action.sa_sigaction = onBusError;
  // NODEFER: the handler is left by a jump, and a handler before ours may do the same. ONSTACK: a thread of
  // the host may have a small stack and an alternate one.
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  MILLRACE_CHECK(sigaction(SIGBUS, &action, nullptr) == 0);
  return true;
}

}  // namespace

void installBusGuard() {
  static const bool kInstalled = install();
  static_cast<void>(kInstalled);
}

// Never inlined: a function that calls sigsetjmp keeps its variables in memory.
__attribute__((noinline)) bool guardedCopy(const std::byte* from, std::byte* to, size_t bytes) {
  if (bytes == 0) return true;
  // A failing page may be reported by its own address rather than by the byte's.
  constexpr uintptr_t kPageMask = 4095;
  GuardedRange range;
  range.begin = reinterpret_cast<uintptr_t>(from) & ~kPageMask;
  range.end = (reinterpret_cast<uintptr_t>(from) + bytes + kPageMask) & ~kPageMask;
  if (sigsetjmp(range.resume, 0) != 0) return false;  // the handler has cleared t_active
  t_active.store(&range, std::memory_order_relaxed);
  // The fences keep the compiler from moving the copy out of the guarded stretch; the handler runs on this
  // very thread, so the processor needs none.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(to, from, bytes);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  t_active.store(nullptr, std::memory_order_relaxed);
  return true;
}

}  // namespace millrace::os
