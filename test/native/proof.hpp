// Values that prove themselves: each tells its key, its writer and the how
// manieth of its writer it is, and every word after that follows from those.
// Half of one value with half of another does not pass, nor does a value found
// under another's key, nor one that is older than what the reader saw before.
#pragma once

#include <cstdint>
#include <cstring>

namespace uwshm::test {

struct Proof {
  uint64_t count;  // of its writer, rising
  uint32_t key, writer;
  uint32_t size;
  uint32_t flags;
  uint64_t seal;  // follows from all of the above
};
static_assert(sizeof(Proof) == 32);

inline uint64_t Stir(uint64_t x) {
  x ^= x >> 33, x *= 0xff51afd7ed558ccdull, x ^= x >> 33, x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

inline uint64_t SealOf(const Proof& proof) {
  return Stir(proof.count * 31 + Stir(uint64_t{proof.key} << 32 | proof.writer) +
              Stir(uint64_t{proof.flags} << 32 | proof.size));
}

// REQUIRES: size >= sizeof(Proof).
inline void WriteProof(uint8_t* bytes, uint32_t key, uint32_t writer, uint64_t count, uint32_t size, uint32_t flags) {
  Proof proof{count, key, writer, size, flags, 0};
  proof.seal = SealOf(proof);
  memcpy(bytes, &proof, sizeof proof);
  uint64_t word = proof.seal;
  for (uint32_t at = sizeof proof; at < size; at += 8) {
    word += 0x9e3779b97f4a7c15ull;
    memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
  }
}

// nullptr when the bytes prove themselves, else what is wrong with them.
inline const char* ReadProof(const uint8_t* bytes, uint32_t key, uint32_t size, uint32_t flags, Proof* proof) {
  if (size < sizeof *proof) return "a value shorter than any that was written";
  memcpy(proof, bytes, sizeof *proof);
  if (proof->seal != SealOf(*proof)) return "a torn head";
  if (proof->key != key) return "the value of another key";
  if (proof->size != size) return "a size of another value";
  if (proof->flags != flags) return "flags of another value";
  uint64_t word = proof->seal;
  for (uint32_t at = sizeof *proof; at < size; at += 8) {
    word += 0x9e3779b97f4a7c15ull;
    if (memcmp(bytes + at, &word, size - at < 8 ? size - at : 8) != 0) return "a torn body";
  }
  return nullptr;
}

}  // namespace uwshm::test
