#include "os/posix_file.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/mutex.h"

namespace millrace::os {

Status failedCall(const char* call, const std::string& name, int error) {
  return Status::fromErrno(std::string(call) + " " + name, error);
}

Status failedSync(const char* call, const std::string& name, int error) {
  return Status::failedSync(std::string(call) + " " + name, error);
}

Status PosixFile::read(uint64_t offset, MutableBytes out) {
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return failedCall("pread", name_, errno);
    }
    if (count == 0) {
      return Status(Code::kIo, "pread " + name_ + ": the file ends before offset " +
                                   std::to_string(offset + out.size()));
    }
    out = out.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Status();
}

Status PosixFile::write(uint64_t offset, Bytes data) {
  while (!data.empty()) {
    const ssize_t count = ::pwrite(descriptor_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return failedCall("pwrite", name_, errno);
    }
    if (count == 0) return failedCall("pwrite", name_, EIO);  // never seen; without it this could spin
    data = data.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Status();
}

Status PosixFile::sync() {
  checkMayWait("a sync");
  // Relaxed: the value alone matters. Two threads that sync at once may both call; the one that fails first
  // makes every later call fail.
  const int earlier = sync_error_.load(std::memory_order_relaxed);
  if (earlier != 0) return failedSync("fdatasync (failed before, never repeated)", name_, earlier);
  if (::fdatasync(descriptor_.get()) == 0) return Status();
  const int error = errno;  // EINTR too: nothing tells what was written
  sync_error_.store(error, std::memory_order_relaxed);
  return failedSync("fdatasync", name_, error);
}

Result<uint64_t> PosixFile::size() {
  struct stat state {};
  if (::fstat(descriptor_.get(), &state) != 0) return failedCall("fstat", name_, errno);
  return static_cast<uint64_t>(state.st_size);
}

Result<uint64_t> PosixFile::number() {
  struct stat state {};
  if (::fstat(descriptor_.get(), &state) != 0) return failedCall("fstat", name_, errno);
  return static_cast<uint64_t>(state.st_ino);
}

Status PosixFile::truncate(uint64_t bytes) {
  while (::ftruncate(descriptor_.get(), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failedCall("ftruncate", name_, errno);
  }
  return Status();
}

Result<std::unique_ptr<Mapping>> PosixFile::map(uint64_t bytes) {
  return mapFile(descriptor_.get(), name_, bytes);
}

}  // namespace millrace::os
