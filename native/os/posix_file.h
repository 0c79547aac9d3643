// The pieces that the files of native/os share: an owned descriptor, an open file, a mapping. The rest of the
// project includes os/file.h only.
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "os/file.h"

namespace millrace::os {

static_assert(sizeof(off_t) == 8, "offsets of the interface are 64 bits");

// "call name: why", the form of every error of this folder.
Status failedCall(const char* call, const std::string& name, int error);
Status failedSync(const char* call, const std::string& name, int error);

// Closes a descriptor once. close() is not retried on EINTR: on Linux the descriptor is gone either way.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool isOpen() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class PosixFile final : public File {
 public:
  PosixFile(Descriptor descriptor, std::string name)
      : descriptor_(std::move(descriptor)), name_(std::move(name)) {}

  Status read(uint64_t offset, MutableBytes out) override;
  Status write(uint64_t offset, Bytes data) override;
  Status sync() override;
  Result<uint64_t> size() override;
  Status truncate(uint64_t bytes) override;
  Result<std::unique_ptr<Mapping>> map(uint64_t bytes) override;
  Result<uint64_t> number() override;

 private:
  Descriptor descriptor_;
  const std::string name_;  // for errors only; a rename does not change it
  // errno of the first failed sync, 0 while there is none. The kernel marks pages that it could not write as
  // clean and reports the failure once: a second fdatasync would succeed without having written anything.
  std::atomic<int> sync_error_{0};
};

// Maps the first `bytes` of the file for reading. Outlives the descriptor.
Result<std::unique_ptr<Mapping>> mapFile(int fd, const std::string& name, uint64_t bytes);

}  // namespace millrace::os
