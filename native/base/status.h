// Outcome of an operation that can fail. No exceptions are used anywhere below the addon.
//
// Code is the one list of error codes of the project: the addon exports it and TypeScript takes its
// union of codes from there, so a code is spelled once. Expected outcomes of an algorithm (empty, full,
// torn) are results of the function that has them, not codes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace millrace {

enum class Code : unsigned char {
  kOk = 0,
  kClosed,           // the broker, queue, consumer or ring was closed
  kStoreLocked,      // another opener holds the directory
  kStoreFailed,      // an earlier write or sync failed; the store refuses writes until it is reopened
  kDiskFull,         // no space for new messages; ack, nack and purge still work
  kCorrupt,          // damage below the last synced point
  kIncompatible,     // written by another format version, or not a store at all
  kIo,               // the operating system refused: detail has the call and errno
  kLeaseLost,        // the delivery is no longer leased to the caller
  kMessageTooLarge,  // body and headers exceed the limit
  kQueueFull,        // capacity reached
  kQueueNotFound,    // no queue of that id
  kBrokerNotFound,   // the handle names no broker that is open in this process
  kInvalidArgument,  // wrong type or form (TypeError in JavaScript)
  kOutOfRange,       // right type, impossible value (RangeError in JavaScript)
  kForked,           // used in a child made by fork without exec
  kLimit,  // a stated limit of the store was reached (queues, segments), or the process has no descriptor,
           // memory or thread to give
  kCount
};

// The stable name of a code as users see it, for example "STORE_LOCKED".
std::string_view codeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string detail) : code_(code), detail_(std::move(detail)) {}
  // A failed system call: detail becomes "what: strerror(error)"; ENOSPC and EDQUOT become kDiskFull, EMFILE,
  // ENFILE and ENOMEM kLimit. A failed sync is none of these, whatever its errno (P8): see failedSync.
  static Status fromErrno(std::string_view what, int error);

  // What a failed fsync or fdatasync is, always kIo.
  static Status failedSync(std::string_view what, int error);

  bool ok() const { return code_ == Code::kOk; }
  // No space, no descriptor or no memory: nothing is broken, and the same call may succeed later. Everything
  // else that a write or a sync can meet is final (P8). The one place that tells them apart.
  bool isPassing() const { return code_ == Code::kDiskFull || code_ == Code::kLimit; }
  Code code() const { return code_; }
  const std::string& detail() const { return detail_; }
  std::string toString() const;

 private:
  Code code_ = Code::kOk;
  std::string detail_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}

  bool ok() const { return state_.index() == 0; }
  T& value() { return *std::get_if<0>(&state_); }
  const T& value() const { return *std::get_if<0>(&state_); }
  T take() { return std::move(*std::get_if<0>(&state_)); }
  Status status() const { return ok() ? Status() : *std::get_if<1>(&state_); }

 private:
  std::variant<T, Status> state_;
};

#define MILLRACE_RETURN_IF_ERROR(expression)          \
  do {                                                \
    ::millrace::Status status_of_call = (expression); \
    if (!status_of_call.ok()) return status_of_call;  \
  } while (false)

}  // namespace millrace
