// The descriptors of the store's segments. A backlog may have tens of thousands of segment files and a
// process may open a thousand files: so a segment is open while it is written, and for the rest opened when
// it is needed and closed again when others are.
//
// Invariants
//  O1 At most kOpenMax files are open that nobody holds.
//  O2 What was written through a file is synced before it is closed: the kernel tells of a write that failed
//     behind the writer's back only to those who have the file open.
//
// Threads: one (recovery, then the janitor). But a file that is held may be used by one other thread as well,
// as long as it is held (the committer: prepared and active segments).
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "os/file.h"

namespace millrace::log {

// Whether `file`, the one of that number, or any file without a number, is what `name` leads to. kIo that
// says so if somebody deleted, moved or replaced it under the open store: what is written to it is written
// for nobody. A look that failed itself proves nothing and gives its own cause.
Status checkNamed(os::Directory& directory, const std::string& name, std::optional<uint64_t> number);
Status checkNamed(os::Directory& directory, const std::string& name, os::File& file);

class OpenFiles {
 public:
  static constexpr size_t kOpenMax = 16;

  class Lent;
  explicit OpenFiles(os::Directory& directory) : directory_(directory) {}
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;

  // A file of the directory that is not open yet; every call on it opens it if need be, and fails as open()
  // does. This object outlives it.
  std::unique_ptr<Lent> lend(const std::string& name);
  // The same for one that was just created, which is held.
  std::unique_ptr<Lent> adopt(const std::string& name, std::unique_ptr<os::File> file);

  class Lent final : public os::File {
   public:
    Lent(OpenFiles& files, std::string name) : files_(files), name_(std::move(name)) {}
    ~Lent() override;
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    // Opens it, and keeps it open until release().
    Status hold();
    // Closes others that are too many, which may have to be synced before.
    Status release();
    bool isHeld() const { return held_; }

    Status read(uint64_t offset, MutableBytes out) override;
    Status write(uint64_t offset, Bytes data) override;
    Status sync() override;
    Result<uint64_t> size() override;
    Status truncate(uint64_t bytes) override;
    Result<std::unique_ptr<os::Mapping>> map(uint64_t bytes) override;
    Result<uint64_t> number() override;

   private:
    friend class OpenFiles;
    OpenFiles& files_;
    const std::string name_;
    std::unique_ptr<os::File> open_;
    bool held_ = false;
    std::atomic<bool> unsynced_{false};  // O2
  };

 private:
  Status open(Lent& file);
  Status closeOthers(const Lent& but);  // O1

  os::Directory& directory_;
  std::list<Lent*> idle_;  // open and not held, the one used last in front
};

}  // namespace millrace::log
