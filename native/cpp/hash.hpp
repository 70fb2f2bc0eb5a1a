// The hash of a key, which chooses its chain. `keyed` is for everybody: folded
// 64 × 64 bit multiplications under a seed that is drawn at each start and
// never leaves the segment, so that whoever chooses the keys cannot choose the
// chains. 3 ns for a short key, where SipHash-1-3 took 9.
//
// `djb33x` and `murmur2` are uWSGI's, faults and all: for those who want its
// order of keys, or will read what it wrote. Their chains can be chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace uwshm {

struct HashSeed {
  uint64_t a, b;
};

// The id is what stands in shared memory; the name is the option's.
enum class HashKind : uint32_t { kKeyed, kDjb33x, kMurmur2 };
constexpr const char* kHashNames[] = {"keyed", "djb33x", "murmur2"};
constexpr uint32_t kHashKinds = 3;

inline uint64_t Fold(uint64_t x, uint64_t y) {
  const unsigned __int128 product = static_cast<unsigned __int128>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t HashOf(HashSeed seed, const uint8_t* bytes, size_t size) {
  auto eight = [](const uint8_t* at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
  };
  auto four = [](const uint8_t* at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return uint64_t{word};
  };
  uint64_t state = seed.a ^ size, head, tail;
  if (size > 16) {
    const uint8_t* at = bytes;
    for (size_t left = size; left > 16; left -= 16, at += 16) state = Fold(eight(at) ^ seed.b, eight(at + 8) ^ state);
    // The last 16 bytes, some of them for the second time.
    head = eight(bytes + size - 16);
    tail = eight(bytes + size - 8);
  } else if (size >= 8) {
    head = eight(bytes);
    tail = eight(bytes + size - 8);
  } else if (size >= 4) {
    head = four(bytes);
    tail = four(bytes + size - 4);
  } else {
    head = size == 0 ? 0 : uint64_t{bytes[0]} << 16 | uint64_t{bytes[size / 2]} << 8 | bytes[size - 1];
    tail = 0;
  }
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
  return Fold(Fold(head ^ seed.b, tail ^ state) ^ seed.a, kOdd ^ seed.b);
}

inline uint32_t Djb33x(const uint8_t* bytes, size_t size) {
  uint32_t hash = 5381;
  // Sign-extended, as a plain char is on the machines that uWSGI mostly runs on.
  for (size_t i = 0; i < size; i++) hash = hash * 33 ^ static_cast<uint32_t>(static_cast<int8_t>(bytes[i]));
  return hash;
}

// MurmurHash2 with seed 0 and uWSGI's two slips: what is left after the last
// four bytes is sign-extended, and is taken from the key's beginning instead of
// its end. So keys that differ only there (user1, user2 ...) share one chain.
inline uint32_t Murmur2(const uint8_t* bytes, size_t size) {
  constexpr uint32_t kMix = 0x5bd1e995;
  uint32_t hash = static_cast<uint32_t>(size);
  const size_t left = size & 3;
  for (const uint8_t* at = bytes; at < bytes + size - left; at += 4) {
    uint32_t group;
    memcpy(&group, at, sizeof group);
    group *= kMix;
    group = (group ^ group >> 24) * kMix;
    hash = hash * kMix ^ group;
  }
  auto extended = [&](size_t i) { return static_cast<uint32_t>(static_cast<int8_t>(bytes[i])); };
  if (left > 2) hash ^= extended(2) << 16;
  if (left > 1) hash ^= extended(1) << 8;
  if (left > 0) hash = (hash ^ extended(0)) * kMix;
  hash = (hash ^ hash >> 13) * kMix;
  return hash ^ hash >> 15;
}

}  // namespace uwshm
