// A disk in memory behind the interfaces of os/file.h, for tests of what must survive: power cuts, kills,
// full disks and failing calls.
//
//   SimulatedDisk disk(seed);
//   ... run the store on disk.directory() ...
//   SimulatedDisk after(disk.cutPower(seed));        // or of an image taken at any step:
//   image.cutPower(seed)
//   ... open the store on after.directory() and check what it must still hold ...
//
// What is certain after a power cut: sectors (512 bytes) written before a File::sync that returned ok, the
// file's size at that moment, and directory changes before a Directory::sync that returned ok. Syncing a file
// does not make its directory entry certain. Nothing else is: each other sector is old or new by itself, and
// size and entries may be ahead of or behind the data.
//
// A disk never changes another: old objects may go on using the old disk after its image was cut.
//
// Threads: any. One mutex; hooks run outside it, on the thread that makes the call.
#pragma once

#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "os/file.h"
#include "support/disk_image.h"

namespace millrace::test {

enum class Call : uint8_t {
  kOpen,
  kCreate,
  kList,
  kRename,
  kRemove,
  kDirectorySync,
  kRead,
  kWrite,
  kSync,
  kTruncate,
  kMap,
  kMappedRead,
  kStat,
  kCount,
};

// Fails the `nth` call of its kind, counted from 1 at the time of inject().
struct Fault {
  Call call = Call::kWrite;
  uint64_t nth = 1;
  int error = EIO;          // some give kDiskFull or kLimit, but for a sync (Status::fromErrno)
  bool persistent = false;  // that call and every later one
  std::string name = {};    // only calls on files whose name contains this
};

enum class Moment : uint8_t {
  kBeforeWrite,
  kBeforeTruncate,
  kBeforeSync,
  kAfterSync,  // after a sync that succeeded: what it covers is certain now
  kBeforeDirectoryChange,
  kBeforeDirectorySync,
  kAfterDirectorySync,  // likewise
};
using Hook = std::function<void(Moment moment, const std::string& name)>;

class SimulatedDisk {
 public:
  // The seed decides how much of a failing write is written, and what writeBackSome and dropCaches choose.
  explicit SimulatedDisk(uint64_t seed = 1);
  // A disk that starts as `image`. Without cutPower first this is a restart after SIGKILL: everything written
  // is still there, and what was not synced is still not certain.
  explicit SimulatedDisk(const DiskImage& image, uint64_t seed = 1);

  // Each call is another opener: their locks conflict.
  std::unique_ptr<os::Directory> directory();

  DiskImage image() const;
  DiskImage cutPower(uint64_t seed, Cut cut = Cut::kAny) const { return image().cutPower(seed, cut); }
  SimulatedDisk reopenAfterKill(uint64_t seed = 1) const { return SimulatedDisk(image(), seed); }

  // A failing write leaves a random part of its bytes written; a failing sync leaves its sectors in doubt for
  // good; any other failing call does nothing. A sync that failed is not repeated on the same object: it
  // fails again by itself.
  void inject(const Fault& fault);
  void clearFaults();
  // Calls made so far, failed ones included: a test can run once, then fail each of them in turn.
  uint64_t calls(Call call) const;
  // Open and mapped now, by all who use the disk.
  size_t openFiles() const;
  size_t mappings() const;

  // Files' sizes, rounded up to 4 KiB each, may not exceed this in sum; a write that does is cut short. Space
  // is free again at remove and truncate. Existing files may already be above it.
  void setCapacity(uint64_t bytes);
  // From now on bytes that are written over others need free pages until they are written.
  void copyOnWrite();
  // Somebody moves the whole directory away: those who have it open keep it.
  void moveAway();
  uint64_t usedBytes() const;

  // What the kernel may do at any time: write some unsynced sectors to the disk, which then cannot fall back
  // to an older content; read sectors whose sync failed from the disk again.
  void writeBackSome();
  void dropCaches();

  // Called at every moment listed above, by any thread that uses the disk; empty to end it. It may call
  // image().
  void setHook(Hook hook);

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace millrace::test
