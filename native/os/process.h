// The process itself.
#pragma once

namespace millrace::os {

// True in a child made by fork without exec: none of this code's threads runs there and nothing may be used.
// Costs one load, for it is asked in every call from JavaScript (getpid is a system call).
bool isForkedChild();

}  // namespace millrace::os
