// A mapped page that cannot be read is an error; every other SIGBUS goes where it went before.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "harness/test.h"
#include "os/file.h"

namespace millrace::os {
namespace {

using test::temporaryDirectory;

std::unique_ptr<Directory> opened(const std::string& path) {
  auto directory = openDirectory(path, true);
  CHECK_OK(directory.status());
  return directory.take();
}

std::unique_ptr<File> created(Directory& directory, const std::string& name) {
  auto file = directory.create(name);
  CHECK_OK(file.status());
  return file.take();
}

// Runs `body` in a child and gives the signal that ended it, or 0.
template <typename Body>
int signalThatEnds(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const struct rlimit no_core {};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGBUS, SIG_DFL);  // a sanitizer may have it
    body();
    ::_exit(0);
  }
  int status = 0;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// Memory whose every access is a SIGBUS.
MutableBytes brokenMemory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  void* base = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(base != MAP_FAILED);
  return {static_cast<std::byte*>(base), 4096};
}

}  // namespace

TEST(PosixTruncationUnderAMappingIsAnErrorNotASignal) {
  const std::string base = temporaryDirectory();
  auto directory = opened(base);
  auto file = created(*directory, "file");
  constexpr uint64_t kBytes = 1 << 20;
  const std::vector<std::byte> data(kBytes, std::byte{7});
  CHECK_OK(file->write(0, data));
  auto mapping = file->map(kBytes);
  CHECK_OK(mapping.status());
  std::filesystem::resize_file(base + "/file", 64 << 10);
  std::vector<std::byte> out(kBytes);
  for (int round = 0; round < 100; ++round) {  // the guard works again after each catch
    CHECK_OK(mapping.value()->copyOut(0, MutableBytes(out).first(64 << 10)));
    CHECK(mapping.value()->copyOut(0, out).code() == Code::kIo);
    CHECK(mapping.value()->copyOut(kBytes - 8, MutableBytes(out).first(8)).code() == Code::kIo);
  }
  std::filesystem::resize_file(base + "/file", kBytes);
  CHECK_OK(mapping.value()->copyOut(0, out));
  CHECK(out[0] == std::byte{7} && out[kBytes - 1] == std::byte{0});
}

TEST(PosixTruncationUnderThreadsThatReadIsAnErrorForEach) {
  const std::string base = temporaryDirectory();
  auto directory = opened(base);
  auto file = created(*directory, "file");
  constexpr uint64_t kBytes = 256 << 10;
  CHECK_OK(file->truncate(kBytes));
  auto mapping = file->map(kBytes);
  CHECK_OK(mapping.status());
  std::atomic<int> failures{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      std::vector<std::byte> out(kBytes);
      while (!stop.load()) {
        const Status status = mapping.value()->copyOut(0, out);
        if (status.code() == Code::kIo) failures.fetch_add(1);
      }
    });
  }
  const uint64_t deadline_ms = monotonicMs() + 30'000;
  while (failures.load() < 300 && monotonicMs() < deadline_ms) {
    CHECK_OK(file->truncate(0));
    CHECK_OK(file->truncate(kBytes));
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  CHECK(failures.load() > 0);
}

namespace {
std::atomic<int> g_foreign_errors{0};
void countForeignError(int) { g_foreign_errors.fetch_add(1); }
}  // namespace

TEST(PosixForeignBusErrorsReachTheEarlierHandler) {
  struct sigaction action {};
  action.sa_handler = countForeignError;
  CHECK_EQ(::sigaction(SIGBUS, &action, nullptr), 0);
  auto file = created(*opened(temporaryDirectory()), "file");
  CHECK_OK(file->truncate(4096));
  auto mapping = file->map(4096);
  CHECK_OK(mapping.status());
  std::byte out[8];
  CHECK_OK(mapping.value()->copyOut(0, out));
  CHECK_EQ(::raise(SIGBUS), 0);
  CHECK_EQ(g_foreign_errors.load(), 1);
  CHECK_OK(file->truncate(0));
  CHECK(mapping.value()->copyOut(0, out).code() == Code::kIo);
  CHECK_EQ(g_foreign_errors.load(), 1);
}

TEST(PosixForeignBusErrorsEndTheProcessWhenNobodyWantsThem) {
  const std::string base = temporaryDirectory();  // here: a grandchild's own would not be removed
  const auto mapOne = [&] {
    auto file = created(*opened(base), std::to_string(getpid()));
    CHECK_OK(file->truncate(4096));
    auto mapping = file->map(4096);
    CHECK_OK(mapping.status());
    return mapping.take();
  };
  CHECK_EQ(signalThatEnds([&] {
             const auto mapping = mapOne();
             ::raise(SIGBUS);
           }),
           SIGBUS);
  // A fault during the copy, but not in the mapped file: the caller's memory, above and below the mapping.
  CHECK_EQ(signalThatEnds([&] {
             const MutableBytes broken = brokenMemory(base + "/a");
             static_cast<void>(mapOne()->copyOut(0, broken));
           }),
           SIGBUS);
  CHECK_EQ(signalThatEnds([&] {
             const auto mapping = mapOne();
             static_cast<void>(mapping->copyOut(0, brokenMemory(base + "/b")));
           }),
           SIGBUS);
}

}  // namespace millrace::os
