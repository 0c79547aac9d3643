// What the device itself gives: pwrite into a pre-zeroed file, each followed by fdatasync. It shares no code
// with the log, so that a mistake there cannot flatter both.
//
//   millrace_bench raw DIRECTORY       then, on its input, any number of lines
//   COUNT BYTES SYNC PAUSE_US          COUNT writes of BYTES, synced if SYNC is 1, PAUSE_US asleep before each;
//                                      answered by one line, a JSON array of nanoseconds, one entry a write
#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"

using namespace millrace;

namespace {

constexpr size_t kFileBytes = 64u << 20;
constexpr size_t kWriteBytesMax = 8u << 20;
constexpr size_t kCountMax = 1u << 20;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

int openZeroed(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) die("open");
  const std::vector<char> zeros(1u << 20);
  for (size_t at = 0; at < kFileBytes; at += zeros.size()) {
    if (::pwrite(fd, zeros.data(), zeros.size(), static_cast<off_t>(at)) < 0) die("pwrite");
  }
  if (::fsync(fd) != 0) die("fsync");
  return fd;
}

uint64_t commit(int fd, const std::vector<char>& data, size_t bytes, size_t at, bool sync) {
  const uint64_t start = monotonicNs();
  if (::pwrite(fd, data.data(), bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(bytes)) die("pwrite");
  if (sync && ::fdatasync(fd) != 0) die("fdatasync");
  return monotonicNs() - start;
}

}  // namespace

int rawDisk(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: millrace_bench raw DIRECTORY\n");
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/raw.dat";
  const int fd = openZeroed(path);
  ::unlink(path.c_str());  // gone when this process is
  std::puts("[]");
  std::fflush(stdout);
  std::vector<char> data(kWriteBytesMax, 'x');
  std::vector<uint64_t> taken_ns;
  size_t count = 0;
  size_t bytes = 0;
  size_t sync = 0;
  size_t pause_us = 0;
  size_t at = 0;
  while (std::scanf("%zu %zu %zu %zu", &count, &bytes, &sync, &pause_us) == 4) {
    if (count > kCountMax || bytes == 0 || bytes > kWriteBytesMax) return 2;
    taken_ns.clear();
    for (size_t i = 0; i < count; ++i) {
      if (pause_us > 0) ::usleep(static_cast<useconds_t>(pause_us));
      if (at + bytes > kFileBytes) at = 0;
      data[i % bytes] = static_cast<char>(i);
      taken_ns.push_back(commit(fd, data, bytes, at, sync == 1));
      at += bytes;
    }
    std::putchar('[');
    for (size_t i = 0; i < count; ++i) std::printf(i == 0 ? "%" PRIu64 : ",%" PRIu64, taken_ns[i]);
    std::puts("]");
    std::fflush(stdout);
  }
  ::close(fd);
  return 0;
}
