// How the engine reaches an environment's event loop without knowing that there is one.
#pragma once

namespace millrace::engine {

class Port {
 public:
  virtual ~Port() = default;
  // Any thread. Makes the environment look at its sessions soon; many calls before it does cost one wake-up.
  // After the environment is gone it does nothing.
  virtual void wake() = 0;
};

}  // namespace millrace::engine
