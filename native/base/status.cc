#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace millrace {

namespace {

// "No such file or directory (ENOENT)": words for people, and the name that they will search for.
std::string describe(int error) {
  std::string text = std::strerror(error);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
  if (const char* name = ::strerrorname_np(error)) text += std::string(" (") + name + ")";
#else
  text += " (errno " + std::to_string(error) + ")";
#endif
  return text;
}

}  // namespace

std::string_view codeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kClosed:
      return "CLOSED";
    case Code::kStoreLocked:
      return "STORE_LOCKED";
    case Code::kStoreFailed:
      return "STORE_FAILED";
    case Code::kDiskFull:
      return "DISK_FULL";
    case Code::kCorrupt:
      return "CORRUPT";
    case Code::kIncompatible:
      return "INCOMPATIBLE";
    case Code::kIo:
      return "IO_ERROR";
    case Code::kLeaseLost:
      return "LEASE_LOST";
    case Code::kMessageTooLarge:
      return "MESSAGE_TOO_LARGE";
    case Code::kQueueFull:
      return "QUEUE_FULL";
    case Code::kQueueNotFound:
      return "QUEUE_NOT_FOUND";
    case Code::kBrokerNotFound:
      return "BROKER_NOT_FOUND";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kOutOfRange:
      return "OUT_OF_RANGE";
    case Code::kForked:
      return "FORKED";
    case Code::kLimit:
      return "LIMIT_REACHED";
    case Code::kCount:
      break;
  }
  return "UNKNOWN";
}

Status Status::fromErrno(std::string_view what, int error) {
  Status failed = failedSync(what, error);
  if (error == ENOSPC || error == EDQUOT) failed.code_ = Code::kDiskFull;
  if (error == EMFILE || error == ENFILE || error == ENOMEM) failed.code_ = Code::kLimit;
  return failed;
}

Status Status::failedSync(std::string_view what, int error) {
  std::string detail(what);
  detail += ": ";
  detail += describe(error);
  return Status(Code::kIo, std::move(detail));
}

std::string Status::toString() const {
  std::string text(codeName(code_));
  if (!detail_.empty()) {
    text += ": ";
    text += detail_;
  }
  return text;
}

}  // namespace millrace
