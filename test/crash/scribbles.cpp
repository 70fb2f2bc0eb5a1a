// Somebody writes where he should not: random bytes into a cache's memory while others use it.
//
//   scribbles [ROUNDS [--seed N]]     300 rounds, with UWSHM_FULL=1 10,000
//
// Each round takes a filled cache of one kind, plain or with checksums. One process makes every call there
// is, in random order, and another reads and stores beside it; meanwhile the cache gets 1 to 4,096
// random bytes anywhere, or damage of some sense: circles, links of other slots, lengths beyond everything.
//
//   No call ends its process, and none goes on for ever: each has a second of the processor at most.
//   No call waits for a lock longer than it may.
//   With checksums no wrong value is served. Without, what was written over is what it is now.
//   After `clear` the cache holds as many items as it was made for; or it says that it is torn, and
//   after another `clear` it does, and every invariant holds.
//   Whoever dies in such a clear leaves a cache that the next clear makes whole.
//
// Locks and the root are in segments of their own, and are left alone: they have no such promise.
// Ends with 0 when all that holds, 1 when something does not, 2 when it could not begin. The last line is JSON.
#include <sched.h>

#include <cinttypes>
#include <cstring>

#include "../native/proof.hpp"
#include "cases.hpp"
#include "figures.hpp"
#include "stepped.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

constexpr uint32_t kKeys = 100, kCounters = 4, kItems = 80;
constexpr uint64_t kCallMs = 1000;

const struct Kind {
  const char* name;
  Policy policy;
  bool bitmap;
} kKinds[] = {{"plain", kRefuse, false}, {"lru", kLru, false},      {"lru-strict", kLruStrict, false},
              {"sieve", kSieve, false},  {"bitmap", kRefuse, true}, {"bitmap lru", kLru, true}};
constexpr uint32_t kCaches = 2 * std::size(kKinds);  // every second one is sealed

std::vector<CacheSpec> Caches() {
  std::vector<CacheSpec> specs;
  for (uint32_t i = 0; i < kCaches; i++) {
    const Kind& kind = kKinds[i / 2];
    CacheSpec spec = Spec("scribbled", kItems, kind.bitmap ? 32 : 128, 100, 32);
    spec.name += std::to_string(i);
    spec.policy = kind.policy;
    spec.blocks = kind.bitmap ? 2 * kItems : 0;
    spec.rules.ways = i % 2 == 1 ? uint32_t{kSealed} : 0;
    specs.push_back(spec);
  }
  return specs;
}

std::string NameOf(uint32_t key) {
  return std::string(key % 4 == 3 ? 70 : key % 4 == 1 ? 20 : 1, 'k') + std::to_string(key);
}

// What the processes know of each other.
struct Shared {
  std::atomic<uint32_t> order[2];  // how many turns each was told to make; an odd one is under way
  std::atomic<uint32_t> done[2];
  std::atomic<uint32_t> stop;   // for whoever goes on until told
  std::atomic<uint32_t> cache;  // of this round
  std::atomic<const char*> doing[2];
  std::atomic<uint64_t> calls, slowest_us, count;
  std::atomic<uint32_t> faults;
  char fault[200];

  void Fault(const char* doing, const char* what) {
    if (faults.fetch_add(1) == 0) snprintf(fault, sizeof fault, "%s: %s", doing, what);
  }
};

uint64_t ThreadUs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

class Caller_ {
 public:
  Caller_(Shared* shared, uint32_t id, uint64_t seed) : shared_(shared), id_(id), dice_(seed) {}

  [[noreturn]] void Run(const std::vector<int>& fds) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Trouble trouble;
    Need(instance_.Attach(kInstance, fds, Me(BootMs), &trouble) == Status::kOk, "a caller cannot attach");
    Need(instance_.EnterThread(&me_) == Status::kOk, "no thread slot for a caller");
    for (uint32_t turn = 0;;) {
      while (shared_->order[id_] == turn) sched_yield();
      turn = shared_->order[id_];
      sealed_ = shared_->cache % 2 == 1;
      if (id_ == 0) EveryCall();
      else
        while (shared_->stop == 0) SomeCall(dice_.Below(3));
      shared_->done[id_] = turn;
    }
  }

 private:
  static constexpr uint32_t kCalls = 20;

  Cache& cache() { return *instance_.caches()[shared_->cache]; }
  Key KeyOf(uint32_t key) {
    name_ = key < kKeys ? NameOf(key) : "counter-" + std::to_string(key - kKeys);
    return KeyFor(cache(), name_);
  }

  void EveryCall() {
    uint32_t order[kCalls];
    for (uint32_t i = 0; i < kCalls; i++) {
      const uint32_t at = dice_.Below(i + 1);
      order[i] = order[at], order[at] = i;
    }
    for (uint32_t call : order)
      for (uint32_t times = call < 12 ? 12 : 1; times > 0; times--) SomeCall(call);
  }

  // 0 to 11 are of one key.
  void SomeCall(uint32_t call) {
    const uint64_t since_us = ThreadUs();
    Make(call);
    const uint64_t us = ThreadUs() - since_us;
    shared_->calls++;
    if (us > shared_->slowest_us) shared_->slowest_us = us;
    if (us > kCallMs * 1000) Wrong("it took longer than a second");
  }

  void Make(uint32_t call) {
    const uint32_t number = dice_.Below(kKeys);
    const Key key = KeyOf(call == 6 || call == 7 || call == 11 ? kKeys + dice_.Below(kCounters) : number);
    uint8_t room[256];
    Found found{};
    uint64_t result = 0;
    switch (call) {
      case 0: return Say("get"), Look(number, key);
      case 1: return Say("update"), Store(number, key, How::kReplace);
      case 2: return Say("set"), Store(number, key, How::kAdd);
      case 3: return Say("del"), Answered(cache().Remove(me_, key));
      case 4:
        return Say("touch"), Answered(cache().Touch(me_, key, dice_.Below(2) == 0 ? BootMs() + dice_.Below(5) : 0));
      case 5: return Say("cas"), Swap(number, key);
      case 6: return Say("inc"), Answered(cache().Add(me_, key, 1, 0, &result));
      case 7: return Say("div"), Answered(cache().Calculate(me_, key, Math::kDivide, dice_.Below(3), 0, &result));
      case 8: {
        Say("pop");
        const Status status = cache().Pop(me_, key, room, sizeof room, &found);
        if (status == Status::kOk) Judge(number, room, found);
        return Answered(status);
      }
      case 9:
        return Say("ttl"), Answered(cache().Read(me_, key, Cache::kUncounted, [](const uint8_t*, const Found&) {}));
      case 10: return Say("get"), Look(number, key);
      case 11:
        Say("num");
        return Answered(cache().Read(me_, key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
          if (now.size == sizeof result) result = LoadWord(bytes);
        }));
      case 12: {
        Say("keys");
        std::vector<std::string> names;
        return Answered(cache().Keys(me_, &names));
      }
      case 13: {
        Say("scan");
        std::vector<std::string> names;
        uint32_t bucket = 0;
        return Answered(cache().Scan(me_, "k", 10, &bucket, &names));
      }
      case 14: return Say("prefix"), Answered(cache().RemovePrefix(me_, "kkkkkkkkkkkkkkkkkkkk1", &result));
      case 15: return Say("sweep"), static_cast<void>(cache().Sweep(me_));
      case 16: return Say("check"), static_cast<void>(cache().Check());
      case 17: return Say("stats"), static_cast<void>(cache().Figures(16));
      case 18: return Say("expect"), cache().Expect(key);
      default:
        Say("clear");
        if (dice_.Below(4) == 0) Answered(cache().Clear(me_, &result));
    }
  }

  void Say(const char* doing) { shared_->doing[id_] = doing; }

  void Look(uint32_t number, const Key& key) {
    std::vector<uint8_t> copy;
    Found found{};
    const Status status = cache().Read(me_, key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
      found = now;
      copy.resize(now.size + 1);
      CopyOut(copy.data(), bytes, now.size);
    });
    if (status == Status::kOk) Judge(number, copy.data(), found);
    Answered(status);
  }

  void Judge(uint32_t number, const uint8_t* bytes, const Found& found) {
    Proof proof;
    if (found.size > cache().largest_value()) Wrong("a value longer than any can be");
    if (!sealed_) return;
    if (const char* what = ReadProof(bytes, number, found.size, found.flags, &proof)) Wrong(what);
  }

  void Store(uint32_t number, const Key& key, How how) {
    uint8_t bytes[128];
    const uint32_t size = sizeof(Proof) + dice_.Below(sizeof bytes - sizeof(Proof) + 1), flags = dice_.Below(4) << 8;
    WriteProof(bytes, number, id_, shared_->count++, size, flags);
    Answered(cache().Store(me_, key, how, bytes, size, flags, dice_.Below(8) == 0 ? BootMs() + dice_.Below(9) : 0));
  }

  void Swap(uint32_t number, const Key& key) {
    uint8_t old[256], bytes[64];
    Expected expected{old, 0};
    cache().Read(me_, key, Cache::kCounted, [&](const uint8_t* now, const Found& found) {
      CopyOut(old, now, expected.size = std::min<size_t>(found.size, sizeof old));
    });
    WriteProof(bytes, number, id_, shared_->count++, sizeof bytes, 0);
    Answered(cache().Store(me_, key, How::kSwap, bytes, sizeof bytes, 0, 0, &expected));
  }

  void Answered(Status status) {
    if (status < Status::kBusy || status == Status::kCorrupt) return;
    char text[64];
    snprintf(text, sizeof text, "status %d", static_cast<int>(status));
    Wrong(text);
  }

  void Wrong(const char* what) { shared_->Fault(shared_->doing[id_], what); }

  Shared* shared_;
  const uint32_t id_;
  Dice dice_;
  Instance instance_;
  Caller me_{};
  std::string name_;
  bool sealed_ = false;
};

class Scribbles {
 public:
  Scribbles(uint32_t rounds, uint64_t seed) : rounds_(rounds), seed_(seed), dice_(seed) {
    void* page = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Need(page != MAP_FAILED, "no memory to share");
    shared_ = static_cast<Shared*>(page);
    CreateOrEnd(instance_, Caches(), 8);
    Need(instance_.EnterThread(&me_) == Status::kOk, "no thread slot");
    for (auto& cache : instance_.caches()) {
      Fill(*cache);
      const uint8_t* base = cache->segment().base();
      filled_.emplace_back(base, base + cache->segment().size());
    }
    for (uint32_t id = 0; id < 2; id++) {
      pids_[id] = fork();
      Need(pids_[id] >= 0, "fork failed");
      if (pids_[id] == 0) (new Caller_(shared_, id, dice_.Next()))->Run(instance_.Descriptors());
      dice_.Next();
    }
  }

  int Run() {
    for (round_ = 0; round_ < rounds_ && fault_.empty(); round_++) Round();
    for (pid_t pid : pids_) kill(pid, SIGKILL);
    if (fault_.empty()) printf("every scribble was survived\n");
    else printf("BROKEN in round %u, %s: %s\n", round_ - 1, how_.c_str(), fault_.c_str());
    printf("{\"seed\":%" PRIu64 ",\"rounds\":%u,\"calls\":%" PRIu64 ",\"slowestMs\":%.1f,\"damaged\":%" PRIu64
           ",\"clearedTwice\":%u,\"held\":%s}\n",
           seed_, round_, shared_->calls.load(), static_cast<double>(shared_->slowest_us) / 1000, damaged_, twice_,
           Bool(fault_.empty()));
    fflush(stdout);
    return fault_.empty() ? 0 : 1;
  }

 private:
  Cache& cache() { return *instance_.caches()[which_]; }

  void Fill(Cache& cache) {
    for (uint32_t key = 0; key < kKeys; key++) {
      uint8_t bytes[100];
      const uint32_t size = sizeof(Proof) + key % 60;
      WriteProof(bytes, key, 9, shared_->count++, size, 0);
      cache.Store(me_, KeyFor(cache, NameOf(key)), How::kReplace, bytes, size, 0, 0);
    }
    uint64_t result;
    for (uint32_t i = 0; i < kCounters; i++)
      cache.Add(me_, KeyFor(cache, "counter-" + std::to_string(i)), 1, 0, &result);
    cache.Remove(me_, KeyFor(cache, NameOf(5)));
    Need(cache.Check().empty(), "a filled cache is not whole");
  }

  void Round() {
    which_ = shared_->cache = round_ % kCaches;
    memcpy(cache().segment().base(), filled_[which_].data(), filled_[which_].size());
    how_ = std::string(kKinds[which_ / 2].name) + (which_ % 2 == 1 ? ", sealed" : "");
    // Half of the time in the middle of their calls.
    const bool amid = dice_.Below(2) == 0;
    if (!amid) Scribble();
    shared_->stop = 0;
    for (auto& order : shared_->order) order++;
    if (amid) {
      for (uint32_t turns = dice_.Below(20000); turns > 0; turns--) std::atomic_signal_fence(std::memory_order_seq_cst);
      Scribble();
    }
    Await(0);
    shared_->stop = 1;
    Await(1);
    if (shared_->faults != 0) Broken(shared_->fault);
    if (!fault_.empty()) return;
    if (which_ % 2 == 1) damaged_ += cache().Figures(16).damaged != 0;
    if (Clear() && !Usable(false)) twice_++, Clear() && Usable(true);
  }

  // Damage in one of many places; what others store at the same time may undo it.
  void Scribble() {
    Segment& segment = cache().segment();
    const CachePlaces at = CachePlaces::Of(cache().geometry());
    auto word = [&](uint64_t offset, uint32_t value) {
      reinterpret_cast<std::atomic<uint32_t>*>(segment.base() + offset)->store(value);
    };
    const uint32_t slot = 1 + dice_.Below(static_cast<uint32_t>(cache().geometry().slots()));
    const uint32_t other = 1 + dice_.Below(static_cast<uint32_t>(cache().geometry().slots()));
    const uint64_t item = at.items + slot * sizeof(Item);
    const uint32_t absurd[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, cache().geometry().max_items + 1};
    const uint32_t any = absurd[dice_.Below(std::size(absurd))];
    const uint32_t kind = dice_.Below(12);
    how_ += ", scribble " + std::to_string(kind);
    switch (kind) {
      case 0: return word(item, slot);   // a link to itself
      case 1: return word(item, other);  // another's
      case 2: {                          // a circle of two
        word(item, other);
        return word(at.items + other * sizeof(Item), slot);
      }
      case 3: return word(item + 4 * dice_.Below(16), any);
      case 4: return word(at.buckets + 4 * dice_.Below(cache().geometry().hashsize), dice_.Below(2) == 0 ? any : slot);
      case 5: return word(at.pool + 4 * dice_.Below(5), dice_.Below(2) == 0 ? any : slot);
      case 6: return word(at.stripes + 4 * dice_.Below(cache().geometry().stripes() * 16), any);
      case 7:
        return word(at.cells + 4 * dice_.Below(cache().geometry().threads * sizeof(Cell) / 4),
                    dice_.Below(2) == 0 ? any : slot);
      case 8: {  // all the links of the items
        for (uint32_t i = 1; i <= cache().geometry().slots(); i++) word(at.items + i * sizeof(Item), other);
        return;
      }
      default: break;
    }
    // Most of it is values.
    const uint64_t end = dice_.Below(2) == 0 ? at.blocks : segment.size();
    const uint64_t from = dice_.Below(static_cast<uint32_t>(end));
    const uint64_t size =
        std::min<uint64_t>(1 + (dice_.Below(2) == 0 ? dice_.Below(64) : dice_.Below(4096)), segment.size() - from);
    how_ += ", " + std::to_string(size) + " bytes at " + std::to_string(from);
    for (uint64_t i = 0; i < size; i++)
      __atomic_store_n(segment.base() + from + i, static_cast<uint8_t>(dice_.Next() >> 32), __ATOMIC_RELAXED);
  }

  void Await(uint32_t id) {
    const uint64_t until_us = NowUs() + 10000000;
    while (fault_.empty() && shared_->done[id] != shared_->order[id]) {
      sched_yield();
      int status = 0;
      const char* doing = shared_->doing[id];
      if (waitpid(pids_[id], &status, WNOHANG) == pids_[id])
        Broken(std::string(doing) + " ended its process by signal " + std::to_string(WTERMSIG(status)));
      if (NowUs() > until_us) Broken(std::string(doing) + " does not end");
    }
  }

  bool Clear() {
    uint64_t removed = 0;
    const Status status = cache().Clear(me_, &removed);
    if (status != Status::kOk) Broken("clear gives status " + std::to_string(static_cast<int>(status)));
    return status == Status::kOk;
  }

  // False: it says that it is torn. `surely`: it must not.
  bool Usable(bool surely) {
    const uint32_t room = Room();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < room; i++) {
      const Status status = Put(cache(), me_, "after-" + std::to_string(i), std::to_string(i));
      if (status == Status::kCorrupt && !surely) return false;
      if (status != Status::kOk) Broken("after clear a set gives status " + std::to_string(static_cast<int>(status)));
    }
    for (uint32_t i = 0; i < room; i++) {
      std::string value;
      cache().Read(me_, KeyFor(cache(), "after-" + std::to_string(i)), Cache::kCounted,
                   [&](const uint8_t* bytes, const Found& found) {
                     value.assign(reinterpret_cast<const char*>(bytes), std::min(found.size, 9u));
                   });
      kept += value == std::to_string(i);
    }
    if (kept != room) Broken("after clear it keeps " + std::to_string(kept) + " of " + std::to_string(room) + " items");
    const std::string fault = surely ? cache().Check() : "";
    if (!fault.empty()) Broken("after clear: " + fault);
    return true;
  }

  // What threads have in hand stays theirs: a slot for the next item of one that met damage, and runs, believed or not.
  uint32_t Room() {
    uint32_t slots = kItems, blocks = cache().geometry().blocks;
    for (uint32_t thread = 0; thread < cache().geometry().threads; thread++) {
      const Cell& cell = CellsOf(cache())[thread];
      slots -= cell.reserved != 0;
      if (blocks == 0) continue;
      const uwshm::Run old = cell.old;
      blocks -= LengthOf(cell.fresh) + ((old & kIdle) == 0 ? LengthOf(old) : 0);
    }
    return cache().geometry().blocks == 0 ? slots : std::min(slots, blocks);
  }

  void Broken(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  const uint32_t rounds_;
  const uint64_t seed_;
  Dice dice_;
  Shared* shared_;
  Instance instance_;
  Caller me_{};
  std::vector<std::vector<uint8_t>> filled_;
  pid_t pids_[2] = {};
  uint32_t round_ = 0, which_ = 0, twice_ = 0;
  uint64_t damaged_ = 0;
  std::string how_, fault_;
};

// A death at instructions of the clear that makes a torn cache anew.
class RebuildDeaths {
 public:
  RebuildDeaths(Policy policy, bool bitmap, bool sealed, uint64_t stride) : stride_(stride) {
    test_clock_ms = kNow;
    CreateOrEnd(instance_, {SmallCache(policy, bitmap, sealed)}, 4, TestMs);
    Need(instance_.EnterThread(&me_) == Status::kOk, "no thread slot");
    for (int i = 0; i < 9; i++) Put(cache(), me_, "key-" + std::to_string(i), "a value", i % 3 == 0 ? kLater : 0);
    cache().Remove(me_, KeyFor(cache(), "key-8"));
    // Two chains become one, and a third a circle.
    const CachePlaces at = CachePlaces::Of(cache().geometry());
    auto* buckets = cache().segment().At<std::atomic<uint32_t>>(at.buckets);
    buckets[0] = 1, buckets[1] = 1, buckets[2] = 2, buckets[3] = 0xffffffff;
    cache().segment().At<Item>(at.items)[2].chain_next = 2;
  }
  ~RebuildDeaths() { instance_.Leave(); }

  void Run() {
    Stepped victim(instance_, [](Instance& instance, const Caller& caller, uint32_t) {
      uint64_t removed = 0;
      instance.caches()[0]->Clear(caller, &removed);
    });
    const Image torn = Take(instance_);
    victim.Begin();
    uint64_t at = 0;
    do {
      if (at++ % stride_ != 0) continue;
      boundaries++;
      const Image alive = Take(instance_);
      Die(instance_, victim.tids());
      Judge();
      Restore(instance_, alive);
    } while (victim.Step() && failures == 0);
    Judge();
    Restore(instance_, torn);
  }

  static uint64_t boundaries, failures;

 private:
  Cache& cache() { return *instance_.caches()[0]; }

  void Judge() {
    for (int round = 0; round < 3; round++) instance_.Reclaim();
    uint64_t removed = 0;
    if (cache().Clear(me_, &removed) != Status::kOk) return Fail("a clear after it fails");
    if (const std::string fault = cache().Check(); !fault.empty()) return Fail(fault);
    for (int i = 0; i < 6; i++)
      if (Put(cache(), me_, "after-" + std::to_string(i), "x") != Status::kOk) return Fail("a slot is lost");
    if (cache().Figures(0).items != 6) Fail("an item is lost");
  }

  void Fail(const std::string& what) {
    if (failures++ == 0) printf("FAILED after a death in clear, boundary %" PRIu64 ": %s\n", boundaries, what.c_str());
  }

  const uint64_t stride_;
  Instance instance_;
  Caller me_{};
};

uint64_t RebuildDeaths::boundaries = 0, RebuildDeaths::failures = 0;

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  uint32_t rounds = getenv("UWSHM_FULL") ? 10000 : 300;
  uint64_t seed = 1;
  for (int i = 1; i < count; i++) {
    if (strcmp(words[i], "--seed") == 0 && i + 1 < count) seed = strtoull(words[++i], nullptr, 10);
    else rounds = static_cast<uint32_t>(strtoul(words[i], nullptr, 10));
  }
  Need(rounds > 0, "usage: scribbles [ROUNDS [--seed N]]");
  // Stepping takes its time: the short form has two of the kinds.
  const bool is_full = rounds >= 10000;
  for (const Kind& kind : kKinds)
    for (bool sealed : {false, true})
      if (is_full || (kind.bitmap ? sealed && kind.policy != kRefuse : !sealed && kind.policy == kRefuse))
        RebuildDeaths(kind.policy, kind.bitmap, sealed, is_full ? 7 : 331).Run();
  if (RebuildDeaths::failures != 0) _exit(1);
  printf("%" PRIu64 " deaths in a clear that makes all anew\n", RebuildDeaths::boundaries);
  auto* scribbles = new Scribbles(rounds, seed);
  _exit(scribbles->Run());  // the life thread has no end
}
