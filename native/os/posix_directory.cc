// The lock is flock on the directory itself: there is no lock file that somebody could delete under its
// holder, the kernel drops it when the process dies however it dies, and two Directory objects conflict even
// inside one process, because each has its own open file description. No destructor unlocks it: a child made
// by fork shares the description, and its LOCK_UN would free the parent's store. So the lock ends with
// unlock(), which a child must not call, or when the last copy of the descriptor is closed; O_CLOEXEC closes
// a child's copy at exec, and a child that never execs keeps the store locked for as long as it lives, but
// must not use it (kForked).
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/check.h"
#include "base/mutex.h"
#include "os/posix_file.h"

namespace millrace::os {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;

int openRetrying(int directory, const char* path, int flags, mode_t mode = 0) {
  for (;;) {
    const int fd = ::openat(directory, path, flags | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

bool isPlainName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

class PosixDirectory final : public Directory {
 public:
  PosixDirectory(Descriptor descriptor, std::string path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)), place_(absolute(path_)) {}

  Result<std::unique_ptr<File>> open(const std::string& name) override {
    MILLRACE_CHECK(isPlainName(name));
    const std::string path = pathOf(name);
    // NONBLOCK and NOCTTY: something else than a file put there must neither hang us nor become our terminal.
    Descriptor file(
        openRetrying(descriptor_.get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    if (!file.isOpen()) return failedCall("open", path, errno);
    struct stat state {};
    if (::fstat(file.get(), &state) != 0) return failedCall("fstat", path, errno);
    if (!S_ISREG(state.st_mode)) return Status(Code::kIo, "open " + path + ": not a regular file");
    return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(file), path));
  }

  Result<std::unique_ptr<File>> create(const std::string& name) override {
    MILLRACE_CHECK(isPlainName(name));
    const std::string path = pathOf(name);
    Descriptor file(
        openRetrying(descriptor_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode));
    if (!file.isOpen()) return failedCall("create", path, errno);
    // A umask may have taken bits away, and a file that its owner cannot open again is a lost store.
    if (::fchmod(file.get(), kFileMode) != 0) {
      const int error = errno;
      ::unlinkat(descriptor_.get(), name.c_str(), 0);
      return failedCall("fchmod", path, error);
    }
    return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(file), path));
  }

  // Sorted, so that what a caller does with the names does not depend on the file system.
  Result<std::vector<std::string>> list() override {
    // A description of its own: two threads may list at once.
    Descriptor own(openRetrying(descriptor_.get(), ".", O_RDONLY | O_DIRECTORY));
    if (!own.isOpen()) return failedCall("open", path_, errno);
    DIR* stream = ::fdopendir(own.get());
    if (stream == nullptr) return failedCall("fdopendir", path_, errno);
    own.release();  // closedir closes it
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream)) {
      if (isRegular(*entry)) names.emplace_back(entry->d_name);
      errno = 0;  // readdir tells its end from an error by errno alone
    }
    const int error = errno;
    ::closedir(stream);
    if (error != 0) return failedCall("readdir", path_, error);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status rename(const std::string& from, const std::string& to) override {
    MILLRACE_CHECK(isPlainName(from) && isPlainName(to));
    if (::renameat(descriptor_.get(), from.c_str(), descriptor_.get(), to.c_str()) == 0) return Status();
    const int error = errno;
    return failedCall("rename", pathOf(from) + " to " + to, error);
  }

  Status remove(const std::string& name) override {
    MILLRACE_CHECK(isPlainName(name));
    if (::unlinkat(descriptor_.get(), name.c_str(), 0) == 0) return Status();
    const int error = errno;
    return failedCall("unlink", pathOf(name), error);
  }

  Status sync() override {
    checkMayWait("a sync");
    const int earlier = sync_error_.load(std::memory_order_relaxed);  // as in PosixFile::sync
    if (earlier != 0) return failedSync("fsync (failed before, never repeated)", path_, earlier);
    if (::fsync(descriptor_.get()) == 0) return Status();
    const int error = errno;
    sync_error_.store(error, std::memory_order_relaxed);
    return failedSync("fsync", path_, error);
  }

  Status lock() override {
    while (::flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) return Status(Code::kStoreLocked, path_ + " is open elsewhere");
      return failedCall("flock", path_, errno);
    }
    return Status();
  }

  void unlock() override { (void)::flock(descriptor_.get(), LOCK_UN); }

  bool exists(const std::string& name) override {
    MILLRACE_CHECK(isPlainName(name));
    struct stat state {};
    return ::fstatat(descriptor_.get(), name.c_str(), &state, AT_SYMLINK_NOFOLLOW) == 0;
  }

  Result<std::optional<uint64_t>> numberOf(const std::string& name) override {
    MILLRACE_CHECK(isPlainName(name));
    struct stat state {};
    if (::fstatat(descriptor_.get(), name.c_str(), &state, AT_SYMLINK_NOFOLLOW) != 0) {
      const int error = errno;
      if (error == ENOENT || error == ENOTDIR) return std::optional<uint64_t>();
      return failedCall("stat", pathOf(name), error);
    }
    return std::optional<uint64_t>(state.st_ino);
  }

  // A path that cannot be looked at for another reason (a right that was taken away) proves nothing.
  Status checkInPlace() override {
    struct stat own {};
    struct stat there {};
    if (::fstat(descriptor_.get(), &own) != 0) return failedCall("fstat", path_, errno);
    const bool seen = !place_.empty() && ::lstat(place_.c_str(), &there) == 0;
    const bool gone = !place_.empty() && !seen && (errno == ENOENT || errno == ENOTDIR);
    const bool another = seen && (there.st_ino != own.st_ino || there.st_dev != own.st_dev);
    if (own.st_nlink != 0 && !gone && !another) return Status();
    return Status(Code::kIo, "the directory " + path_ + " was deleted or moved away while it was open");
  }

 private:
  // Where it is, whatever working directory or symbolic link led there; empty if that cannot be told.
  static std::string absolute(const std::string& path) {
    char* resolved = ::realpath(path.c_str(), nullptr);
    if (resolved == nullptr) return "";
    std::string place(resolved);
    std::free(resolved);
    return place;
  }

  std::string pathOf(const std::string& name) const { return path_ + "/" + name; }

  bool isRegular(const dirent& entry) const {
    if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_REG;
    struct stat state {};
    return ::fstatat(descriptor_.get(), entry.d_name, &state, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(state.st_mode);
  }

  Descriptor descriptor_;
  const std::string path_;
  const std::string place_;
  std::atomic<int> sync_error_{0};
};

// "a/b/" and "a/b/." name what "a/b" names, but would follow a symbolic link there.
std::string withoutTrailingSlashes(std::string path) {
  for (;;) {
    if (path.size() > 1 && path.back() == '/') {
      path.pop_back();
    } else if (path.size() > 2 && path.ends_with("/.")) {
      path.resize(path.size() - 2);
    } else {
      return path;
    }
  }
}

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : withoutTrailingSlashes(path.substr(0, slash));
}

Status syncPath(const std::string& path) {
  Descriptor directory(openRetrying(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY));
  if (!directory.isOpen()) return failedCall("open", path, errno);
  if (::fsync(directory.get()) != 0) return failedSync("fsync", path, errno);
  return Status();
}

// A power cut after this leaves the directory in place: without the parent's sync it could take away a whole
// store whose every record was synced.
Status makeDirectory(const std::string& path) {
  int made = ::mkdir(path.c_str(), kDirectoryMode);
  const std::string parent = parentOf(path);
  if (made != 0 && errno == ENOENT && parent != path && !path.empty()) {
    MILLRACE_RETURN_IF_ERROR(makeDirectory(parent));
    made = ::mkdir(path.c_str(), kDirectoryMode);
  }
  if (made != 0) {
    if (errno == EEXIST) return Status();  // somebody was faster, or the open will tell what it is
    return failedCall("mkdir", path, errno);
  }
  if (::chmod(path.c_str(), kDirectoryMode) != 0) return failedCall("chmod", path, errno);  // under any umask
  return syncPath(parent);
}

}  // namespace

Result<std::unique_ptr<Directory>> openDirectory(const std::string& path, bool create) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return Status(Code::kInvalidArgument, "a directory path is neither empty nor holds a NUL");
  }
  const std::string plain = withoutTrailingSlashes(path);
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  Descriptor directory(openRetrying(AT_FDCWD, plain.c_str(), kFlags));
  if (!directory.isOpen() && errno == ENOENT && create) {
    MILLRACE_RETURN_IF_ERROR(makeDirectory(plain));
    directory = Descriptor(openRetrying(AT_FDCWD, plain.c_str(), kFlags));
  }
  if (!directory.isOpen()) {
    const int error = errno;
    struct stat state {};
    if (::lstat(plain.c_str(), &state) == 0 && S_ISLNK(state.st_mode)) {
      return Status(Code::kIo,
                    "open directory " + plain + ": it is a symbolic link; give the directory itself");
    }
    return failedCall("open directory", plain, error);
  }
  return std::unique_ptr<Directory>(std::make_unique<PosixDirectory>(std::move(directory), plain));
}

}  // namespace millrace::os
