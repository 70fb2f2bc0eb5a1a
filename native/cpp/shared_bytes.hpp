// Copying and comparing bytes that another process may be overwriting.
//
// A racing copy is fine: whoever reads checks the stripe's sequence afterwards
// and throws a torn copy away. All such bytes pass through here, so that
// ThreadSanitizer sees atomic words while everybody else gets memcpy.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace uwshm {

#if defined(__SANITIZE_THREAD__)

inline void CopyIn(uint8_t* shared, const uint8_t* from, size_t size) {
  for (size_t i = 0; i < size; i++) __atomic_store_n(shared + i, from[i], __ATOMIC_RELAXED);
}
inline void CopyOut(uint8_t* to, const uint8_t* shared, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = __atomic_load_n(shared + i, __ATOMIC_RELAXED);
}
inline void CopyWithin(uint8_t* shared, const uint8_t* from, size_t size) {
  for (size_t i = 0; i < size; i++)
    __atomic_store_n(shared + i, __atomic_load_n(from + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}
inline bool SameBytes(const uint8_t* shared, const uint8_t* ours, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (__atomic_load_n(shared + i, __ATOMIC_RELAXED) != ours[i]) return false;
  return true;
}

#else

inline void CopyIn(uint8_t* shared, const uint8_t* from, size_t size) { memcpy(shared, from, size); }
inline void CopyOut(uint8_t* to, const uint8_t* shared, size_t size) { memcpy(to, shared, size); }
// What is copied may have gone meanwhile, and its room be where the copy is made: then they overlap.
inline void CopyWithin(uint8_t* shared, const uint8_t* from, size_t size) { memmove(shared, from, size); }
inline bool SameBytes(const uint8_t* shared, const uint8_t* ours, size_t size) {
  // Keys are short: a few words in line are done before memcmp is called.
  uint64_t a, b;
  for (; size >= 8; shared += 8, ours += 8, size -= 8) {
    memcpy(&a, shared, 8);
    memcpy(&b, ours, 8);
    if (a != b) return false;
  }
  for (size_t i = 0; i < size; i++)
    if (shared[i] != ours[i]) return false;
  return true;
}

#endif

// The line will be written soon: it may come, and leave the other processors' caches.
inline void ExpectWrite(const void* line) {
#if defined(__x86_64__)
  // The builtin asks to read only, unless the compiler is told of a newer processor.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const uint8_t*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

// A counter is one aligned word: whoever copies it gets it whole.
inline uint64_t LoadWord(const uint8_t* shared) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(shared), __ATOMIC_RELAXED);
}
inline void StoreWord(uint8_t* shared, uint64_t word) {
  __atomic_store_n(reinterpret_cast<uint64_t*>(shared), word, __ATOMIC_RELAXED);
}

// A death is seen in program order: it is enough that the compiler keeps it.
inline void InThisOrder() { std::atomic_signal_fence(std::memory_order_seq_cst); }

// A counter cell with a single writer: no locked instruction needed.
inline void Bump(std::atomic<uint64_t>& cell, uint64_t by = 1) {
  cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace uwshm
