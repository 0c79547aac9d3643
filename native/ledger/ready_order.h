// The order in which ready messages go out (G2): what was delivered before, lowest seq first, then what was
// never delivered, lowest seq first.
//
// The table's chunks carry two bit masks, `again` and `fresh`; this class keeps track of which chunks have
// any. Never-delivered messages are found by a cursor that only moves forward, because new ones come at the
// end; those that appear behind it (an undone take, a delay that ends, a replay) are rare and listed by
// chunk. All operations are O(1) for fresh messages and O(log chunks) for the rest.
//
// Invariants
//  R1 again_ lists exactly the chunks with `again` bits.
//  R2 behind_ lists exactly the chunks below cursor_ with `fresh` bits.
#pragma once

#include <cstdint>
#include <set>

#include "ledger/message_table.h"

namespace millrace::ledger {

class ReadyOrder {
 public:
  // Messages of one chunk that go out next, lowest bit first. No chunk: nothing is ready.
  struct Run {
    Chunk* chunk = nullptr;
    uint64_t bits = 0;
  };

  void add(Place at, bool delivered_before);
  void remove(Chunk& chunk, uint64_t bits);
  Run front(const MessageTable& table);

  // Calls visit(run) in order until it returns false.
  template <typename Visit>
  void forEach(const MessageTable& table, Visit visit) const {
    for (const uint64_t number : again_) {
      Chunk* chunk = table.atOrAfter(number);
      if (!visit(Run{chunk, chunk->again})) return;
    }
    for (const uint64_t number : behind_) {
      Chunk* chunk = table.atOrAfter(number);
      if (!visit(Run{chunk, chunk->fresh})) return;
    }
    for (Chunk* chunk = table.atOrAfter(cursor_); chunk; chunk = table.atOrAfter(chunk->number + 1)) {
      if (chunk->fresh != 0 && !visit(Run{chunk, chunk->fresh})) return;
    }
  }

 private:
  std::set<uint64_t> again_;
  std::set<uint64_t> behind_;
  uint64_t cursor_ = 0;  // a chunk number
};

}  // namespace millrace::ledger
