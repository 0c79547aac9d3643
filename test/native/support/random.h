// A small seeded generator (splitmix64, Steele, Lea and Flood 2014): the same numbers on every machine and
// library, so that a printed seed replays, and cheap enough to make one for every power cut.
#pragma once

#include <cstdint>

namespace millrace::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // 0 to bound - 1; bound is not 0. The bias of the modulo does not matter to a test.
  uint64_t below(uint64_t bound) { return next() % bound; }
  // low to high, both included.
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool chance(uint64_t percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

}  // namespace millrace::test
