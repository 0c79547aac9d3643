// What only the real file system shows: modes, symbolic links, other processes, limits.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "harness/test.h"
#include "os/file.h"

namespace millrace::os {
namespace {

using test::temporaryDirectory;

std::unique_ptr<Directory> opened(const std::string& path) {
  auto directory = openDirectory(path, true);
  CHECK_OK(directory.status());
  return directory.take();
}

std::unique_ptr<File> created(Directory& directory, const std::string& name) {
  auto file = directory.create(name);
  CHECK_OK(file.status());
  return file.take();
}

mode_t modeOf(const std::string& path) {
  struct stat state {};
  CHECK_EQ(::stat(path.c_str(), &state), 0);
  return state.st_mode & 07777;
}

void modesUnderUmask(mode_t mask) {
  const std::string base = temporaryDirectory();
  const mode_t base_mode = modeOf(base);
  const mode_t before = ::umask(mask);
  auto directory = opened(base + "/a/b/c");
  auto file = created(*directory, "file");
  ::umask(before);
  CHECK_EQ(modeOf(base), base_mode);
  CHECK_EQ(modeOf(base + "/a"), 0700u);
  CHECK_EQ(modeOf(base + "/a/b"), 0700u);
  CHECK_EQ(modeOf(base + "/a/b/c"), 0700u);
  CHECK_EQ(modeOf(base + "/a/b/c/file"), 0600u);
}

}  // namespace

TEST(PosixModesAreExactUnderAnOpenUmask) { modesUnderUmask(0); }
TEST(PosixModesAreExactUnderAClosedUmask) { modesUnderUmask(0777); }

TEST(PosixExistingDirectoryKeepsItsMode) {
  const std::string path = temporaryDirectory();
  CHECK_EQ(::chmod(path.c_str(), 0750), 0);
  auto directory = opened(path + "/");
  CHECK_EQ(modeOf(path), 0750u);
}

TEST(PosixDirectoryIsNotMadeUnlessAsked) {
  const auto directory = openDirectory(temporaryDirectory() + "/absent", false);
  CHECK(directory.status().code() == Code::kIo);
}

TEST(PosixPathComponentThatIsAFileIsAnIoError) {
  const std::string base = temporaryDirectory();
  created(*opened(base), "file");
  CHECK(openDirectory(base + "/file", true).status().code() == Code::kIo);
  CHECK(openDirectory(base + "/file/below", true).status().code() == Code::kIo);
  CHECK(openDirectory("", true).status().code() == Code::kInvalidArgument);
  CHECK(openDirectory(base + std::string("/a\0b", 4), true).status().code() == Code::kInvalidArgument);
}

TEST(PosixErrorsNameTheCallTheFileAndTheReason) {
  const std::string base = temporaryDirectory();
  const Status status = opened(base)->open("absent").status();
  CHECK(status.detail().starts_with("open " + base + "/absent: No such file or directory ("));
  const std::string link = base + "/link";
  CHECK_EQ(::symlink(base.c_str(), link.c_str()), 0);
  const std::string refused = openDirectory(link, true).status().detail();
  CHECK_EQ(refused, "open directory " + link + ": it is a symbolic link; give the directory itself");
}

TEST(PosixUnwritableDirectoryIsAnIoError) {
  const std::string base = temporaryDirectory();
  CHECK_EQ(::chmod(base.c_str(), 0500), 0);
  // Root may write anywhere: try it as nobody. A test runs in a process of its own.
  if (::geteuid() == 0) {
    CHECK_EQ(::chmod(std::filesystem::path(base).parent_path().c_str(), 0755), 0);
    CHECK_EQ(::chown(base.c_str(), 65534, 65534), 0);
    CHECK_EQ(::seteuid(65534), 0);
  }
  CHECK(openDirectory(base + "/below", true).status().code() == Code::kIo);
  CHECK(opened(base)->create("file").status().code() == Code::kIo);
  if (::getuid() == 0) CHECK_EQ(::seteuid(0), 0);
}

TEST(PosixSymbolicLinkToTheDirectoryIsRefused) {
  const std::string base = temporaryDirectory();
  opened(base + "/real");
  std::filesystem::create_directory_symlink(base + "/real", base + "/link");
  std::filesystem::create_directory_symlink(base + "/absent", base + "/dangling");
  for (const char* path : {"/link", "/link/", "/link/.", "/link//./", "/dangling"}) {
    CHECK(openDirectory(base + path, true).status().code() == Code::kIo);
  }
  CHECK_OK(openDirectory(base + "/link/below", true).status());  // only the last component counts
}

TEST(PosixOnlyRegularFilesAreOpenedAndListed) {
  const std::string base = temporaryDirectory();
  auto directory = opened(base);
  created(*directory, "file");
  std::filesystem::create_symlink("file", base + "/link");
  CHECK_EQ(::mkfifo((base + "/pipe").c_str(), 0600), 0);
  opened(base + "/folder");
  for (const char* name : {"link", "pipe", "folder"}) {
    CHECK(directory->open(name).status().code() == Code::kIo);
    CHECK(directory->create(name).status().code() == Code::kIo);
  }
  auto names = directory->list();
  CHECK_OK(names.status());
  CHECK(names.value() == std::vector<std::string>{"file"});
}

TEST(PosixDescriptorsAreClosedOnExec) {
  std::vector<int> inherited;
  for (int fd = 0; fd < 256; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) inherited.push_back(fd);
  }
  auto directory = opened(temporaryDirectory());
  auto file = created(*directory, "file");
  auto again = directory->open("file");
  CHECK_OK(again.status());
  int seen = 0;
  for (int fd = 0; fd < 256; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 || std::count(inherited.begin(), inherited.end(), fd) > 0) continue;
    ++seen;
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK_EQ(seen, 3);
}

TEST(PosixLockEndsWithAKilledHolder) {
  const std::string path = temporaryDirectory();
  int ready[2];
  CHECK_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto directory = openDirectory(path, true);
    const char ok = directory.ok() && directory.value()->lock().ok() ? 1 : 0;
    if (::write(ready[1], &ok, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char locked = 0;
  CHECK_EQ(::read(ready[0], &locked, 1), 1);
  CHECK_EQ(locked, 1);
  auto directory = opened(path);
  CHECK(directory->lock().code() == Code::kStoreLocked);
  CHECK_EQ(::kill(child, SIGKILL), 0);
  CHECK_EQ(::waitpid(child, nullptr, 0), child);
  CHECK_OK(directory->lock());
}

TEST(PosixForkedChildCannotFreeTheLock) {
  const std::string path = temporaryDirectory();
  auto directory = opened(path);
  CHECK_OK(directory->lock());
  const pid_t child = ::fork();
  if (child == 0) {
    directory.reset();
    ::_exit(0);
  }
  CHECK_EQ(::waitpid(child, nullptr, 0), child);
  CHECK(opened(path)->lock().code() == Code::kStoreLocked);
}

// A limit on file sizes is the one way to get a short count from a local file system: the first pwrite ends
// at the limit, and only the second says why.
TEST(PosixShortWriteIsContinuedUntilItSucceedsOrFails) {
  ::signal(SIGXFSZ, SIG_IGN);
  const std::string base = temporaryDirectory();
  auto file = created(*opened(base), "file");
  const struct rlimit limit { 100'000, RLIM_INFINITY };
  CHECK_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::vector<std::byte> data(1 << 20, std::byte{3});
  const Status status = file->write(0, data);
  CHECK(status.code() == Code::kIo);
  CHECK_EQ(status.detail(), "pwrite " + base + "/file: File too large (EFBIG)");
  CHECK_EQ(file->size().take(), 100'000u);
}

TEST(PosixDirectoryThatWasDeletedOrMovedAwayIsNotInPlace) {
  const std::string base = temporaryDirectory();
  for (const bool deleted : {true, false}) {
    const std::string path = base + (deleted ? "/one" : "/two");
    auto directory = openDirectory(path + "/store", true).take();
    CHECK_OK(directory->checkInPlace());
    if (deleted) CHECK_EQ(::rmdir((path + "/store").c_str()), 0);
    if (!deleted) CHECK_EQ(::rename(path.c_str(), (path + "-moved").c_str()), 0);  // or one above it
    CHECK(directory->checkInPlace().code() == Code::kIo);
    auto another = openDirectory(path + "/store", true).take();
    CHECK(directory->checkInPlace().code() == Code::kIo);
    CHECK_OK(another->checkInPlace());
  }
}

TEST(PosixFullDiskIsDiskFullAndEndsWhenSpaceReturns) {
  const std::string base = temporaryDirectory();
  if (::geteuid() != 0 || ::mount("tmpfs", base.c_str(), "tmpfs", 0, "size=256k") != 0) {
    std::fprintf(stderr, "  SKIPPED: a small tmpfs can only be mounted by root\n");
    return;
  }
  Status refused;
  Status after_removal;
  {
    auto directory = opened(base);
    auto ballast = created(*directory, "ballast");
    const std::vector<std::byte> data(128 << 10, std::byte{1});
    CHECK_OK(ballast->write(0, data));
    auto file = created(*directory, "file");
    for (uint64_t i = 0; i < 4 && refused.ok(); ++i) refused = file->write(i * data.size(), data);
    ballast.reset();
    CHECK_OK(directory->remove("ballast"));
    after_removal = file->write(0, data);
  }
  CHECK_EQ(::umount(base.c_str()), 0);
  CHECK(refused.code() == Code::kDiskFull);
  CHECK_OK(after_removal);
}

}  // namespace millrace::os
