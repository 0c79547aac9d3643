// Byte spans, little-endian loads and stores, and a writer and a reader that never leave their bounds.
// Every format of the project is little endian; a big-endian machine does not compile.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace millrace {

static_assert(std::endian::native == std::endian::little, "the formats are little endian");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes bytesOf(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view textOf(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The first `bytes_max` bytes of UTF-8, less what would be a part of a letter.
inline std::string_view textCut(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  const auto continues = [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; };
  size_t end = bytes_max;
  while (end > 0 && continues(end)) --end;
  return text.substr(0, end);
}

constexpr uint64_t alignUp(uint64_t value, uint64_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

template <typename T>
T load(const std::byte* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
void store(std::byte* to, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(to, &value, sizeof(T));
}

// Appends to a growing buffer.
class ByteWriter {
 public:
  template <typename T>
  void fixed(T value) {
    const size_t at = buffer_.size();
    buffer_.resize(at + sizeof(T));
    store(buffer_.data() + at, value);
  }
  // LEB128, at most 10 bytes.
  void varint(uint64_t value) {
    while (value >= 0x80) {
      buffer_.push_back(static_cast<std::byte>(value | 0x80));
      value >>= 7;
    }
    buffer_.push_back(static_cast<std::byte>(value));
  }
  void bytes(Bytes data) { buffer_.insert(buffer_.end(), data.begin(), data.end()); }
  void sizedText(std::string_view text) {
    varint(text.size());
    bytes(bytesOf(text));
  }
  void clear() { buffer_.clear(); }
  size_t size() const { return buffer_.size(); }
  Bytes view() const { return buffer_; }
  std::vector<std::byte>& buffer() { return buffer_; }

 private:
  std::vector<std::byte> buffer_;
};

// Reads input that may be anything: after the first short read every further read yields zero and ok() is
// false, so a decoder checks once at its end (and before it trusts a length).
class ByteReader {
 public:
  explicit ByteReader(Bytes data) : data_(data) {}

  template <typename T>
  T fixed() {
    if (!need(sizeof(T))) return T{};
    T value = load<T>(data_.data() + at_);
    at_ += sizeof(T);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (!need(1)) return 0;
      const auto byte = static_cast<uint8_t>(data_[at_++]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  Bytes bytes(uint64_t count) {
    if (!need(count)) return {};
    Bytes out = data_.subspan(at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return out;
  }
  std::string_view sizedText() { return textOf(bytes(varint())); }

  bool ok() const { return ok_; }
  size_t at() const { return at_; }
  size_t remaining() const { return data_.size() - at_; }

 private:
  bool need(uint64_t count) {
    if (ok_ && count <= data_.size() - at_) return true;
    ok_ = false;
    return false;
  }

  Bytes data_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace millrace
