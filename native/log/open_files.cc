#include "log/open_files.h"

#include <algorithm>

namespace millrace::log {

Status checkNamed(os::Directory& directory, const std::string& name, std::optional<uint64_t> number) {
  const auto named = directory.numberOf(name);
  if (!named.ok()) return named.status();
  if (named.value() && (!number || *named.value() == *number)) return Status();
  return Status(Code::kIo, name + " was deleted, moved or replaced while the store was open");
}

Status checkNamed(os::Directory& directory, const std::string& name, os::File& file) {
  const auto number = file.number();
  return number.ok() ? checkNamed(directory, name, number.value()) : number.status();
}

std::unique_ptr<OpenFiles::Lent> OpenFiles::lend(const std::string& name) {
  return std::make_unique<Lent>(*this, name);
}

std::unique_ptr<OpenFiles::Lent> OpenFiles::adopt(const std::string& name, std::unique_ptr<os::File> file) {
  auto lent = std::make_unique<Lent>(*this, name);
  lent->open_ = std::move(file);
  lent->held_ = true;
  return lent;
}

Status OpenFiles::open(Lent& file) {
  if (file.held_) return Status();
  if (file.open_ == nullptr) {
    auto opened = directory_.open(file.name_);
    if (!opened.ok()) return opened.status();
    file.open_ = opened.take();
    idle_.push_front(&file);
  } else {
    idle_.splice(idle_.begin(), idle_, std::find(idle_.begin(), idle_.end(), &file));
  }
  return closeOthers(file);
}

Status OpenFiles::closeOthers(const Lent& but) {
  while (idle_.size() > kOpenMax && idle_.back() != &but) {
    Lent& last = *idle_.back();
    if (last.unsynced_.load(std::memory_order_relaxed)) MILLRACE_RETURN_IF_ERROR(last.sync());
    last.open_.reset();
    idle_.pop_back();
  }
  return Status();
}

// Whoever drops a file that was written and not synced needs nothing of it (a crash, or a segment that goes).
OpenFiles::Lent::~Lent() {
  if (open_ != nullptr && !held_) files_.idle_.remove(this);
}

Status OpenFiles::Lent::hold() {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  if (!held_) files_.idle_.remove(this);
  held_ = true;
  return Status();
}

Status OpenFiles::Lent::release() {
  if (!held_) return Status();
  held_ = false;
  files_.idle_.push_front(this);
  return files_.closeOthers(*this);
}

Status OpenFiles::Lent::read(uint64_t offset, MutableBytes out) {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  return open_->read(offset, out);
}

Status OpenFiles::Lent::write(uint64_t offset, Bytes data) {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  unsynced_.store(true, std::memory_order_relaxed);
  return open_->write(offset, data);
}

Status OpenFiles::Lent::sync() {
  if (open_ == nullptr) return Status();  // O2
  // Before the call: what the holder writes meanwhile needs another one. After a failure nothing matters
  // (P8).
  unsynced_.store(false, std::memory_order_relaxed);
  return open_->sync();
}

Result<uint64_t> OpenFiles::Lent::size() {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  return open_->size();
}

Status OpenFiles::Lent::truncate(uint64_t bytes) {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  unsynced_.store(true, std::memory_order_relaxed);
  return open_->truncate(bytes);
}

Result<std::unique_ptr<os::Mapping>> OpenFiles::Lent::map(uint64_t bytes) {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  return open_->map(bytes);
}

Result<uint64_t> OpenFiles::Lent::number() {
  MILLRACE_RETURN_IF_ERROR(files_.open(*this));
  return open_->number();
}

}  // namespace millrace::log
