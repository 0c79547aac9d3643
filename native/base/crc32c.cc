#include "base/crc32c.h"

#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace millrace {
namespace {

constexpr std::array<uint32_t, 256> makeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = makeTable();

#if defined(__x86_64__)
// The instruction takes three cycles and one can begin every cycle, so three parts of the data are worked on
// side by side and joined: "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011.
//
// Joining: the CRC of a part that `words` 64-bit words follow is multiplied by x^(64 * words) mod P. The
// product is not reduced but added to the last word of the last part, whose instruction reduces it; it
// multiplies by x^32, and the carry-less product of two reflected numbers by x, hence the exponents below.
constexpr size_t kPartWordsMax = 128;

struct Join {
  uint32_t over_one;  // x^(64 * words - 33) mod P
  uint32_t over_two;  // x^(128 * words - 33) mod P
};

constexpr uint32_t timesX(uint32_t value, size_t times) {
  for (; times > 0; --times) value = (value >> 1) ^ ((value & 1) ? 0x82F63B78u : 0u);
  return value;
}

constexpr std::array<Join, kPartWordsMax + 1> makeJoins() {
  std::array<Join, kPartWordsMax + 1> joins{};
  joins[1] = {1, timesX(1, 64)};  // x^31 is 1, reflected
  for (size_t words = 2; words <= kPartWordsMax; ++words) {
    joins[words] = {timesX(joins[words - 1].over_one, 64), timesX(joins[words - 1].over_two, 128)};
  }
  return joins;
}

constexpr std::array<Join, kPartWordsMax + 1> kJoins = makeJoins();

// Three parts of `words` words each, words in 1..kPartWordsMax.
__attribute__((target("sse4.2,pclmul"))) uint64_t threeParts(const std::byte* at, size_t words,
                                                             uint64_t first) {
  const size_t part = words * 8;
  uint64_t second = 0;
  uint64_t third = 0;
  for (size_t i = 1; i < words; ++i, at += 8) {
    first = _mm_crc32_u64(first, load<uint64_t>(at));
    second = _mm_crc32_u64(second, load<uint64_t>(at + part));
    third = _mm_crc32_u64(third, load<uint64_t>(at + 2 * part));
  }
  first = _mm_crc32_u64(first, load<uint64_t>(at));
  second = _mm_crc32_u64(second, load<uint64_t>(at + part));
  const auto times = [](uint64_t crc, uint32_t power) __attribute__((target("sse4.2,pclmul"))) {
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(crc)),
                                                 _mm_cvtsi64_si128(int64_t{power}), 0);
    return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
  };
  const uint64_t before = times(first, kJoins[words].over_two) ^ times(second, kJoins[words].over_one);
  return _mm_crc32_u64(third, load<uint64_t>(at + 2 * part) ^ before);
}

__attribute__((target("sse4.2,pclmul"))) uint32_t crc32cHardware(Bytes data, uint32_t crc) {
  constexpr size_t kJoinedBytesMin = 96;  // below this a join costs what it saves
  const std::byte* at = data.data();
  size_t left = data.size();
  uint64_t wide = ~crc;
  while (left >= kJoinedBytesMin) {
    const size_t words = left / 24 < kPartWordsMax ? left / 24 : kPartWordsMax;
    wide = threeParts(at, words, wide);
    at += words * 24;
    left -= words * 24;
  }
  for (; left >= 8; left -= 8, at += 8) wide = _mm_crc32_u64(wide, load<uint64_t>(at));
  uint32_t narrow = static_cast<uint32_t>(wide);
  for (; left > 0; --left, ++at) narrow = _mm_crc32_u8(narrow, static_cast<uint8_t>(*at));
  return ~narrow;
}
bool hasHardware() { return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0; }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
uint32_t crc32cHardware(Bytes data, uint32_t crc) {
  const std::byte* at = data.data();
  size_t left = data.size();
  crc = ~crc;
  for (; left >= 8; left -= 8, at += 8) crc = __crc32cd(crc, load<uint64_t>(at));
  for (; left > 0; --left, ++at) crc = __crc32cb(crc, static_cast<uint8_t>(*at));
  return ~crc;
}
bool hasHardware() { return true; }
#else
uint32_t crc32cHardware(Bytes data, uint32_t crc) { return crc32cPortable(data, crc); }
bool hasHardware() { return false; }
#endif

}  // namespace

uint32_t crc32cPortable(Bytes data, uint32_t crc) {
  crc = ~crc;
  for (const std::byte value : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(value)) & 0xff];
  return ~crc;
}

uint32_t crc32c(Bytes data, uint32_t crc) {
  static const bool kHardware = hasHardware();
  return kHardware ? crc32cHardware(data, crc) : crc32cPortable(data, crc);
}

}  // namespace millrace
