// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected), as in RFC 3720 appendix B.4.
// Uses the SSE4.2 or ARMv8 instruction where the machine has it, a table otherwise; equal results.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace millrace {

// Extends `crc` (0 to start) over `data`. crc32c(b, crc32c(a)) == crc32c(a + b).
uint32_t crc32c(Bytes data, uint32_t crc = 0);

// The table version, for machines without the instruction and for tests that compare the two.
uint32_t crc32cPortable(Bytes data, uint32_t crc = 0);

}  // namespace millrace
