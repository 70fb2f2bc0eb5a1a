// Stores that something has happened to: what a start makes of them.
//
//   store_mutations [COUNT [SEED]]     4,000 by default, 1,000,000 with UWSHM_FULL=1
//
// A store with items of every kind, some replaced and some removed, is damaged in one of the ways below,
// and a start is made with it. It ends, in time; the cache is whole; what it serves under a key is the value
// that the key had, and a key that was removed is not there. After a power cut, where sectors of different
// moments stand side by side, it is a value that the key had at some time since the first of them.
//
// Every start is made in a private picture of the file, as fsck makes it; one in 64 in earnest, by a
// master, and then the cache is used, filled and emptied.
//
// Ends with 0 when all that holds, 1 when something does not, 2 when it could
// not begin, by SIGALRM when a start does not end. The last line is JSON.
#include <cinttypes>
#include <cstring>

#include "../native/proof.hpp"
#include "../native/store_world.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

constexpr uint32_t kItems = 24, kKeys = 30;

enum Kind : uint32_t { kBits, kBytes, kBurst, kZeros, kSwap, kCopy, kCut, kHead, kOneItem, kPower, kKinds };
constexpr const char* kKindNames[] = {
    "single bits", "random bytes", "a burst of random bytes", "zeroed blocks", "swapped blocks", "copied blocks",
    "cut short",   "the header",   "one item's records",      "power cut"};

struct Outcome {
  uint64_t stores = 0, refused = 0, right = 0, earlier = 0, damaged = 0, missing = 0;
};

std::string NameOf(uint32_t key) {
  const std::string name = "key-" + std::to_string(key);
  return name + std::string(key % 3 == 0 ? 0 : key % 3 == 1 ? 25 : 75, '.');
}

class Mutations {
 public:
  Mutations(uint64_t seed, Policy policy) : dice_(seed), spec_(Spec("mutated", kItems, 100, 100, 16)) {
    test_clock_ms = 1000;
    spec_.policy = policy;
    StoreWorld world(spec_);
    Write(world, kKeys * 3);
    early_ = ImageOf(world);
    Write(world, kKeys * 3);
    late_ = ImageOf(world);
    geometry_ = world.cache().geometry();
    places_ = world.places();
    for (uint32_t key = 0; key < kKeys; key++) is_there_[key] = world.Get(NameOf(key)).size() >= sizeof(Proof);
    file_ = memfd_create("mutated", MFD_CLOEXEC);
    Need(file_ >= 0, "no file");
  }
  ~Mutations() { close(file_); }

  void Run(uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; round++) {
      kind_ = static_cast<Kind>(dice_.Below(kKinds));
      image_ = late_;
      Mutate();
      Need(ftruncate(file_, static_cast<off_t>(image_.size())) == 0 &&
               pwrite(file_, image_.data(), image_.size(), 0) == static_cast<ssize_t>(image_.size()),
           "no file");
      tallies[kind_].stores++;
      alarm(20);
      Judge();
      if (round % 64 == 0) StartInEarnest();
    }
    alarm(0);
  }

  static Outcome tallies[kKinds];
  static uint64_t faults;

 private:
  // Values that prove themselves, and some removed again.
  void Write(StoreWorld& world, uint32_t calls) {
    for (uint32_t call = 0; call < calls; call++) {
      const uint32_t key = dice_.Below(kKeys), size = sizeof(Proof) + dice_.Below(100 - sizeof(Proof) + 1);
      if (dice_.Below(5) == 0) {
        world.cache().Remove(world.me, KeyFor(world.cache(), NameOf(key)));
        continue;
      }
      uint8_t value[100];
      WriteProof(value, key, 0, ++count_, size, 0);
      const uint64_t expires_at = dice_.Below(3) == 0 ? 100000 + key : 0;
      const Status status =
          world.cache().Store(world.me, KeyFor(world.cache(), NameOf(key)), How::kReplace, value, size, 0, expires_at);
      if (status == Status::kOk) latest_[key] = count_;
    }
  }

  static std::vector<uint8_t> ImageOf(StoreWorld& world) {
    return {world.base(), world.base() + world.cache().segment().size()};
  }

  void Mutate() {
    const auto size = static_cast<uint32_t>(image_.size());
    // Where the cache has something: notes and empty room behind take most of the file.
    auto place = [&] { return dice_.Below(4) == 0 ? dice_.Below(size) : Busy(); };
    auto noise = [&](uint32_t at, uint32_t length) {
      for (uint32_t i = at; i < at + length && i < size; i++) image_[i] = static_cast<uint8_t>(dice_.Next() >> 40);
    };
    const uint32_t block = 64u << dice_.Below(7);  // to 4,096
    auto blocks = [&](auto change) {
      for (uint32_t times = 1 + dice_.Below(3); times > 0; times--) {
        const uint32_t a = place() / block * block, b = place() / block * block;
        if (a + block <= size && b + block <= size) change(a, b);
      }
    };
    switch (kind_) {
      case kBits:
        for (uint32_t times = 1 + dice_.Below(8); times > 0; times--) image_[place()] ^= 1 << dice_.Below(8);
        break;
      case kBytes:
        for (uint32_t times = 1 + dice_.Below(64); times > 0; times--) noise(place(), 1);
        break;
      case kBurst: noise(place(), 1 + dice_.Below(4096)); break;
      case kZeros: blocks([&](uint32_t a, uint32_t) { memset(&image_[a], 0, block); }); break;
      case kSwap:
        blocks([&](uint32_t a, uint32_t b) {
          const std::vector<uint8_t> was(&image_[a], &image_[a] + block);
          memmove(&image_[a], &image_[b], block);
          memcpy(&image_[b], was.data(), block);
        });
        break;
      case kCopy: blocks([&](uint32_t a, uint32_t b) { memmove(&image_[a], &image_[b], block); }); break;
      case kCut: image_.resize(dice_.Below(2) == 0 ? dice_.Below(size) : dice_.Below(size / 512) * 512); break;
      case kHead:
        for (uint32_t times = 1 + dice_.Below(3); times > 0; times--)
          noise(dice_.Below(sizeof(SegmentHeader) + 256), 1);
        break;
      case kOneItem: {
        const Slot slot = 1 + dice_.Below(static_cast<uint32_t>(geometry_.slots()));
        noise(static_cast<uint32_t>(places_.items + slot * sizeof(Item)) + dice_.Below(64), 1 + dice_.Below(8));
        break;
      }
      default:
        // A disk writes sectors, so both versions of an item may be there.
        for (uint32_t at = 0; at < size; at += 512)
          if (dice_.Below(2) == 0) memcpy(&image_[at], &early_[at], 512);
    }
  }

  uint32_t Busy() {
    const uint64_t from[] = {
        0, places_.pool, places_.buckets, places_.items, places_.keys, places_.order, places_.blocks};
    const uint64_t to[] = {384,
                           places_.buckets,
                           places_.items,
                           places_.keys,
                           places_.order,
                           places_.notes,
                           places_.blocks + geometry_.slots() * geometry_.block_stride()};
    const uint32_t area = dice_.Below(7);
    return static_cast<uint32_t>(from[area]) + dice_.Below(static_cast<uint32_t>(to[area] - from[area]) + 1) %
                                                   static_cast<uint32_t>(image_.size() - from[area]);
  }

  void Judge() {
    StoreHead head;
    Cache start;
    StoreFindings findings;
    if (head.Read(file_) != Status::kOk) {
      tallies[kind_].refused++;
      if (head.objection.empty()) Fault("it is refused without a reason");
      return;
    }
    Need(start.Examine(dup(file_), head, kThisBoot, TestMs(), &findings) == Status::kOk, "no picture of the file");
    Look(start);
    start.segment().Abandon();
    tallies[kind_].damaged += findings.damaged;
  }

  void StartInEarnest() {
    CacheSpec spec = spec_;
    spec.store = {dup(file_), kThisBoot, 1, false};
    Instance instance;
    Caller me{};
    Trouble trouble;
    const Status status =
        instance.Create(kInstance, {4, 8, 4, 0, LockTable::Engines()[0], {spec}, {}, {}}, Me(TestMs), &trouble);
    if (status == Status::kOk) {
      Need(instance.EnterThread(&me) == Status::kOk, "no thread slot");
      Cache& cache = *instance.caches()[0];
      Look(cache);
      for (uint32_t key = 0; key < 2 * kItems; key++)
        cache.Store(me, KeyFor(cache, "new-" + std::to_string(key)), How::kReplace, "x", 1, 0, 0);
      if (cache.Figures(16).items != kItems) Fault("it does not hold as many items as it was made for");
      cache.Sweep(me);
      std::string fault = cache.Check();
      uint64_t removed;
      cache.Clear(me, &removed);
      if (fault.empty()) fault = cache.Check();
      if (!fault.empty()) Fault(fault.c_str());
    }
    instance.Leave();
    if (status != Status::kOk && (fcntl(file_, F_GETFD) < 0 || status == Status::kNoMemory)) Fault("it cannot start");
  }

  void Look(Cache& cache) {
    const std::string fault = cache.Check();
    if (!fault.empty()) Fault(fault.c_str());
    for (uint32_t key = 0; key < kKeys; key++) {
      uint8_t copy[100];
      Found found{};
      const Status status = cache.Read(Caller{0, 1, TestMs, 0}, KeyFor(cache, NameOf(key)), Cache::kUncounted,
                                       [&](const uint8_t* bytes, const Found& now) {
                                         found = now;
                                         CopyOut(copy, bytes, now.size);
                                       });
      if (status == Status::kNotFound) {
        tallies[kind_].missing += is_there_[key];
        continue;
      }
      Proof proof{};
      if (status != Status::kOk) Fault("a read fails");
      else if (const char* what = ReadProof(copy, key, found.size, found.flags, &proof)) Fault(what);
      else if (found.expires_at != 0 && found.expires_at != 100000 + key) Fault("an expiry that nobody gave");
      else if (is_there_[key] && proof.count == latest_[key]) tallies[kind_].right++;
      else if (kind_ == kPower) tallies[kind_].earlier++;
      else Fault(is_there_[key] ? "an earlier value" : "an item that was removed");
    }
  }

  void Fault(const char* what) {
    if (faults++ < 10) printf("FAILED %s, %s: %s\n", kPolicyNames[spec_.policy], kKindNames[kind_], what);
  }

  Dice dice_;
  CacheSpec spec_;
  CacheGeometry geometry_{};
  CachePlaces places_{};
  std::vector<uint8_t> early_, late_, image_;
  uint64_t count_ = 0, latest_[kKeys] = {};
  bool is_there_[kKeys] = {};
  Kind kind_ = kBits;
  int file_ = -1;
};

Outcome Mutations::tallies[kKinds];
uint64_t Mutations::faults = 0;

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const uint64_t stores = count > 1 ? strtoull(words[1], nullptr, 10) : getenv("UWSHM_FULL") ? 1000000 : 4000;
  const uint64_t seed = count > 2 ? strtoull(words[2], nullptr, 10) : 1;
  Need(stores > 0, "usage: store_mutations [COUNT [SEED]]");
  // Another content every so often: what a mutation meets is chance too.
  constexpr uint64_t kOfOne = 500;
  uint64_t done = 0;
  for (uint64_t n = 0; done < stores; n++) {
    const uint64_t rounds = stores - done < kOfOne ? stores - done : kOfOne;
    Mutations(seed * 1000003 + n, std::initializer_list<Policy>{kRefuse, kLru, kSieve}.begin()[n % 3]).Run(rounds);
    done += rounds;
  }
  printf("%-24s %9s %9s %10s %9s %9s %9s\n", "kind", "stores", "refused", "right", "earlier", "damaged", "missing");
  for (uint32_t kind = 0; kind < kKinds; kind++) {
    const Outcome& tally = Mutations::tallies[kind];
    printf("%-24s %9" PRIu64 " %9" PRIu64 " %10" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", kKindNames[kind],
           tally.stores, tally.refused, tally.right, tally.earlier, tally.damaged, tally.missing);
  }
  printf("{\"stores\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"faults\":%" PRIu64 "}\n", done, seed, Mutations::faults);
  fflush(stdout);
  _exit(Mutations::faults == 0 ? 0 : 1);
}
