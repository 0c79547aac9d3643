// What the classes of one broker share. It decides nothing: the log, the two stores of messages, the clock,
// and whether the broker is still open.
//
// Threads: any, once open() has set the log.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "engine/options.h"
#include "engine/store.h"
#include "ledger/ledger.h"
#include "log/log.h"

namespace millrace::engine {

struct Context {
  explicit Context(const BrokerOptions& broker_options) : options(broker_options) {}

  BrokerOptions options;          // an existing store's segment size counts; final when the broker is open
  std::unique_ptr<log::Log> log;  // null: memory only
  HeapStore heap_store;
  LogStore log_store{log};
  std::atomic<bool> closed{false};

  ledger::Now now() const { return options.clock ? options.clock() : ledger::Now{monotonicMs(), wallMs()}; }
  bool isClosed() const { return closed.load(std::memory_order_acquire); }
  bool hasFailed() const { return log != nullptr && log->failed(); }
  uint64_t committedThrough() const { return log ? log->committedThrough() : UINT64_MAX; }

  Status checkOpen() const { return isClosed() ? Status(Code::kClosed, "the broker is closed") : Status(); }
  // Why the log took nothing.
  Status whyRefused() const {
    if (hasFailed()) return Status(Code::kStoreFailed, "the store refuses writes");
    return Status(Code::kClosed, "the broker is closed");
  }
};

}  // namespace millrace::engine
