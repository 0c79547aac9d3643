// The engine's part of a checkpoint: what is live, as it is written and as it is read again.
//
// Threads: saving, any (the janitor's); loading, the one that opens the broker.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/catalogue.h"
#include "log/log.h"

namespace millrace::engine {

// Written while the broker works: a queue's `last seq` is read first, so what is sent later is left to the
// replay; everything else a replay can repeat without harm (log.h, L6).
Status saveSnapshot(const Catalogue& catalogue, log::SnapshotWriter& writer);

// Into a catalogue that is empty. kCorrupt and kIncompatible; where it stopped, `in` stands.
Status loadSnapshot(ByteReader& in, uint64_t segment_bytes, Catalogue& catalogue);

}  // namespace millrace::engine
