// Several threads of one process on few keys: what ThreadSanitizer can see of
// a structure that is shared between processes. Every value proves itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "proof.hpp"
#include "world.hpp"

namespace uwshm::test {
namespace {

constexpr uint32_t kThreads = 4, kKeys = 8, kCounters = 2;
#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kCalls = 15000;
#else
constexpr uint32_t kCalls = 150000;
#endif

struct Shape {
  const char* name;
  uint32_t items, hashsize;
  Policy policy = kRefuse;
  bool sealed = false;
};

class ThreadsTest : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    CacheSpec spec = Spec("subject", GetParam().items, 200, 100, GetParam().hashsize);
    spec.policy = GetParam().policy;
    spec.rules.ways = GetParam().sealed ? uint32_t{kSealed} : 0;
    CreateOrEnd(instance_, {spec}, 4);
    for (uint32_t i = 0; i < kKeys; i++)
      names_.push_back(i % 4 == 3 ? std::string(90, 'k') + std::to_string(i) : "key-" + std::to_string(i));
    for (uint32_t i = 0; i < kCounters; i++) names_.push_back("counter-" + std::to_string(i));
  }
  void TearDown() override { instance_.Leave(); }

  Cache& cache() { return *instance_.caches()[0]; }
  static bool evicts() { return GetParam().policy != kRefuse; }

  // One thread's part; its first complaint.
  std::string Work(uint32_t id) {
    Caller caller{};
    if (instance_.EnterThread(&caller) != Status::kOk) return "no thread slot";
    std::vector<Key> keys;
    for (const std::string& name : names_) keys.push_back(KeyFor(cache(), name));
    Dice dice(id + 1);
    uint64_t seen[kKeys][kThreads] = {}, counted[kCounters] = {};
    for (uint32_t call = 1; call <= kCalls; call++) {
      const uint32_t key = dice.Below(kKeys), die = dice.Below(1000);
      Status status = Status::kOk;
      if (die < 400) {
        Proof proof{};
        const char* what = nullptr;
        status = Fetch(caller, keys[key], key, &proof, &what);
        if (what != nullptr) return what;
        if (status == Status::kOk) {
          if (proof.writer >= kThreads) return "a writer that is nobody";
          if (proof.count < seen[key][proof.writer]) return "an old value came back";
          seen[key][proof.writer] = proof.count;
        }
      } else if (die < 700) {
        uint8_t bytes[200];
        const uint32_t size = sizeof(Proof) + dice.Below(sizeof bytes - sizeof(Proof) + 1), flags = dice.Below(3) << 8;
        WriteProof(bytes, key, id, call, size, flags);
        const uint64_t expires_at = dice.Below(3) == 0 ? BootMs() + dice.Below(4) : 0;
        status =
            cache().Store(caller, keys[key], die < 550 ? How::kAdd : How::kReplace, bytes, size, flags, expires_at);
        if (status == Status::kExists || status == Status::kFull) status = Status::kOk;
      } else if (die < 800) {
        status = cache().Remove(caller, keys[key]);
      } else if (die < 850) {
        uint8_t bytes[200];
        Found found{};
        Proof proof{};
        status = cache().Pop(caller, keys[key], bytes, sizeof bytes, &found);
        const char* what = nullptr;
        if (status == Status::kOk) what = ReadProof(bytes, key, found.size, found.flags, &proof);
        if (what != nullptr) return what;
      } else if (die < 990) {
        uint64_t result = 0;
        const uint32_t counter = dice.Below(kCounters);
        status = cache().Add(caller, keys[kKeys + counter], 1, 0, &result);
        if (status == Status::kFull) continue;
        if (result <= counted[counter] && !evicts()) return "a counter went back";
        counted[counter] = result;
        additions_[counter]++;
      } else if (die < 996) {
        cache().Sweep(caller);
      } else {
        std::vector<std::string> listed;
        status = cache().Keys(caller, &listed);
        for (const std::string& name : listed)
          if (std::find(names_.begin(), names_.end(), name) == names_.end()) return "a key that nobody stored";
        for (uint32_t counter = 0; counter < kCounters; counter++) {
          const auto times = std::count(listed.begin(), listed.end(), names_[kKeys + counter]);
          if (!evicts() && (times > 1 || (times == 0 && counted[counter] != 0)))
            return "a key that stays was not told exactly once";
        }
      }
      if (status != Status::kOk && status != Status::kNotFound)
        return "status " + std::to_string(static_cast<int>(status));
    }
    return "";
  }

  Status Fetch(const Caller& caller, const Key& where, uint32_t key, Proof* proof, const char** what) {
    uint8_t copy[200];
    Found found{};
    Status status = cache().Read(caller, where, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
      found = now;
      CopyOut(copy, bytes, now.size);
    });
    if (status == Status::kOk) *what = ReadProof(copy, key, found.size, found.flags, proof);
    return status;
  }

  Instance instance_;
  std::vector<std::string> names_;
  std::atomic<uint64_t> additions_[kCounters] = {};
};

TEST_P(ThreadsTest, ManyThreadsOnFewKeysSeeWholeValuesInOrder) {
  std::string complaints[kThreads];
  std::vector<std::thread> threads;
  for (uint32_t id = 0; id < kThreads; id++) threads.emplace_back([&, id] { complaints[id] = Work(id); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& complaint : complaints) EXPECT_EQ(complaint, "");
  EXPECT_EQ(cache().Check(), "");
  EXPECT_EQ(cache().Figures(16).damaged, 0u);
  Caller caller{};
  ASSERT_EQ(instance_.EnterThread(&caller), Status::kOk);
  for (uint32_t counter = 0; counter < kCounters; counter++) {
    uint64_t value = 0;
    cache().Read(caller, KeyFor(cache(), names_[kKeys + counter]), Cache::kUncounted,
                 [&](const uint8_t* bytes, const Found&) { value = LoadWord(bytes); });
    // One that was evicted has begun anew.
    if (evicts()) EXPECT_LE(value, additions_[counter]);
    else EXPECT_EQ(value, additions_[counter]);
  }
}

// Stripes come from buckets: hashsize 1 puts every key behind one lock.
INSTANTIATE_TEST_SUITE_P(Shapes, ThreadsTest,
                         ::testing::Values(Shape{"OneStripe", 20, 1}, Shape{"OneStripeTooSmall", 6, 1},
                                           Shape{"FourStripes", 20, 4}, Shape{"ManyStripesTooSmall", 5, 64},
                                           Shape{"LruTooSmall", 6, 4, kLru}, Shape{"SieveTooSmall", 6, 64, kSieve},
                                           Shape{"StrictTooSmall", 6, 1, kLruStrict},
                                           Shape{"Sealed", 20, 1, kRefuse, true},
                                           Shape{"SealedSieve", 6, 64, kSieve, true}),
                         [](const auto& subject) { return subject.param.name; });

// One long chain whose slots change all the time: who is preempted in the middle of it
// comes back to a slot that stands elsewhere by then.
TEST(ScanBesideWriters, EveryKeyIsToldExactlyOnce) {
  Instance instance;
  CreateOrEnd(instance, {Spec("subject", 2000, 16, 16, 1)}, 4);
  Cache& cache = *instance.caches()[0];
  Caller caller{};
  ASSERT_EQ(instance.EnterThread(&caller), Status::kOk);
  std::vector<Key> keys;
  std::vector<std::string> names;
  for (int i = 0; i < 2000; i++) names.push_back(std::to_string(i));
  for (const std::string& name : names) {
    keys.push_back(KeyFor(cache, name));
    ASSERT_EQ(cache.Store(caller, keys.back(), How::kAdd, "", 0, 0, 0), Status::kOk);
  }
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  constexpr uint32_t kStores = kCalls / 3;  // of each writer
  std::atomic<uint32_t> writing{3};
  std::vector<std::thread> writers;
  for (uint32_t id = 0; id < 3; id++)
    writers.emplace_back([&, id] {
      Caller own{};
      Dice dice(id + 1);
      if (instance.EnterThread(&own) == Status::kOk)
        for (uint32_t i = 0; i < kStores; i++) cache.Store(own, keys[dice.Below(2000)], How::kReplace, "new", 3, 0, 0);
      writing--;
    });
  bool same = true;
  while (writing > 0 && same) {
    std::vector<std::string> told;
    EXPECT_EQ(cache.Keys(caller, &told), Status::kOk);
    std::sort(told.begin(), told.end());
    same = told == sorted;
  }
  EXPECT_TRUE(same);
  for (std::thread& writer : writers) writer.join();
  instance.Leave();
}

// Threads come and go while others work, as worker_threads do.
TEST(ThreadsComeAndGo, TheirSlotsAreUsedAgain) {
  Instance instance;
  CreateOrEnd(instance, {Spec("subject", 20, 64, 100, 4)}, 2);
  Cache& cache = *instance.caches()[0];
  std::atomic<uint32_t> refused{0};
  auto visit = [&](uint32_t id) {
    for (int round = 0; round < 300; round++) {
      Caller caller{};
      if (instance.EnterThread(&caller) != Status::kOk) {
        refused++;
        continue;
      }
      const std::string name = "key-" + std::to_string((id * 7 + static_cast<uint32_t>(round)) % 25);
      cache.Store(caller, KeyFor(cache, name), How::kReplace, name.data(), name.size(), 0, 0);
      if (round % 3 == 0) cache.Remove(caller, KeyFor(cache, name));
      instance.LeaveThread(caller);
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t id = 0; id < 4; id++) threads.emplace_back(visit, id);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 0u);
  EXPECT_LE(instance.processes().threads_used(), 4u);
  EXPECT_EQ(cache.Check(), "");
  instance.Leave();
}

}  // namespace
}  // namespace uwshm::test
