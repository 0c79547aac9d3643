#include "base/check.h"
#include "base/mutex.h"
#include "support/simulated_disk_state.h"

namespace millrace::test {
namespace {

using Shared = std::shared_ptr<SimulatedDisk::State>;
using Guard = std::lock_guard<std::mutex>;

class SimulatedDirectory final : public os::Directory {
 public:
  explicit SimulatedDirectory(Shared state) : state_(std::move(state)) {}
  ~SimulatedDirectory() override {
    const Guard guard(state_->mutex);
    if (state_->locked_by == this) state_->locked_by = nullptr;
  }
  SimulatedDirectory(const SimulatedDirectory&) = delete;
  SimulatedDirectory& operator=(const SimulatedDirectory&) = delete;

  Result<std::unique_ptr<os::File>> open(const std::string& name) override {
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kOpen, name));
    const auto entry = state_->image.entries.find(name);
    if (entry == state_->image.entries.end()) return Status::fromErrno("open " + name, ENOENT);
    return openSimulatedFile(state_, entry->second, name);
  }

  Result<std::unique_ptr<os::File>> create(const std::string& name) override {
    MILLRACE_CHECK(!name.empty() && name.find('/') == std::string::npos);
    state_->reach(Moment::kBeforeDirectoryChange, name);
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kCreate, name));
    if (state_->image.entries.count(name) != 0) return Status::fromErrno("create " + name, EEXIST);
    const uint64_t number = state_->image.next_file++;
    state_->image.files[number] = std::make_shared<SimulatedFile>(state_->epoch);
    state_->change({DirectoryChange::Kind::kCreate, name, "", number});
    return openSimulatedFile(state_, number, name);
  }

  Result<std::vector<std::string>> list() override {
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kList, ""));
    std::vector<std::string> names;
    for (const auto& [name, number] : state_->image.entries) names.push_back(name);
    return names;
  }

  Status rename(const std::string& from, const std::string& to) override {
    MILLRACE_CHECK(!to.empty() && to.find('/') == std::string::npos);
    state_->reach(Moment::kBeforeDirectoryChange, from);
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kRename, from));
    if (state_->image.entries.count(from) == 0) {
      return Status::fromErrno("rename " + from + " to " + to, ENOENT);
    }
    if (from != to) state_->change({DirectoryChange::Kind::kRename, from, to, 0});
    return Status();
  }

  Status remove(const std::string& name) override {
    state_->reach(Moment::kBeforeDirectoryChange, name);
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kRemove, name));
    if (state_->image.entries.count(name) == 0) return Status::fromErrno("remove " + name, ENOENT);
    state_->change({DirectoryChange::Kind::kRemove, name, "", 0});
    return Status();
  }

  // After a failure the changes stay uncertain. A later sync through another Directory makes them certain
  // along with its own: a journal cannot commit a change without those before it.
  Status sync() override {
    checkMayWait("a sync");
    state_->reach(Moment::kBeforeDirectorySync, "");
    {
      const Guard guard(state_->mutex);
      if (!sync_failure_.ok()) return sync_failure_;
      sync_failure_ = state_->enter(Call::kDirectorySync, "");
      if (!sync_failure_.ok()) return sync_failure_;
      state_->image.synced_entries = state_->image.entries;
      state_->image.changes.clear();
      state_->forgetUnreachable();
    }
    state_->reach(Moment::kAfterDirectorySync, "");
    return Status();
  }

  Status lock() override {
    const Guard guard(state_->mutex);
    if (state_->locked_by != nullptr && state_->locked_by != this) {
      return Status(Code::kStoreLocked, "the simulated disk is open elsewhere");
    }
    state_->locked_by = this;
    return Status();
  }

  void unlock() override {
    const Guard guard(state_->mutex);
    if (state_->locked_by == this) state_->locked_by = nullptr;
  }

  bool exists(const std::string& name) override {
    const Guard guard(state_->mutex);
    return state_->image.entries.count(name) != 0;
  }

  Result<std::optional<uint64_t>> numberOf(const std::string& name) override {
    const Guard guard(state_->mutex);
    MILLRACE_RETURN_IF_ERROR(state_->enter(Call::kStat, name));
    const auto entry = state_->image.entries.find(name);
    if (entry == state_->image.entries.end()) return std::optional<uint64_t>();
    return std::optional<uint64_t>(entry->second);
  }

  Status checkInPlace() override {
    const Guard guard(state_->mutex);
    return state_->moved_away ? Status(Code::kIo, "the directory was moved away") : Status();
  }

 private:
  const Shared state_;
  Status sync_failure_;  // under the disk's mutex
};

}  // namespace

std::unique_ptr<os::Directory> openSimulatedDirectory(std::shared_ptr<SimulatedDisk::State> state) {
  return std::make_unique<SimulatedDirectory>(std::move(state));
}

}  // namespace millrace::test
