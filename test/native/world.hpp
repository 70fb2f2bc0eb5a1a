// A small instance to try things on: the real engine and real segments, and a
// clock that is either the machine's or the test's.
#pragma once

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "binding/process_end.hpp"
#include "instance.hpp"

namespace uwshm::test {

inline uint64_t BootMs() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

inline uint64_t MonotonicUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// The test's own time: it stands still until it is moved.
inline std::atomic<uint64_t> test_clock_ms{1000};
inline uint64_t TestMs() { return test_clock_ms.load(std::memory_order_relaxed); }

inline uint64_t PidNamespace() {
  struct stat file{};
  stat("/proc/self/ns/pid", &file);
  return file.st_ino;
}

inline Self Me(uint64_t (*now)() = BootMs, uint32_t worker = 0) {
  return {static_cast<uint32_t>(getpid()), worker, 0, PidNamespace(), now, nullptr, MonotonicUs};
}

// Likewise, for those who are killed in earnest while others run: death is made certain.
inline Self MeAmongMortals(uint32_t worker = 0) {
  const auto pid = static_cast<uint32_t>(getpid());
  return {pid, worker, StartTime(pid), PidNamespace(), BootMs, HasEnded, MonotonicUs};
}

// Ends the process with a sentence when there is no such engine.
inline const LockEngine* EngineOrEnd(const char* name) {
  const LockEngine* engine = LockTable::EngineNamed(name);
  if (engine == nullptr) fprintf(stderr, "cannot begin: no lock engine named %s\n", name), _exit(2);
  return engine;
}

constexpr InstanceId kInstance{0x7577736866697265, 0x7465737465727321};
constexpr HashSeed kSeed{0x0706050403020100, 0x0f0e0d0c0b0a0908};

inline CacheSpec Spec(const char* name, uint32_t items, uint32_t blocksize, uint32_t keysize, uint32_t hashsize) {
  return {name, items, blocksize, keysize, hashsize, kSeed};
}

// Ends the process with a sentence: what a test needs to begin with is not
// what it tests.
inline void Need(bool good, const char* what) {
  if (good) return;
  fprintf(stderr, "cannot begin: %s\n", what);
  _exit(2);
}

inline void CreateOrEnd(Instance& instance, const std::vector<CacheSpec>& caches, uint32_t processes = 16,
                        uint64_t (*now)() = BootMs, const LockEngine* engine = LockTable::Engines()[0],
                        MetricsSpec metrics = {}) {
  Trouble trouble;
  Need(instance.Create(kInstance, {processes, 8, 4, 0, engine, caches, {}, metrics}, Me(now), &trouble) == Status::kOk,
       "no instance could be made");
}

inline Key KeyFor(const Cache& cache, const std::string& name) {
  Key key{};
  Need(cache.KeyOf(reinterpret_cast<const uint8_t*>(name.data()), name.size(), &key) == Status::kOk,
       "a key does not fit");
  return key;
}

// Where the cells of a cache are, for those who look at what a death left.
inline Cell* CellsOf(Cache& cache) { return cache.segment().At<Cell>(CachePlaces::Of(cache.geometry()).cells); }

// Small, fast, and the same everywhere: a seed replays.
struct Dice {
  uint64_t state;
  explicit Dice(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull) {}
  uint64_t Next() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
  }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>((Next() >> 32) * n >> 32); }
};

}  // namespace uwshm::test
