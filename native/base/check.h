// Internal invariants. A failed check is a defect in this code, never a reaction to input: bytes from a
// disk, a shared ring or JavaScript are validated and answered with a Status. node-gyp's release builds
// do not define NDEBUG consistently, so assert() is not used.
#pragma once

#include <cstdio>
#include <cstdlib>

#define MILLRACE_CHECK(condition)                                                                       \
  do {                                                                                                  \
    if (!(condition)) [[unlikely]] {                                                                    \
      std::fprintf(stderr, "millrace: invariant broken: %s (%s:%d)\n", #condition, __FILE__, __LINE__); \
      std::abort();                                                                                     \
    }                                                                                                   \
  } while (false)
