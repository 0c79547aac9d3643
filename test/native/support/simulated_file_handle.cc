#include "base/mutex.h"
#include "support/simulated_disk_state.h"

namespace millrace::test {
namespace {

using State = SimulatedDisk::State;
using Shared = std::shared_ptr<State>;
using Guard = std::lock_guard<std::mutex>;

// Keeps a file's content while something is open on it, removed or not.
class Handle {
 public:
  // The mutex is held.
  Handle(Shared state, uint64_t number, std::atomic<size_t>& count)
      : state_(std::move(state)), number_(number), count_(count) {
    state_->hold(number_);
    ++count_;
  }
  ~Handle() {
    --count_;
    const Guard guard(state_->mutex);
    state_->release(number_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  State& state() const { return *state_; }
  const Shared& shared() const { return state_; }
  uint64_t number() const { return number_; }

 private:
  const Shared state_;
  const uint64_t number_;
  std::atomic<size_t>& count_;  // of the state
};

class SimulatedMapping final : public os::Mapping {
 public:
  SimulatedMapping(const Shared& state, uint64_t number, std::string name, uint64_t bytes)
      : handle_(state, number, state->mappings), name_(std::move(name)), bytes_(bytes) {}

  // As with a real mapping: zeros up to the end of the file's last page, an error past it.
  Status copyOut(uint64_t offset, MutableBytes out) const override {
    const Guard guard(handle_.state().mutex);
    MILLRACE_RETURN_IF_ERROR(handle_.state().enter(Call::kMappedRead, name_));
    if (offset > bytes_ || out.size() > bytes_ - offset) {
      return Status(Code::kIo,
                    "read " + name_ + ": offset " + std::to_string(offset) + " is past the mapping");
    }
    const SimulatedFile& file = handle_.state().file(handle_.number());
    if (!out.empty() && offset + out.size() > alignUp(file.size(), kPageBytes)) {
      return Status(Code::kIo, "read " + name_ + ": a mapped page near offset " + std::to_string(offset) +
                                   " cannot be read");
    }
    file.read(offset, out);
    return Status();
  }
  uint64_t size() const override { return bytes_; }

 private:
  const Handle handle_;
  const std::string name_;
  const uint64_t bytes_;
};

class SimulatedFileHandle final : public os::File {
 public:
  SimulatedFileHandle(const Shared& state, uint64_t number, std::string name)
      : handle_(state, number, state->open_files), name_(std::move(name)) {}

  Status read(uint64_t offset, MutableBytes out) override {
    const Guard guard(state().mutex);
    MILLRACE_RETURN_IF_ERROR(state().enter(Call::kRead, name_));
    const uint64_t size = state().file(handle_.number()).size();
    if (!out.empty() && (offset > size || out.size() > size - offset)) {
      return Status(Code::kIo, "pread " + name_ + ": the file ends before offset " +
                                   std::to_string(offset + out.size()));
    }
    state().file(handle_.number()).read(offset, out);
    return Status();
  }

  Status write(uint64_t offset, Bytes data) override {
    state().reach(Moment::kBeforeWrite, name_);
    const Guard guard(state().mutex);
    const Status fault = state().enter(Call::kWrite, name_);
    if (!fault.ok()) {
      writePart(offset, data);
      return fault;
    }
    if (!state().mayWriteOver(handle_.number(), offset, data.size())) {
      return Status::fromErrno("pwrite " + name_, ENOSPC);
    }
    const uint64_t allowed = state().sizeAllowed(handle_.number());
    if (data.size() > allowed || offset > allowed - data.size()) {
      if (offset < allowed) writable().write(offset, data.first(static_cast<size_t>(allowed - offset)));
      return Status::fromErrno("pwrite " + name_, ENOSPC);
    }
    writable().write(offset, data);
    return Status();
  }

  Status sync() override {
    checkMayWait("a sync");
    state().reach(Moment::kBeforeSync, name_);
    {
      const Guard guard(state().mutex);
      if (!sync_failure_.ok()) return sync_failure_;
      sync_failure_ = state().enter(Call::kSync, name_);
      if (!sync_failure_.ok()) {
        writable().failSync();
        return sync_failure_;
      }
      writable().sync();
    }
    state().reach(Moment::kAfterSync, name_);
    return Status();
  }

  Result<uint64_t> number() override { return handle_.number(); }

  Result<uint64_t> size() override {
    const Guard guard(state().mutex);
    return state().file(handle_.number()).size();
  }

  Status truncate(uint64_t bytes) override {
    state().reach(Moment::kBeforeTruncate, name_);
    const Guard guard(state().mutex);
    MILLRACE_RETURN_IF_ERROR(state().enter(Call::kTruncate, name_));
    const bool grows = bytes > state().file(handle_.number()).size();
    if (grows && bytes > state().sizeAllowed(handle_.number())) {
      return Status::fromErrno("truncate " + name_, ENOSPC);
    }
    writable().truncate(bytes);
    return Status();
  }

  Result<std::unique_ptr<os::Mapping>> map(uint64_t bytes) override {
    const Guard guard(state().mutex);
    MILLRACE_RETURN_IF_ERROR(state().enter(Call::kMap, name_));
    if (bytes == 0) return Status::fromErrno("map " + name_, EINVAL);
    return std::unique_ptr<os::Mapping>(
        std::make_unique<SimulatedMapping>(handle_.shared(), handle_.number(), name_, bytes));
  }

 private:
  State& state() const { return handle_.state(); }
  SimulatedFile& writable() { return state().writableFile(handle_.number()); }

  // Nothing, everything or a piece from anywhere inside, within what the disk has room for.
  void writePart(uint64_t offset, Bytes data) {
    Random& random = state().random;
    const uint64_t allowed = state().sizeAllowed(handle_.number());
    const uint64_t begin = random.chance(50) ? 0 : random.between(0, data.size());
    const uint64_t end = random.chance(25) ? data.size() : random.between(begin, data.size());
    if (offset > allowed || end > allowed - offset) return;
    writable().write(offset + begin,
                     data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  }

  const Handle handle_;
  const std::string name_;
  Status sync_failure_;  // under the disk's mutex
};

}  // namespace

std::unique_ptr<os::File> openSimulatedFile(std::shared_ptr<SimulatedDisk::State> state, uint64_t number,
                                            const std::string& name) {
  return std::make_unique<SimulatedFileHandle>(state, number, name);
}

}  // namespace millrace::test
