// Who goes when a cache is full: against a model that knows the order exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <thread>

#include "child.hpp"

namespace uwshm::test {
namespace {

class EvictTest : public ::testing::Test {
 protected:
  void Make(Policy policy, uint32_t items, uint32_t hashsize = 16, uint32_t callers = 1,
            HashKind hash = HashKind::kKeyed, uint32_t ways = 0) {
    test_clock_ms = 1000;
    CacheSpec spec = Spec("subject", items, 100, 100, hashsize);
    spec.rules.hash = static_cast<uint32_t>(hash);
    spec.rules.ways = ways;
    spec.policy = policy;
    CreateOrEnd(instance_, {spec}, 2, TestMs);
    callers_.resize(callers);
    for (Caller& caller : callers_) ASSERT_EQ(instance_.EnterThread(&caller), Status::kOk);
  }
  void TearDown() override {
    EXPECT_EQ(cache().Check(), "");
    instance_.Leave();
  }

  Cache& cache() { return *instance_.caches()[0]; }
  Key KeyOf(const std::string& name) { return KeyFor(cache(), name); }

  Status Put(const std::string& name, How how = How::kAdd, uint64_t expires_at = 0, size_t by = 0) {
    return cache().Store(callers_[by], KeyOf(name), how, name.data(), name.size(), 0, expires_at);
  }
  bool Get(const std::string& name, size_t by = 0, Cache::Count count = Cache::kCounted) {
    std::string value;
    Status status = cache().Read(callers_[by], KeyOf(name), count, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
    });
    if (status == Status::kOk) {
      EXPECT_EQ(value, name);
    }
    return status == Status::kOk;
  }
  std::string Left() {
    std::vector<std::string> names;
    cache().Keys(callers_[0], &names);
    std::sort(names.begin(), names.end());
    std::string text;
    for (const std::string& name : names) text += name;
    return text;
  }
  CacheFigures Figures() { return cache().Figures(instance_.processes().threads_used()); }

  Instance instance_;
  std::vector<Caller> callers_;
};

// Each thread that writes has a spare slot, in which there is no item.
TEST_F(EvictTest, TheHandPassesTheSparesOfThreadsWhenAllElseWasRead) {
  Make(kSieve, 6, 16, 4);
  for (int round = 0; round < 20; round++) {
    for (size_t by = 0; by < 4; by++) {
      const std::string name = std::to_string(round) + "-" + std::to_string(by);
      ASSERT_EQ(Put(name, How::kAdd, 0, by), Status::kOk) << name;
      std::vector<std::string> names;
      cache().Keys(callers_[0], &names);
      for (const std::string& each : names) ASSERT_TRUE(Get(each));
    }
  }
}

TEST_F(EvictTest, TheLeastRecentlyUsedGoesAndIsCounted) {
  Make(kLru, 3);
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(Put(name), Status::kOk);
  EXPECT_EQ(Left(), "bcd");
  EXPECT_EQ(Figures().evictions, 1u);
  EXPECT_EQ(Figures().full, 0u) << "an eviction is no refusal";
  EXPECT_EQ(Figures().items, 3u);
}

TEST_F(EvictTest, GetsAndUpdatesAreUsesAndNothingElseIs) {
  Make(kLru, 5);
  for (const char* name : {"a", "b", "c", "d", "e"}) Put(name);
  EXPECT_TRUE(Get("a"));
  EXPECT_EQ(Put("b", How::kReplace), Status::kOk);
  EXPECT_TRUE(Get("c", 0, Cache::kUncounted)) << "exists";
  EXPECT_EQ(Put("d"), Status::kExists);
  uint64_t sum = 0;
  Put("f"), Put("g"), Put("h");
  EXPECT_EQ(Left(), "abfgh") << "c, d and e went in their order";
  EXPECT_EQ(cache().Add(callers_[0], KeyOf("n"), 1, 0, &sum), Status::kOk);
  Put("i"), Put("j"), Put("k");
  EXPECT_EQ(cache().Add(callers_[0], KeyOf("n"), 1, 0, &sum), Status::kOk);
  EXPECT_EQ(sum, 2u);
  Put("l");
  EXPECT_EQ(Left(), "ijkln");
  Put("m");
  EXPECT_EQ(Left(), "ijklm") << "counting on is no use, as uWSGI has it";
}

TEST_F(EvictTest, WhatHasExpiredMakesRoomBeforeAnythingIsEvicted) {
  for (Policy policy : {kLru, kLruStrict, kSieve}) {
    Make(policy, 4);
    Put("a"), Put("b", How::kAdd, 2000), Put("c"), Put("d", How::kAdd, 3000);
    test_clock_ms = 2500;
    EXPECT_EQ(Put("e"), Status::kOk);
    EXPECT_EQ(Left(), "acde");
    EXPECT_EQ(Figures().evictions, 0u);
    test_clock_ms = 3000;
    EXPECT_EQ(Put("f"), Status::kOk);
    EXPECT_EQ(Left(), "acef");
    EXPECT_EQ(Put("g"), Status::kOk);
    EXPECT_EQ(Left(), "cefg");
    EXPECT_EQ(Figures().evictions, 1u);
    if (policy != kSieve) TearDown(), instance_.~Instance(), new (&instance_) Instance;
  }
}

TEST_F(EvictTest, WhatHasExpiredMakesRoomBeforeAllIsCleared) {
  Make(kRefuse, 4, 16, 1, HashKind::kKeyed, kCleared);
  Put("a"), Put("b", How::kAdd, 2000), Put("c"), Put("d");
  test_clock_ms = 2000;
  EXPECT_EQ(Put("e"), Status::kOk);
  EXPECT_EQ(Left(), "acde");
  EXPECT_EQ(Figures().evictions, 0u);
  EXPECT_EQ(Put("f"), Status::kOk);
  EXPECT_EQ(Left(), "f");
  EXPECT_EQ(Figures().evictions, 4u);
  EXPECT_EQ(Figures().expired, 1u);
}

TEST_F(EvictTest, ACacheOfOneItemTakesEveryItem) {
  Make(kLru, 1, 1);
  for (int i = 0; i < 100; i++) ASSERT_EQ(Put("key-" + std::to_string(i)), Status::kOk) << i;
  EXPECT_EQ(Left(), "key-99");
  EXPECT_EQ(Figures().evictions, 99u);
}

// Every caller acts for itself, one after the other: the order is exact all the same.
class ExactTest : public EvictTest, public ::testing::WithParamInterface<std::tuple<Policy, uint32_t, uint32_t>> {};

TEST_P(ExactTest, OneCallAfterAnotherTheLeastRecentlyUsedGoesEveryTime) {
  const auto [policy, items, callers] = GetParam();
  Make(policy, items, 64, callers);
  std::list<std::string> order;  // the most recent first
  std::map<std::string, std::list<std::string>::iterator> where;
  auto use = [&](const std::string& name) {
    if (auto found = where.find(name); found != where.end()) order.erase(found->second);
    order.push_front(name);
    where[name] = order.begin();
    if (order.size() > items) where.erase(order.back()), order.pop_back();
  };
  Dice dice(items * 8 + callers);
  for (int call = 0; call < 60000; call++) {
    // Few keys often, most seldom.
    const uint32_t n = dice.Below(3) == 0 ? dice.Below(items * 3) : dice.Below(items);
    const std::string name = std::string(n % 5 == 4 ? 70 : 0, 'k') + std::to_string(n);
    const size_t by = dice.Below(callers);
    const uint32_t die = dice.Below(100);
    if (die < 50) {
      const bool there = where.count(name) != 0;
      ASSERT_EQ(Get(name, by), there) << "call " << call;
      if (there) use(name);
    } else if (die < 80) {
      const bool there = where.count(name) != 0;
      ASSERT_EQ(Put(name, How::kAdd, 0, by), there ? Status::kExists : Status::kOk) << "call " << call;
      if (!there) use(name);
    } else if (die < 95) {
      ASSERT_EQ(Put(name, How::kReplace, 0, by), Status::kOk) << "call " << call;
      use(name);
    } else {
      const bool there = where.count(name) != 0;
      ASSERT_EQ(cache().Remove(callers_[by], KeyOf(name)), there ? Status::kOk : Status::kNotFound) << "call " << call;
      if (there) order.erase(where[name]), where.erase(name);
    }
    if (call % 10000 == 0) {
      ASSERT_EQ(cache().Check(), "") << "call " << call;
    }
  }
  EXPECT_EQ(Figures().items, order.size());
  EXPECT_GT(Figures().evictions, 1000u);
}

std::string NameOf(const ::testing::TestParamInfo<ExactTest::ParamType>& subject) {
  return (std::get<0>(subject.param) == kLru ? "Lru" : "Strict") + std::to_string(std::get<1>(subject.param)) +
         "Items" + std::to_string(std::get<2>(subject.param)) + "Callers";
}

// What two threads read between two insertions is in no order, unless it is strict.
INSTANTIATE_TEST_SUITE_P(Lru, ExactTest,
                         ::testing::Combine(::testing::Values(kLru), ::testing::Values(2u, 7u, 100u, 3000u),
                                            ::testing::Values(1u)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Strict, ExactTest,
                         ::testing::Combine(::testing::Values(kLruStrict), ::testing::Values(2u, 7u, 100u, 3000u),
                                            ::testing::Values(1u, 4u)),
                         NameOf);

TEST_F(EvictTest, SeveralCallersHitAsOftenAsWithAnExactOrder) {
  constexpr uint32_t kItems = 500, kCalls = 200000;
  Make(kLru, kItems, 64, 4);
  std::list<uint32_t> order;  // the most recent first
  std::map<uint32_t, std::list<uint32_t>::iterator> where;
  uint32_t hits = 0, exact_hits = 0;
  Dice dice(9);
  for (uint32_t call = 0; call < kCalls; call++) {
    uint32_t n = dice.Below(kItems * 10);
    if (dice.Below(4) != 0) n = n * n / (kItems * 40);
    const size_t by = dice.Below(4);
    if (Get(std::to_string(n), by)) hits++;
    else ASSERT_EQ(Put(std::to_string(n), How::kAdd, 0, by), Status::kOk);

    if (auto found = where.find(n); found != where.end()) exact_hits++, order.erase(found->second);
    order.push_front(n);
    where[n] = order.begin();
    if (order.size() > kItems) where.erase(order.back()), order.pop_back();
  }
  EXPECT_GT(exact_hits, kCalls / 4);
  EXPECT_NEAR(hits, exact_hits, kCalls / 500.0);
}

// More reads than a thread can count between two insertions.
TEST_F(EvictTest, TheOrderHoldsWhenNothingIsInsertedForLong) {
  Make(kLru, 3, 1, 2);
  Put("a"), Put("b"), Put("c");
  for (uint32_t i = 0; i < (1u << kTickShift); i++) {
    ASSERT_TRUE(Get("a"));
  }
  Put("b", How::kReplace, 0, 1), Put("c", How::kReplace, 0, 1);
  Put("d", How::kAdd, 0, 1);
  EXPECT_EQ(Left(), "bcd");
}

// The hand goes from the oldest to the newest and again; what was read since it
// last came by stays. The thread's spare slot has a place in our order, so who
// is met at the very end of a lap may differ: the hits are compared, not the order.
TEST_F(EvictTest, SieveHitsAsOftenAsItsModel) {
  constexpr uint32_t kItems = 200, kCalls = 100000;
  Make(kSieve, kItems);
  struct Entry {
    uint32_t name;
    bool visited;
  };
  std::list<Entry> queue;  // the newest first
  std::map<uint32_t, std::list<Entry>::iterator> where;
  auto hand = queue.end();  // = begin again with the oldest
  uint32_t hits = 0, model_hits = 0;
  Dice dice(5);
  for (uint32_t call = 0; call < kCalls; call++) {
    uint32_t n = dice.Below(kItems * 10);
    if (dice.Below(4) != 0) n = n * n / (kItems * 40);
    if (Get(std::to_string(n))) hits++;
    else ASSERT_EQ(Put(std::to_string(n)), Status::kOk);

    if (auto found = where.find(n); found != where.end()) {
      found->second->visited = true;
      model_hits++;
      continue;
    }
    while (queue.size() == kItems) {
      if (hand == queue.end()) --hand;
      const auto met = hand;
      hand = met == queue.begin() ? queue.end() : std::prev(met);
      if (met->visited) met->visited = false;
      else where.erase(met->name), queue.erase(met);
    }
    queue.push_front({n, false});
    where[n] = queue.begin();
  }
  EXPECT_GT(model_hits, kCalls / 3);
  EXPECT_NEAR(hits, model_hits, kCalls / 500.0);
}

TEST_F(EvictTest, AnItemThatIsReadOnceInALapOutlivesAnyScan) {
  Make(kSieve, 100);
  for (int i = 0; i < 100; i++) Put("old-" + std::to_string(i));
  for (int i = 0; i < 10; i++) Get("old-" + std::to_string(i));
  for (int i = 0; i < 5000; i++) {
    Put("scan-" + std::to_string(i));
    for (int j = 0; j < 10 && i % 50 == 0; j++) {
      ASSERT_TRUE(Get("old-" + std::to_string(j))) << "scan " << i;
    }
  }
}

TEST_F(EvictTest, AStripeThatIsHeldDoesNotHoldUpWhoNeedsRoom) {
  Make(kLru, 100, 64, 1);
  for (int i = 0; i < 100; i++) Put("key-" + std::to_string(i));
  const uint32_t stripe = KeyOf("key-0").stripe;
  std::string name;
  for (int i = 0; name.empty() || KeyOf(name).stripe == stripe; i++) name = "new-" + std::to_string(i);
  std::atomic<bool> held{false}, enough{false};
  std::thread holder([&] {
    const Caller other{1, callers_[0].pid, TestMs, 1000};
    Guard guard(instance_.locks(), cache().geometry().first_lock + stripe, other, cache());
    for (held = true; !enough; std::this_thread::yield()) {
    }
  });
  while (!held) std::this_thread::yield();
  EXPECT_EQ(Put(name), Status::kOk);
  EXPECT_TRUE(Get("key-0")) << "its stripe was busy, so another went";
  enough = true;
  holder.join();
}

// Keys of one chain, as somebody chooses them who knows the hash.
class CrowdTest : public EvictTest {
 protected:
  static constexpr uint32_t kMost = 1024;

  void MakeCrowd(Policy policy) {
    Make(policy, 2000, 32, 2, HashKind::kDjb33x);
    ASSERT_EQ(cache().geometry().longest_chain(), kMost);
    for (int i = 0; chosen_.size() < 3 * kMost; i++) {
      const std::string name = "chosen-" + std::to_string(i);
      if (KeyOf(name).bucket == 5) chosen_.push_back(name);
    }
    for (int i = 0; i < 100; i++) {
      const std::string name = "other-" + std::to_string(i);
      if (KeyOf(name).bucket != 5) others_.push_back(name), Put(name);
    }
    for (uint32_t i = 0; i < kMost; i++) ASSERT_EQ(Put(chosen_[i], How::kAdd, 0, i % 2), Status::kOk);
  }
  void ExpectOthers() {
    for (const std::string& name : others_) EXPECT_TRUE(Get(name)) << name;
    EXPECT_EQ(Figures().longest_chain, kMost);
  }

  std::vector<std::string> chosen_, others_;
};

TEST_F(CrowdTest, InAChainThatTakesNoMoreItsLeastRecentlyUsedGoes) {
  for (Policy policy : {kLru, kLruStrict}) {
    chosen_.clear(), others_.clear();
    MakeCrowd(policy);
    // Every third was used, by a thread of whom only a note tells.
    for (uint32_t i = 0; i < kMost; i += 3) EXPECT_TRUE(Get(chosen_[i], 1));
    const uint32_t unused = kMost - (kMost + 2) / 3;
    for (uint32_t i = 0; i < unused; i++) ASSERT_EQ(Put(chosen_[kMost + i]), Status::kOk) << i;
    for (uint32_t i = 0; i < kMost + unused; i++)
      ASSERT_EQ(Get(chosen_[i], 0, Cache::kUncounted), i >= kMost || i % 3 == 0) << i;
    EXPECT_EQ(Figures().evictions, unused);
    ExpectOthers();
    if (policy == kLru) TearDown(), instance_.~Instance(), new (&instance_) Instance;
  }
}

TEST_F(CrowdTest, SieveLetsWhoWasReadStay) {
  MakeCrowd(kSieve);
  for (uint32_t i = 0; i < kMost; i += 2) EXPECT_TRUE(Get(chosen_[i]));
  for (uint32_t i = 0; i < kMost / 2; i++) ASSERT_EQ(Put(chosen_[kMost + i]), Status::kOk);
  for (uint32_t i = 0; i < kMost; i++) ASSERT_EQ(Get(chosen_[i], 0, Cache::kUncounted), i % 2 == 0) << i;
  ExpectOthers();
}

TEST_F(CrowdTest, WithoutAPolicyOnlyWhatHasExpiredMakesRoom) {
  MakeCrowd(kRefuse);
  EXPECT_EQ(Put(chosen_[kMost]), Status::kCrowded);
  EXPECT_EQ(Put(chosen_[500], How::kReplace, 2000), Status::kOk);
  EXPECT_EQ(Put(chosen_[kMost]), Status::kCrowded);
  test_clock_ms = 2000;
  EXPECT_EQ(Put(chosen_[kMost]), Status::kOk);
  EXPECT_EQ(Figures().expired, 1u);
  EXPECT_EQ(Put(chosen_[kMost + 1]), Status::kCrowded);
  EXPECT_FALSE(Get(chosen_[500]));
  ExpectOthers();
}

TEST_F(CrowdTest, SeveralWhoCrowdOneChainAllFindRoom) {
  MakeCrowd(kLru);
  std::vector<std::thread> threads;
  std::atomic<uint32_t> refused{0};
  for (size_t by : {0, 1})
    threads.emplace_back([&, by] {
      for (uint32_t i = 0; i < 5000; i++)
        if (Put(chosen_[(i * 7 + by * 1500) % chosen_.size()], How::kReplace, 0, by) != Status::kOk) refused++;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 0u);
  ExpectOthers();
}

TEST_F(EvictTest, CheckSeesAnOrderThatIsNone) {
  Make(kLru, 8, 2);
  for (int i = 0; i < 12; i++) Put("key-" + std::to_string(i));
  const CachePlaces at = CachePlaces::Of(cache().geometry());
  Segment& segment = cache().segment();
  struct {
    const char* invariant;
    uint64_t offset;
    uint32_t value;
  } const damages[] = {
      {"I6", at.order + offsetof(Order, gap), 2},
      {"I7", at.order + offsetof(Order, listed), 4000},
      {"I7", at.order + offsetof(Order, listed), 5},
      {"I7", at.ranks + offsetof(Rank, slot), 4000},
      {"I7", at.ranks + sizeof(Rank) + offsetof(Rank, slot), segment.At<Rank>(at.ranks)->slot},
      {"I7", at.ranks + offsetof(Rank, used) + 4, 0x7fffffff},
      {"I7", at.listed + 4, 0},
  };
  ASSERT_EQ(cache().Check(), "");
  for (const auto& damage : damages) {
    uint32_t before;
    memcpy(&before, segment.base() + damage.offset, sizeof before);
    memcpy(segment.base() + damage.offset, &damage.value, sizeof before);
    EXPECT_EQ(cache().Check().substr(0, 2), damage.invariant) << "at " << damage.offset;
    memcpy(segment.base() + damage.offset, &before, sizeof before);
    ASSERT_EQ(cache().Check(), "");
  }
}

}  // namespace
}  // namespace uwshm::test
