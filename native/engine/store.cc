#include "engine/store.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace millrace::engine {
namespace {

struct Cell {
  std::atomic<uint64_t> pins;
  std::byte* record() { return reinterpret_cast<std::byte*>(this + 1); }
};

Cell* cellOf(Ref ref) { return reinterpret_cast<Cell*>(static_cast<uintptr_t>(ref)); }

}  // namespace

Ref HeapStore::add(Bytes record, uint64_t seq) {
  void* memory = std::malloc(sizeof(Cell) + record.size());
  if (memory == nullptr) return 0;
  Cell* cell = new (memory) Cell{1};
  std::memcpy(cell->record(), record.data(), record.size());
  store<uint64_t>(cell->record() + log::MessageLayout::kSeq, seq);
  return static_cast<Ref>(reinterpret_cast<uintptr_t>(cell));
}

void HeapStore::pin(Ref ref, uint32_t) { cellOf(ref)->pins.fetch_add(1, std::memory_order_relaxed); }

void HeapStore::unpin(Ref ref, uint32_t) {
  Cell* cell = cellOf(ref);
  // Release: this reader's copy happens before the free; acquire: the one that frees sees every copy done.
  if (cell->pins.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(cell);
}

Status HeapStore::read(Ref ref, MutableBytes out) const {
  std::memcpy(out.data(), cellOf(ref)->record(), out.size());
  return Status();
}

}  // namespace millrace::engine
