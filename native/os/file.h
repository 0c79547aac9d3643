// The operating system as the log sees it: one directory of flat files. posix_file.cc is the only place of
// the project that makes these system calls; tests put a simulated disk behind the same interface, with power
// cuts and injected faults.
//
// Threads: a Directory and a File may be used by any thread; two threads never write the same range at once
// (the log's own rule). Every call may block; none is made on a JavaScript thread except Mapping::copyOut,
// the open and map of a segment that is not mapped, and the 32-byte write of the delivery journal, all of
// which end in the page cache.
//
// A call that fails for want of space, descriptors or memory says so (Status::isPassing), but for a sync.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace::os {

// A file mapped for reading. A page that cannot be read (a file truncated by someone else, a failing disk)
// gives kIo, never a signal.
class Mapping {
 public:
  virtual ~Mapping() = default;
  virtual Status copyOut(uint64_t offset, MutableBytes out) const = 0;
  virtual uint64_t size() const = 0;
};

class File {
 public:
  virtual ~File() = default;
  // Reads exactly out.size() bytes; past the end of the file is kIo.
  virtual Status read(uint64_t offset, MutableBytes out) = 0;
  // Writes all of `data` (short writes and EINTR are continued inside). On failure any part may be written.
  virtual Status write(uint64_t offset, Bytes data) = 0;
  // fdatasync. After a failure nothing may be assumed of anything written since the last success, and it is
  // never called again on this file (P8).
  virtual Status sync() = 0;
  virtual Result<uint64_t> size() = 0;
  virtual Status truncate(uint64_t bytes) = 0;
  virtual Result<std::unique_ptr<Mapping>> map(uint64_t bytes) = 0;
  // Tells this file from any other of the directory (its inode).
  virtual Result<uint64_t> number() = 0;
};

class Directory {
 public:
  virtual ~Directory() = default;
  // Names are plain file names of the log's own making, never user input and never with a separator.
  virtual Result<std::unique_ptr<File>> open(const std::string& name) = 0;    // read and write, must exist
  virtual Result<std::unique_ptr<File>> create(const std::string& name) = 0;  // must not exist, mode 0600
  virtual Result<std::vector<std::string>> list() = 0;                        // regular files only
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& name) = 0;
  // Makes create, rename and remove durable.
  virtual Status sync() = 0;
  // Takes the exclusive lock (released when the Directory is destroyed); kStoreLocked if somebody has it.
  virtual Status lock() = 0;
  // Gives the lock back while the Directory lives on for readers; nothing may be written through it any more.
  // Not in a child made by fork: it would free its parent's store.
  virtual void unlock() = 0;
  virtual bool exists(const std::string& name) = 0;
  // Number of the file that has this name now, if there is one.
  virtual Result<std::optional<uint64_t>> numberOf(const std::string& name) = 0;
  // kIo when the directory was deleted, or moved away from where it was opened.
  virtual Status checkInPlace() = 0;
};

// Opens `path`, creating it and its missing parents with mode 0700 when `create`. Symbolic links to the last
// component are refused.
Result<std::unique_ptr<Directory>> openDirectory(const std::string& path, bool create);

}  // namespace millrace::os
