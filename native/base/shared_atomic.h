// Atomics on memory that this code does not own as C++ objects: words in a SharedArrayBuffer, which other
// threads (JavaScript among them) may read or write at any time. The only place that spells them.
//
// std::atomic_ref would need alignment knowledge and hides the order; these name it. Every caller has
// checked that `word` is inside the buffer and aligned to its size.
#pragma once

#include <atomic>
#include <cstdint>

namespace millrace {

static_assert(std::atomic_ref<uint64_t>::is_always_lock_free);
static_assert(std::atomic_ref<uint32_t>::is_always_lock_free);

template <typename T>
T loadRelaxed(T* word) {
  return std::atomic_ref<T>(*word).load(std::memory_order_relaxed);
}
template <typename T>
T loadAcquire(T* word) {
  return std::atomic_ref<T>(*word).load(std::memory_order_acquire);
}
template <typename T>
T loadSeqCst(T* word) {
  return std::atomic_ref<T>(*word).load(std::memory_order_seq_cst);
}
template <typename T>
void storeRelaxed(T* word, T value) {
  std::atomic_ref<T>(*word).store(value, std::memory_order_relaxed);
}
template <typename T>
void storeRelease(T* word, T value) {
  std::atomic_ref<T>(*word).store(value, std::memory_order_release);
}
template <typename T>
void storeSeqCst(T* word, T value) {
  std::atomic_ref<T>(*word).store(value, std::memory_order_seq_cst);
}
template <typename T>
T fetchAddSeqCst(T* word, T value) {
  return std::atomic_ref<T>(*word).fetch_add(value, std::memory_order_seq_cst);
}
template <typename T>
T fetchOrSeqCst(T* word, T bits) {
  return std::atomic_ref<T>(*word).fetch_or(bits, std::memory_order_seq_cst);
}
// Weak compare and swap; `expected` receives the value found on failure.
template <typename T>
bool casRelaxed(T* word, T& expected, T desired) {
  return std::atomic_ref<T>(*word).compare_exchange_weak(expected, desired, std::memory_order_relaxed,
                                                         std::memory_order_relaxed);
}
template <typename T>
bool casSeqCst(T* word, T& expected, T desired) {
  return std::atomic_ref<T>(*word).compare_exchange_weak(expected, desired, std::memory_order_seq_cst,
                                                         std::memory_order_relaxed);
}

inline void spinPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace millrace
