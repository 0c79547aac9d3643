// Takes images of a disk at random moments of a store's work, each with what had been promised by then, so
// that the power can be cut in all of them afterwards.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "support/random.h"
#include "support/simulated_disk.h"

namespace millrace::test {

// One moment: what is on the disk, and what had been promised before.
struct Shot {
  DiskImage image;
  uint64_t promised = 0;
};

// `committed` is set while no other thread uses the disk.
class Camera {
 public:
  Camera(SimulatedDisk& disk, uint64_t seed, uint64_t percent)
      : disk_(disk), random_(seed), percent_(percent) {
    disk_.setHook([this](Moment, const std::string&) { look(); });
  }
  ~Camera() { disk_.setHook({}); }
  void promise(uint64_t operation) { promised_ = std::max(promised_.load(), operation); }
  std::vector<Shot> take() {
    const std::lock_guard guard(mutex_);
    return std::move(shots_);
  }
  std::function<uint64_t()> committed = [] { return uint64_t{0}; };

 private:
  void look() {
    const uint64_t promised = std::max(promised_.load(), committed());  // before the image
    const std::lock_guard guard(mutex_);
    if (random_.chance(percent_)) shots_.push_back({disk_.image(), promised});
  }

  SimulatedDisk& disk_;
  std::mutex mutex_;
  Random random_;
  const uint64_t percent_;
  std::atomic<uint64_t> promised_{0};
  std::vector<Shot> shots_;
};

}  // namespace millrace::test
