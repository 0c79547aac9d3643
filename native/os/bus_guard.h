// Copies out of a mapped file without dying of it: a page that cannot be read (the file was truncated by
// somebody else, the disk failed) raises SIGBUS, which is caught for exactly the bytes being copied.
//
// The handler is process-wide and installed once, at the first mapping; it is never removed (the addon is
// linked with -z nodelete). A SIGBUS that is not ours goes to whoever had the signal before, or to the
// default action. A handler that is installed later and does not chain takes this protection away: then the
// process ends as it would with any mapped file, with no file damaged.
//
// Threads: any; no lock, no allocation.
#pragma once

#include <cstddef>

namespace millrace::os {

// Before the first guardedCopy. Cheap when repeated.
void installBusGuard();

// Copies `bytes` from mapped memory. False: a page could not be read, and any part of `to` may be
// overwritten.
[[nodiscard]] bool guardedCopy(const std::byte* from, std::byte* to, size_t bytes);

}  // namespace millrace::os
