#include "ledger/ready_order.h"

namespace millrace::ledger {

void ReadyOrder::add(Place at, bool delivered_before) {
  Chunk& chunk = *at.chunk;
  if (delivered_before) {
    if (chunk.again == 0) again_.insert(chunk.number);
    chunk.again |= at.bit();
  } else {
    if (chunk.fresh == 0 && chunk.number < cursor_) behind_.insert(chunk.number);
    chunk.fresh |= at.bit();
  }
}

void ReadyOrder::remove(Chunk& chunk, uint64_t bits) {
  if ((chunk.again & bits) != 0) {
    chunk.again &= ~bits;
    if (chunk.again == 0) again_.erase(chunk.number);
  }
  if ((chunk.fresh & bits) != 0) {
    chunk.fresh &= ~bits;
    if (chunk.fresh == 0 && chunk.number < cursor_) behind_.erase(chunk.number);
  }
}

ReadyOrder::Run ReadyOrder::front(const MessageTable& table) {
  if (!again_.empty()) {
    Chunk* chunk = table.atOrAfter(*again_.begin());
    return {chunk, chunk->again};
  }
  if (!behind_.empty()) {
    Chunk* chunk = table.atOrAfter(*behind_.begin());
    return {chunk, chunk->fresh};
  }
  // Every chunk is passed once: the cursor stays where it stopped.
  for (Chunk* chunk = table.atOrAfter(cursor_); chunk; chunk = table.atOrAfter(cursor_ + 1)) {
    cursor_ = chunk->number;
    if (chunk->fresh != 0) return {chunk, chunk->fresh};
    if (chunk == table.last()) break;
  }
  return {};
}

}  // namespace millrace::ledger
