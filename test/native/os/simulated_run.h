// Verbs for the tests of the simulated disk: files made of one letter per sector, and what cuts leave of
// them.
#pragma once

#include <set>
#include <string>

#include "harness/test.h"
#include "support/simulated_disk.h"

namespace millrace::test {

inline std::unique_ptr<os::File> created(os::Directory& directory, const std::string& name) {
  auto file = directory.create(name);
  CHECK_OK(file.status());
  return file.take();
}

inline const std::string kAbsent = "absent";

// The whole file, or "absent".
inline std::string contentOf(SimulatedDisk& disk, const std::string& name) {
  auto file = disk.directory()->open(name);
  if (!file.ok()) return kAbsent;
  std::string content(static_cast<size_t>(file.value()->size().take()), '?');
  CHECK_OK(file.value()->read(0, std::as_writable_bytes(std::span(content))));
  return content;
}

inline std::string contentAfterCut(const DiskImage& image, const std::string& name, uint64_t cut_seed,
                                   Cut cut = Cut::kAny) {
  SimulatedDisk after(image.cutPower(cut_seed, cut));
  return contentOf(after, name);
}

inline std::string sectors(const std::string& letters) {
  std::string content;
  for (const char letter : letters) content += std::string(kSectorBytes, letter);
  return content;
}

// The letter of each sector; '.' for zeros. An absent file stays "absent".
inline std::string lettersOf(const std::string& content) {
  if (content == kAbsent) return content;
  std::string letters;
  for (size_t at = 0; at < content.size(); at += kSectorBytes) {
    letters += content[at] == '\0' ? '.' : content[at];
  }
  return letters;
}

inline std::set<std::string> outcomes(const DiskImage& image, const std::string& name, uint64_t cuts = 2000) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < cuts; ++i) seen.insert(lettersOf(contentAfterCut(image, name, seed() + i)));
  return seen;
}

// The listings seen after many cuts, each as "name name ".
inline std::set<std::string> listings(const DiskImage& image) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < 500; ++i) {
    SimulatedDisk after(image.cutPower(seed() + i));
    std::string names;
    for (const std::string& name : after.directory()->list().take()) names += name + " ";
    seen.insert(names);
  }
  return seen;
}

// A disk with one synced file of these sectors.
struct Started {
  explicit Started(const std::string& letters) {
    CHECK_OK(file->write(0, bytesOf(sectors(letters))));
    CHECK_OK(file->sync());
    CHECK_OK(directory->sync());
  }
  void put(uint64_t sector, const std::string& letters) {
    CHECK_OK(file->write(sector * kSectorBytes, bytesOf(sectors(letters))));
  }
  SimulatedDisk disk{seed()};
  std::unique_ptr<os::Directory> directory = disk.directory();
  std::unique_ptr<os::File> file = created(*directory, "file");
};

}  // namespace millrace::test
