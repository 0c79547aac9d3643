// What both implementations of os/file.h promise, checked on each of them.
#include <algorithm>
#include <functional>

#include "harness/test.h"
#include "os/file.h"
#include "support/simulated_disk.h"

namespace millrace::os {
namespace {

// Opens the same directory again at every call, as another process would.
using OpenDirectory = std::function<std::unique_ptr<Directory>()>;

OpenDirectory onPosix() {
  return [path = test::temporaryDirectory() + "/store"] {
    auto directory = openDirectory(path, true);
    CHECK_OK(directory.status());
    return directory.take();
  };
}

OpenDirectory onSimulatedDisk() {
  return [disk = std::make_shared<test::SimulatedDisk>()] { return disk->directory(); };
}

std::unique_ptr<File> created(Directory& directory, const std::string& name) {
  auto file = directory.create(name);
  CHECK_OK(file.status());
  return file.take();
}

std::unique_ptr<File> opened(Directory& directory, const std::string& name) {
  auto file = directory.open(name);
  CHECK_OK(file.status());
  return file.take();
}

uint64_t sizeOf(File& file) {
  auto size = file.size();
  CHECK_OK(size.status());
  return size.value();
}

std::string textAt(File& file, uint64_t offset, size_t size) {
  std::string text(size, '?');
  CHECK_OK(file.read(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

std::string textAt(const Mapping& mapping, uint64_t offset, size_t size) {
  std::string text(size, '?');
  CHECK_OK(mapping.copyOut(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

std::vector<std::string> namesIn(Directory& directory) {
  auto names = directory.list();
  CHECK_OK(names.status());
  return names.take();
}

using Names = std::vector<std::string>;

}  // namespace

// One body, two tests: a macro, because the harness registers functions by name.
#define TEST_BOTH(name)                                     \
  static void both_##name(const OpenDirectory& open);       \
  TEST(Posix##name) { both_##name(onPosix()); }             \
  TEST(Simulated##name) { both_##name(onSimulatedDisk()); } \
  static void both_##name(const OpenDirectory& open)

TEST_BOTH(WrittenBytesAreRead) {
  auto directory = open();
  auto file = created(*directory, "file");
  CHECK_EQ(sizeOf(*file), 0u);
  CHECK_OK(file->write(3, bytesOf("hello")));
  CHECK_OK(file->write(5, bytesOf("L")));
  CHECK_EQ(textAt(*file, 0, 8), std::string("\0\0\0heLlo", 8));
  CHECK_OK(file->write(8190, bytesOf("across pages")));
  CHECK_EQ(textAt(*opened(*directory, "file"), 8190, 12), "across pages");
  CHECK_EQ(sizeOf(*file), 8202u);
  CHECK_OK(file->sync());
  CHECK_EQ(textAt(*file, 5, 3), "Llo");
}

TEST_BOTH(FileThatWasDeletedOrReplacedIsNotTheOneOfItsName) {
  auto directory = open();
  auto file = created(*directory, "file");
  const auto named = [&] { return open()->numberOf("file"); };
  CHECK_EQ(*named().value(), file->number().value());
  CHECK_OK(directory->checkInPlace());
  CHECK_OK(directory->rename("file", "elsewhere"));
  CHECK_OK(named().status());
  CHECK(!named().value());
  auto other = created(*directory, "file");
  CHECK_EQ(*named().value(), other->number().value());
  CHECK(*named().value() != file->number().value());
}

TEST_BOTH(ReadPastTheEndIsAnIoError) {
  auto file = created(*open(), "file");
  CHECK_OK(file->write(0, bytesOf("12345678")));
  std::byte out[8];
  CHECK(file->read(1, out).code() == Code::kIo);
  CHECK(file->read(8, MutableBytes(out).first(1)).code() == Code::kIo);
  CHECK(file->read(1ull << 62, out).code() == Code::kIo);
  CHECK(file->read(~0ull, out).code() == Code::kIo);
  CHECK_OK(file->read(0, out));
  CHECK_OK(file->read(8, MutableBytes(out).first(0)));
}

TEST_BOTH(TruncateCutsAndGrowsWithZeros) {
  auto file = created(*open(), "file");
  CHECK_OK(file->write(0, bytesOf(std::string(10'000, 'x'))));
  CHECK_OK(file->truncate(5));
  CHECK_EQ(sizeOf(*file), 5u);
  CHECK_OK(file->truncate(9'000));
  CHECK_EQ(textAt(*file, 0, 9'000), "xxxxx" + std::string(8'995, '\0'));
  CHECK_OK(file->truncate(0));
  CHECK_EQ(sizeOf(*file), 0u);
}

TEST_BOTH(CreateRefusesWhatExistsAndOpenWhatDoesNot) {
  auto directory = open();
  CHECK(!directory->exists("file"));
  CHECK(directory->open("file").status().code() == Code::kIo);
  CHECK_OK(created(*directory, "file")->write(0, bytesOf("kept")));
  CHECK(directory->exists("file"));
  CHECK(directory->create("file").status().code() == Code::kIo);
  CHECK_EQ(textAt(*opened(*directory, "file"), 0, 4), "kept");
}

TEST_BOTH(ListIsSortedAndFollowsChanges) {
  auto directory = open();
  CHECK(namesIn(*directory).empty());
  for (const char* name : {"c", "a", "b"}) created(*directory, name);
  CHECK(namesIn(*directory) == (Names{"a", "b", "c"}));
  CHECK(namesIn(*directory) == (Names{"a", "b", "c"}));  // a listing starts at the beginning
  CHECK_OK(directory->remove("b"));
  CHECK_OK(directory->rename("c", "d"));
  CHECK_OK(directory->sync());
  CHECK(namesIn(*open()) == (Names{"a", "d"}));
}

TEST_BOTH(RenameReplacesAndOpenFilesFollowTheirContent) {
  auto directory = open();
  auto next = created(*directory, "next");
  CHECK_OK(next->write(0, bytesOf("new")));
  auto current = created(*directory, "current");
  CHECK_OK(current->write(0, bytesOf("old")));
  CHECK_OK(directory->rename("next", "current"));
  CHECK(namesIn(*directory) == Names{"current"});
  CHECK_EQ(textAt(*opened(*directory, "current"), 0, 3), "new");
  CHECK_EQ(textAt(*current, 0, 3), "old");
  CHECK_OK(next->write(0, bytesOf("NEW")));
  CHECK_EQ(textAt(*opened(*directory, "current"), 0, 3), "NEW");
  CHECK(directory->rename("absent", "current").code() == Code::kIo);
  CHECK_EQ(textAt(*opened(*directory, "current"), 0, 3), "NEW");
}

TEST_BOTH(RemovedFileStaysReadableWhileOpen) {
  auto directory = open();
  auto file = created(*directory, "file");
  CHECK_OK(file->write(0, bytesOf("still here")));
  auto mapping = file->map(10);
  CHECK_OK(mapping.status());
  CHECK_OK(directory->remove("file"));
  CHECK(directory->remove("file").code() == Code::kIo);
  CHECK_OK(directory->sync());
  CHECK(!directory->exists("file"));
  CHECK_EQ(textAt(*file, 0, 10), "still here");
  file.reset();
  CHECK_EQ(textAt(*mapping.value(), 0, 10), "still here");
}

TEST_BOTH(MappingShowsLaterWritesAndStaysInBounds) {
  auto file = created(*open(), "file");
  CHECK_OK(file->truncate(8192));
  auto mapped = file->map(8192);
  CHECK_OK(mapped.status());
  const Mapping& mapping = *mapped.value();
  CHECK_EQ(mapping.size(), 8192u);
  CHECK_OK(file->write(4094, bytesOf("seen")));
  CHECK_EQ(textAt(mapping, 4094, 4), "seen");
  std::byte out[8];
  CHECK(mapping.copyOut(8185, out).code() == Code::kIo);
  CHECK(mapping.copyOut(~0ull, out).code() == Code::kIo);
  CHECK(mapping.copyOut(~0ull - 3, out).code() == Code::kIo);
  CHECK_OK(mapping.copyOut(8184, out));
  CHECK_OK(mapping.copyOut(8192, MutableBytes(out).first(0)));
  CHECK(!file->map(0).ok());
}

TEST_BOTH(MappedPageCutFromTheFileIsAnIoError) {
  auto file = created(*open(), "file");
  CHECK_OK(file->write(0, bytesOf(std::string(16'384, 'x'))));
  auto mapped = file->map(16'384);
  CHECK_OK(mapped.status());
  const Mapping& mapping = *mapped.value();
  CHECK_OK(file->truncate(4100));
  std::byte out[8];
  CHECK_EQ(textAt(mapping, 4096, 8), std::string("xxxx\0\0\0\0", 8));
  CHECK(mapping.copyOut(8192, out).code() == Code::kIo);
  CHECK(mapping.copyOut(8188, out).code() == Code::kIo);
  CHECK_OK(file->truncate(16'384));
  CHECK_EQ(textAt(mapping, 16'376, 8), std::string(8, '\0'));
}

TEST_BOTH(LockHasOneHolderAndEndsWithIt) {
  auto first = open();
  auto second = open();
  CHECK_OK(first->lock());
  CHECK_OK(first->lock());
  CHECK(second->lock().code() == Code::kStoreLocked);
  auto file = created(*second, "file");
  file.reset();  // closing a file of the directory must not drop the lock
  CHECK(second->lock().code() == Code::kStoreLocked);
  first.reset();
  CHECK_OK(second->lock());
  CHECK(open()->lock().code() == Code::kStoreLocked);
}

TEST_BOTH(UnlockFreesTheDirectoryWhileItIsStillRead) {
  auto first = open();
  CHECK_OK(first->lock());
  auto file = created(*first, "file");
  CHECK_OK(file->write(0, bytesOf("kept")));
  auto second = open();
  CHECK(second->lock().code() == Code::kStoreLocked);
  first->unlock();
  CHECK_OK(second->lock());
  CHECK_EQ(textAt(*file, 0, 4), "kept");
}

}  // namespace millrace::os
