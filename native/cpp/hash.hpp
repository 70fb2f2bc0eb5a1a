// SipHash-1-3, keyed with a seed drawn at each start: whoever chooses the keys
// cannot choose the chains. About 10 ns for a short key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace uwshm {

struct HashSeed {
  uint64_t a, b;
};

inline uint64_t SipHash13(HashSeed seed, const uint8_t* bytes, size_t size) {
  uint64_t v0 = seed.a ^ 0x736f6d6570736575ull, v1 = seed.b ^ 0x646f72616e646f6dull;
  uint64_t v2 = seed.a ^ 0x6c7967656e657261ull, v3 = seed.b ^ 0x7465646279746573ull;
  auto rotate = [](uint64_t x, int n) { return x << n | x >> (64 - n); };
  auto round = [&] {
    v0 += v1, v1 = rotate(v1, 13) ^ v0, v0 = rotate(v0, 32);
    v2 += v3, v3 = rotate(v3, 16) ^ v2;
    v0 += v3, v3 = rotate(v3, 21) ^ v0;
    v2 += v1, v1 = rotate(v1, 17) ^ v2, v2 = rotate(v2, 32);
  };
  const uint8_t* const words_end = bytes + (size & ~size_t{7});
  for (; bytes != words_end; bytes += 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    v3 ^= word;
    round();
    v0 ^= word;
  }
  uint64_t last = static_cast<uint64_t>(size) << 56;
  for (size_t i = 0; i < (size & 7); i++) last |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  v3 ^= last;
  round();
  v0 ^= last;
  v2 ^= 0xff;
  round(), round(), round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace uwshm
