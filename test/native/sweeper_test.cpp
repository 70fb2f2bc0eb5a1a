// The sweeper takes out what has expired while nobody asks, and nothing stops it
// but its owner.
#include "sweeper.hpp"

#include <gtest/gtest.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

class SweeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test_clock_ms = 1000;
    CreateOrEnd(instance_, {Spec("first", 1000, 16, 32, 64), Spec("second", 1000, 16, 32, 64)}, 2, TestMs);
    ASSERT_EQ(instance_.EnterThread(&caller_), Status::kOk);
  }
  void TearDown() override {
    sweeper_.Stop();
    instance_.Leave();
  }

  void Fill(uint32_t cache, uint64_t expires_at) {
    for (int i = 0; i < 500; i++) {
      const std::string name = "key-" + std::to_string(i);
      Cache& where = *instance_.caches()[cache];
      ASSERT_EQ(where.Store(caller_, KeyFor(where, name), How::kReplace, "v", 1, 0, expires_at), Status::kOk);
    }
  }
  uint64_t Items(uint32_t cache) { return instance_.caches()[cache]->Figures(2).items; }

  Instance instance_;
  Caller caller_{};
  Sweeper sweeper_;
};

TEST_F(SweeperTest, WhatHasExpiredGoesFromEveryCacheAndTheRestStays) {
  Fill(0, 2000), Fill(1, 3000);
  ASSERT_EQ(sweeper_.Start(instance_, 1), Status::kOk);
  test_clock_ms = 2000;
  EXPECT_TRUE(Eventually([&] { return Items(0) == 0; }));
  EXPECT_EQ(Items(1), 500u);
  test_clock_ms = 3000;
  EXPECT_TRUE(Eventually([&] { return Items(1) == 0; }));
  sweeper_.Stop();
  for (auto& cache : instance_.caches()) EXPECT_EQ(cache->Check(), "");
}

TEST_F(SweeperTest, AStripeThatIsHeldAndAChainThatLeadsNowhereArePassedOver) {
  Fill(0, 2000), Fill(1, 2000);
  Cache& cache = *instance_.caches()[0];
  // A chain of the first stripe that is none, and the second stripe held by somebody.
  std::atomic<uint32_t>* bucket = cache.segment().At<std::atomic<uint32_t>>(CachePlaces::Of(cache.geometry()).buckets);
  const uint32_t before = *bucket;
  *bucket = 0xffffff;
  Stripe* stripes = cache.segment().At<Stripe>(CachePlaces::Of(cache.geometry()).stripes);
  const uint64_t left = stripes[0].count + stripes[1].count;
  ASSERT_GT(stripes[1].count, 0u);
  {
    Guard held(instance_.locks(), cache.geometry().first_lock + 1, caller_, cache);
    ASSERT_EQ(sweeper_.Start(instance_, 1), Status::kOk);
    test_clock_ms = 2000;
    EXPECT_TRUE(Eventually([&] { return Items(0) == left && Items(1) == 0; }));
  }
  EXPECT_TRUE(Eventually([&] { return stripes[1].count == 0; })) << "it came again";
  *bucket = before;
  EXPECT_TRUE(Eventually([&] { return Items(0) == 0; })) << "and again";
}

TEST_F(SweeperTest, ItStopsAtOnceAndItsThreadSlotIsFreeAgain) {
  uint32_t slots = 0;
  for (int round = 0; round < 20; round++) {
    ASSERT_EQ(sweeper_.Start(instance_, 3600000), Status::kOk);
    const uint64_t began = BootMs();
    sweeper_.Stop();
    EXPECT_LT(BootMs() - began, 2000u) << "it does not sleep its hour out";
    if (round == 0) slots = instance_.processes().threads_used();
  }
  EXPECT_EQ(instance_.processes().threads_used(), slots);
}

}  // namespace
}  // namespace uwshm::test
