// Numbers from JavaScript. All are doubles, and a double may be anything: no other code casts one to an
// integer, which is undefined for NaN and for what does not fit.
#pragma once

#include <cstdint>

namespace millrace {

// What a double holds exactly.
constexpr uint64_t kWholeNumberMax = (uint64_t{1} << 53) - 1;

// Towards zero, clamped to 0 ... kWholeNumberMax; NaN is 0.
constexpr uint64_t wholeNumber(double value) {
  if (!(value > 0)) return 0;
  if (value >= static_cast<double>(kWholeNumberMax)) return kWholeNumberMax;
  return static_cast<uint64_t>(value);
}

}  // namespace millrace
