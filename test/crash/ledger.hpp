// What the storm's processes know of each other: one shared page, apart from
// the segments that are being proven. Workers write down what they are about
// to do before they do it, so that whoever looks after a death knows what may
// have happened and what must have.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "../native/world.hpp"

namespace uwshm::test {

constexpr uint32_t kWorkers = 8;
constexpr uint32_t kCounters = 4;    // shared by all, in the kept cache
constexpr uint32_t kOwnKeys = 48;    // per worker, in the kept cache: nobody else writes them
constexpr uint32_t kWildKeys = 640;  // in the wild cache, written and removed by everybody
constexpr uint32_t kProbe = 99;      // the killer, as a writer

struct WorkerNote {
  alignas(64) std::atomic<uint32_t> thread;  // its thread slot + 1, once it has one
  std::atomic<uint32_t> halted;              // the halt that it obeys
  std::atomic<const char*> doing;
  std::atomic<uint64_t> calls, refused_full, busy;
  std::atomic<uint64_t> count;  // values written in this life and the earlier ones
  struct {
    std::atomic<uint64_t> started, done;
  } incs[kCounters];
  struct {
    std::atomic<uint64_t> settled, pending;  // count of the value stored, 0 = none
  } own[kOwnKeys];
};

struct Ledger {
  std::atomic<uint32_t> halt;    // 0 = go on
  std::atomic<uint32_t> rests;   // 0 = nobody ever does
  std::atomic<uint32_t> rescue;  // rounds that the rescuer was asked for
  std::atomic<uint32_t> faults;
  char fault[256];  // the first one
  WorkerNote workers[kWorkers];

  static Ledger* Make() {
    void* page = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Need(page != MAP_FAILED, "no memory for the ledger");
    return static_cast<Ledger*>(page);
  }

  void Fault(uint32_t worker, const char* where, const char* what) {
    if (faults.fetch_add(1) == 0) snprintf(fault, sizeof fault, "worker %u, %s: %s", worker, where, what);
  }
};

// Keys of all three lengths that are stored in different places.
inline std::string Lengthen(std::string name, uint32_t which) {
  return name + std::string(which % 4 == 3 ? 80 : which % 4 == 1 ? 30 : 0, '.');
}
inline std::string WildName(uint32_t key) { return Lengthen("wild-" + std::to_string(key), key); }
inline std::string OwnName(uint32_t worker, uint32_t key) {
  return Lengthen("own-" + std::to_string(worker) + "-" + std::to_string(key), key);
}
inline std::string CounterName(uint32_t counter) { return "counter-" + std::to_string(counter); }

// The caches of the storm. `wild` is too small for its keys: it is full,
// expires, is swept and cleared; `evicting` is another that makes room instead.
// `kept` loses nothing, so all of it is known.
// Chains are long on purpose: they are walked under the lock, where the storm
// wants its victims. In bitmap mode it is blocks that the first and the third have too few of.
enum : uint32_t { kWild, kKept, kEvicting };
constexpr uint32_t kLongestValue = 512;

struct StormKind {
  bool bitmap = false, checksum = false, store = false;
  Policy policy = kLru;
};

constexpr StoreClock kStormClock{{1, 2}, 1'600'000'000'000};

inline std::vector<CacheSpec> StormCaches(const StormKind& kind) {
  const bool bitmap = kind.bitmap;
  const uint32_t blocksize = bitmap ? 32 : kLongestValue;
  CacheSpec wild = Spec("wild", 400, blocksize, 100, 64), kept = Spec("kept", 448, blocksize / 2, 100, 32);
  if (bitmap) wild.blocks = 800, kept.blocks = 2 * 448 * kLongestValue / kept.blocksize;
  CacheSpec evicting = wild;
  evicting.name = "evicting";
  evicting.policy = kind.policy;
  std::vector<CacheSpec> specs{wild, kept, evicting};
  for (CacheSpec& spec : specs) {
    if (kind.checksum) spec.rules.ways |= kSealed;
    if (!kind.store) continue;
    spec.store = {memfd_create("store", MFD_CLOEXEC), kStormClock, 1, true};
    Need(spec.store.fd >= 0, "no file for a store");
  }
  return specs;
}

}  // namespace uwshm::test
