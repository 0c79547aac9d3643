#include <sys/mman.h>

#include <cerrno>
#include <limits>

#include "os/bus_guard.h"
#include "os/posix_file.h"

namespace millrace::os {
namespace {

class PosixMapping final : public Mapping {
 public:
  PosixMapping(const std::byte* base, uint64_t bytes, std::string name)
      : base_(base), bytes_(bytes), name_(std::move(name)) {}
  ~PosixMapping() override { ::munmap(const_cast<std::byte*>(base_), static_cast<size_t>(bytes_)); }
  PosixMapping(const PosixMapping&) = delete;
  PosixMapping& operator=(const PosixMapping&) = delete;

  // Between the end of the file and the end of its last page the kernel gives zeros, not an error.
  Status copyOut(uint64_t offset, MutableBytes out) const override {
    if (offset > bytes_ || out.size() > bytes_ - offset) {
      return Status(Code::kIo,
                    "read " + name_ + ": offset " + std::to_string(offset) + " is past the mapping");
    }
    if (guardedCopy(base_ + offset, out.data(), out.size())) return Status();
    return Status(Code::kIo, "read " + name_ + ": a mapped page near offset " + std::to_string(offset) +
                                 " cannot be read (SIGBUS)");
  }
  uint64_t size() const override { return bytes_; }

 private:
  const std::byte* const base_;
  const uint64_t bytes_;
  const std::string name_;
};

}  // namespace

Result<std::unique_ptr<Mapping>> mapFile(int fd, const std::string& name, uint64_t bytes) {
  if (bytes > std::numeric_limits<size_t>::max() / 2) return failedCall("mmap", name, ENOMEM);
  installBusGuard();
  void* base = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return failedCall("mmap", name, errno);
  return std::unique_ptr<Mapping>(
      std::make_unique<PosixMapping>(static_cast<const std::byte*>(base), bytes, name));
}

}  // namespace millrace::os
