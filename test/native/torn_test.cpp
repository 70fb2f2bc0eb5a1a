// Links, lists and counts that somebody has scribbled over: they are noticed, and `clear` makes the cache anew.
#include <gtest/gtest.h>

#include "world.hpp"

namespace uwshm::test {
namespace {

constexpr uint32_t kItems = 20;

class Torn : public testing::TestWithParam<std::pair<Policy, uint32_t>> {
 protected:
  void SetUp() override {
    CacheSpec spec = Spec("torn", kItems, 48, 100, 4);
    spec.policy = GetParam().first;
    spec.blocks = GetParam().second;
    CreateOrEnd(instance_, {spec}, 2, TestMs);
    ASSERT_EQ(Status::kOk, instance_.EnterThread(&me_));
    for (int i = 0; i < 10; i++) ASSERT_EQ(Status::kOk, Set(std::to_string(i)));
    cache().Remove(me_, KeyFor(cache(), "9"));
  }
  void TearDown() override { instance_.Leave(); }

  Cache& cache() { return *instance_.caches()[0]; }
  CachePlaces at() { return CachePlaces::Of(cache().geometry()); }
  Pool& pool() { return *cache().segment().At<Pool>(at().pool); }
  Item& item(Slot slot) { return cache().segment().At<Item>(at().items)[slot]; }
  std::atomic<uint32_t>& bucket(const std::string& name) {
    return cache().segment().At<std::atomic<uint32_t>>(at().buckets)[KeyFor(cache(), name).bucket];
  }
  Status Set(const std::string& name) {
    return cache().Store(me_, KeyFor(cache(), name), How::kAdd, name.data(), name.size(), 0, 0);
  }
  std::string Get(const std::string& name) {
    std::string value;
    cache().Read(me_, KeyFor(cache(), name), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
    });
    return value;
  }
  void ClearAndFill() {
    uint64_t removed = 0;
    ASSERT_EQ(Status::kOk, cache().Clear(me_, &removed));
    EXPECT_EQ("", cache().Check());
    for (uint32_t i = 0; i < kItems; i++) EXPECT_EQ(Status::kOk, Set("after " + std::to_string(i))) << i;
    for (uint32_t i = 0; i < kItems; i++) EXPECT_EQ("after " + std::to_string(i), Get("after " + std::to_string(i)));
    EXPECT_EQ("", cache().Check());
  }

  Instance instance_;
  Caller me_{};
};

TEST_P(Torn, APoolThatLeadsToAnItemGivesItToNobody) {
  pool().head = bucket("3").load();
  const std::string before = Get("3");
  EXPECT_EQ(Status::kCorrupt, Set("new"));
  EXPECT_EQ(before, Get("3"));
  ClearAndFill();
}

TEST_P(Torn, AMarkBelowItemsGivesThemToNobody) {
  pool().head = 0, pool().count = 0, pool().mark = 4;
  EXPECT_EQ(Status::kCorrupt, Set("new"));
  for (int i = 0; i < 9; i++) EXPECT_EQ(std::to_string(i), Get(std::to_string(i)));
  ClearAndFill();
}

TEST_P(Torn, ACircleInAChainEndsWithClear) {
  const Slot first = bucket("3");
  for (Slot last = first;; last = item(last).chain_next) {
    if (item(last).chain_next != 0) continue;
    item(last).chain_next = first;
    break;
  }
  ClearAndFill();
}

TEST_P(Torn, ItemsThatAreOnNoChainAreFoundByClear) {
  bucket("3") = 0;
  ClearAndFill();
}

TEST_P(Torn, AFullCacheThatIsTornSaysSo) {
  bucket("3") = UINT32_MAX;
  EXPECT_EQ("", Get("3"));
  if (GetParam().first == kRefuse) {
    for (int i = 0; i < 40; i++) {
      const Status status = Set("more " + std::to_string(i));
      EXPECT_TRUE(status == Status::kOk || status == Status::kCorrupt) << static_cast<int>(status);
    }
  }
  ClearAndFill();
}

TEST_P(Torn, AClearLeavesAWholeCacheItsLocks) {
  uint64_t removed = 0;
  const uint64_t before = cache().CountsOfLocks().acquisitions;
  ASSERT_EQ(Status::kOk, cache().Clear(me_, &removed));
  EXPECT_EQ(9u, removed);
  const uint64_t taken = cache().CountsOfLocks().acquisitions - before;
  EXPECT_EQ(9 * 2 + 4, taken) << "one to take each item off, one to give its slot back, and a last look at each stripe";
}

INSTANTIATE_TEST_SUITE_P(Kinds, Torn,
                         testing::Values(std::pair{kRefuse, 0u}, std::pair{kLru, 0u}, std::pair{kSieve, 0u},
                                         std::pair{kRefuse, 40u}, std::pair{kLru, 40u}));

}  // namespace
}  // namespace uwshm::test
