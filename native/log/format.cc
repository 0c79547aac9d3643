#include "log/format.h"

#include <cstdio>

#include "log/log.h"

namespace millrace::log {

std::string segmentName(uint32_t index) {
  char name[24];
  std::snprintf(name, sizeof name, "segment-%05u", index);
  return name;
}

std::optional<uint32_t> parseSegmentName(const std::string& name) {
  constexpr std::string_view kPrefix = "segment-";
  if (name.size() != kPrefix.size() + 5 || !name.starts_with(kPrefix)) return std::nullopt;
  uint32_t index = 0;
  for (size_t i = kPrefix.size(); i < name.size(); ++i) {
    if (name[i] < '0' || name[i] > '9') return std::nullopt;
    index = index * 10 + static_cast<uint32_t>(name[i] - '0');
  }
  if (index >= kSegmentsMax) return std::nullopt;
  return index;
}

std::string placeOf(const std::string& name, uint64_t offset) { return name + ":" + std::to_string(offset); }

Status corruptAt(const std::string& name, uint64_t offset, const std::string& what) {
  return Status(Code::kCorrupt, placeOf(name, offset) + ": " + what + kDamageAdvice);
}

}  // namespace millrace::log
