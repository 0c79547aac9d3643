// Time. Leases use the monotonic clock (a jump of the wall clock ends no lease); delays and timestamps use
// wall time, because they must mean the same after a restart. Pure code takes times as arguments instead.
#pragma once

#include <chrono>
#include <cstdint>

namespace millrace {

inline uint64_t monotonicNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}
inline uint64_t monotonicMs() { return monotonicNs() / 1'000'000; }

// Milliseconds since the Unix epoch.
inline uint64_t wallMs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace millrace
