#include "support/simulated_disk.h"

#include <set>

#include "support/simulated_disk_state.h"

namespace millrace::test {
namespace {

const char* nameOf(Call call) {
  constexpr const char* kNames[] = {"open",  "create", "list", "rename",   "remove", "sync directory",
                                    "pread", "pwrite", "sync", "truncate", "map",    "read mapping",
                                    "stat"};
  static_assert(std::size(kNames) == static_cast<size_t>(Call::kCount));
  return kNames[static_cast<size_t>(call)];
}

uint64_t spaceOf(uint64_t size) { return alignUp(size, kPageBytes); }

}  // namespace

SimulatedDisk::State::State(const DiskImage& start, uint64_t seed)
    : image(start), epoch(freshEpoch()), random(seed) {
  forgetUnreachable();  // files that only a handle of the earlier system held
}

Status SimulatedDisk::State::enter(Call call, const std::string& name) {
  ++calls[static_cast<size_t>(call)];
  Status result;
  for (ActiveFault& active : faults) {
    const Fault& fault = active.fault;
    if (fault.call != call || name.find(fault.name) == std::string::npos) continue;
    ++active.seen;
    const bool hit = fault.persistent ? active.seen >= fault.nth : active.seen == fault.nth;
    if (hit && result.ok()) {
      const std::string what = std::string("injected into ") + nameOf(call) + " " + name;
      const bool sync = call == Call::kSync || call == Call::kDirectorySync;
      result = sync ? Status::failedSync(what, fault.error) : Status::fromErrno(what, fault.error);
    }
  }
  return result;
}

void SimulatedDisk::State::reach(Moment moment, const std::string& name) {
  std::shared_ptr<const Hook> current;
  {
    const std::lock_guard guard(mutex);
    current = hook;
  }
  if (current) (*current)(moment, name);
}

SimulatedFile& SimulatedDisk::State::writableFile(uint64_t number) {
  std::shared_ptr<SimulatedFile>& file = image.files.at(number);
  if (file->epoch() != epoch) file = file->copyFor(epoch);
  return *file;
}

uint64_t SimulatedDisk::State::usedBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, number] : image.entries) bytes += spaceOf(file(number).size());
  return bytes;
}

uint64_t SimulatedDisk::State::sizeAllowed(uint64_t number) const {
  if (image.capacity == kUnlimited) return kUnlimited;
  const uint64_t own = spaceOf(file(number).size());
  const uint64_t used = usedBytes();
  const uint64_t left = used < image.capacity ? image.capacity - used : 0;
  return own + left / kPageBytes * kPageBytes;
}

bool SimulatedDisk::State::mayWriteOver(uint64_t number, uint64_t offset, uint64_t bytes) const {
  if (!copies_on_write || image.capacity == kUnlimited || offset >= file(number).size()) return true;
  const uint64_t used = usedBytes();
  return used <= image.capacity && alignUp(bytes, kPageBytes) <= image.capacity - used;
}

void SimulatedDisk::State::change(DirectoryChange change) {
  applyChange(image.entries, change);
  image.changes.push_back(std::move(change));
}

void SimulatedDisk::State::release(uint64_t number) {
  if (--handles[number] > 0) return;
  handles.erase(number);
  forgetUnreachable();
}

// Drops files that no entry, no power cut and no handle can reach.
void SimulatedDisk::State::forgetUnreachable() {
  if (image.files.size() == image.entries.size()) return;
  std::set<uint64_t> reachable;
  for (const auto& [name, number] : image.entries) reachable.insert(number);
  for (const auto& [name, number] : image.synced_entries) reachable.insert(number);
  for (const DirectoryChange& change : image.changes) reachable.insert(change.file);
  for (const auto& [number, count] : handles) reachable.insert(number);
  std::erase_if(image.files, [&](const auto& entry) { return reachable.count(entry.first) == 0; });
}

SimulatedDisk::SimulatedDisk(uint64_t seed) : SimulatedDisk(DiskImage(), seed) {}

SimulatedDisk::SimulatedDisk(const DiskImage& image, uint64_t seed)
    : state_(std::make_shared<State>(image, seed)) {}

std::unique_ptr<os::Directory> SimulatedDisk::directory() { return openSimulatedDirectory(state_); }

DiskImage SimulatedDisk::image() const {
  const std::lock_guard guard(state_->mutex);
  state_->epoch = freshEpoch();  // what the image shares is not changed in place any more
  return state_->image;
}

void SimulatedDisk::inject(const Fault& fault) {
  const std::lock_guard guard(state_->mutex);
  state_->faults.push_back({fault});
}

void SimulatedDisk::clearFaults() {
  const std::lock_guard guard(state_->mutex);
  state_->faults.clear();
}

uint64_t SimulatedDisk::calls(Call call) const {
  const std::lock_guard guard(state_->mutex);
  return state_->calls[static_cast<size_t>(call)];
}

size_t SimulatedDisk::openFiles() const { return state_->open_files.load(); }
size_t SimulatedDisk::mappings() const { return state_->mappings.load(); }

void SimulatedDisk::setCapacity(uint64_t bytes) {
  const std::lock_guard guard(state_->mutex);
  state_->image.capacity = bytes;
}

void SimulatedDisk::copyOnWrite() {
  const std::lock_guard guard(state_->mutex);
  state_->copies_on_write = true;
}

void SimulatedDisk::moveAway() {
  const std::lock_guard guard(state_->mutex);
  state_->moved_away = true;
}

uint64_t SimulatedDisk::usedBytes() const {
  const std::lock_guard guard(state_->mutex);
  return state_->usedBytes();
}

void SimulatedDisk::writeBackSome() {
  const std::lock_guard guard(state_->mutex);
  for (const auto& [number, file] : state_->image.files) {
    state_->writableFile(number).writeBackSome(state_->random);
  }
}

void SimulatedDisk::dropCaches() {
  const std::lock_guard guard(state_->mutex);
  for (const auto& [number, file] : state_->image.files) {
    state_->writableFile(number).dropCache(state_->random);
  }
}

void SimulatedDisk::setHook(Hook hook) {
  auto next = hook ? std::make_shared<const Hook>(std::move(hook)) : nullptr;
  const std::lock_guard guard(state_->mutex);
  state_->hook = std::move(next);
}

}  // namespace millrace::test
