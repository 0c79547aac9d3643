// What a SimulatedDisk, its directories, files and mappings share. Only the files that
// implement them include it.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "support/simulated_disk.h"

namespace millrace::test {

struct SimulatedDisk::State {
  State(const DiskImage& start, uint64_t seed);

  // Counts the call and gives the fault that hits it, if any. The mutex is held.
  Status enter(Call call, const std::string& name);
  // Outside the mutex.
  void reach(Moment moment, const std::string& name);

  // For all of these the mutex is held.
  const SimulatedFile& file(uint64_t number) const { return *image.files.at(number); }
  SimulatedFile& writableFile(uint64_t number);
  uint64_t usedBytes() const;
  // How far file `number` may reach at most: alignUp of it is what the capacity leaves.
  uint64_t sizeAllowed(uint64_t number) const;
  // Whether there are pages to copy what these bytes lie in, if the disk copies on write.
  bool mayWriteOver(uint64_t number, uint64_t offset, uint64_t bytes) const;
  void change(DirectoryChange change);
  void hold(uint64_t number) { ++handles[number]; }
  void release(uint64_t number);
  void forgetUnreachable();

  mutable std::mutex mutex;
  DiskImage image;
  uint64_t epoch;  // of what this disk may change in place; renewed by every image
  Random random;
  const void* locked_by = nullptr;  // the Directory that holds the lock
  std::map<uint64_t, uint64_t> handles;
  struct ActiveFault {
    Fault fault;
    uint64_t seen = 0;
  };
  std::vector<ActiveFault> faults;
  bool moved_away = false;
  bool copies_on_write = false;
  std::atomic<size_t> open_files{0};
  std::atomic<size_t> mappings{0};
  std::array<uint64_t, static_cast<size_t>(Call::kCount)> calls{};
  std::shared_ptr<const Hook> hook;
};

std::unique_ptr<os::Directory> openSimulatedDirectory(std::shared_ptr<SimulatedDisk::State> state);
// The mutex is held.
std::unique_ptr<os::File> openSimulatedFile(std::shared_ptr<SimulatedDisk::State> state, uint64_t number,
                                            const std::string& name);

}  // namespace millrace::test
