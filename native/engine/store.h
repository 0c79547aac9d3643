// Where the records of a queue's messages lie: in the log or on the heap. A ref stays readable while it is
// pinned; a queue pins each of its messages once from commit to settlement, and a reader pins once more.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "log/log.h"

namespace millrace::engine {

using Ref = uint64_t;

class MessageStore {
 public:
  virtual ~MessageStore() = default;
  virtual void pin(Ref ref, uint32_t bytes) = 0;
  virtual void unpin(Ref ref, uint32_t bytes) = 0;
  // Pins of both are counted together: one of `a` with the bytes of both stands for them.
  virtual bool countsTogether(Ref a, Ref b) const = 0;
  virtual Status read(Ref ref, MutableBytes out) const = 0;
  virtual std::string placeOf(Ref ref) const = 0;  // for errors
};

class LogStore final : public MessageStore {
 public:
  // Queues are recovered, and need their store, before the log is there: it is looked up at each use.
  explicit LogStore(const std::unique_ptr<log::Log>& log) : log_(log) {}
  void pin(Ref ref, uint32_t bytes) override { log_->retain(ref, bytes); }
  void unpin(Ref ref, uint32_t bytes) override { log_->release(ref, bytes); }
  bool countsTogether(Ref a, Ref b) const override { return log::inOneSegment(a, b); }
  Status read(Ref ref, MutableBytes out) const override { return log_->read(ref, out); }
  std::string placeOf(Ref ref) const override { return log::placeOf(ref); }

 private:
  const std::unique_ptr<log::Log>& log_;
};

// Records on the heap, each with a count of its pins. A ref is the address: user-space addresses fit in 48
// bits.
class HeapStore final : public MessageStore {
 public:
  // Copies `record` as message `seq` of its queue; the returned ref is pinned once. 0: out of memory.
  Ref add(Bytes record, uint64_t seq);
  void pin(Ref ref, uint32_t bytes) override;
  void unpin(Ref ref, uint32_t bytes) override;
  bool countsTogether(Ref, Ref) const override { return false; }
  Status read(Ref ref, MutableBytes out) const override;
  std::string placeOf(Ref) const override { return "memory"; }
};

}  // namespace millrace::engine
