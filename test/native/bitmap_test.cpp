// Bitmap mode: values of many sizes in one cache, and room for them.
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "proof.hpp"
#include "world.hpp"

namespace uwshm::test {
namespace {

class BitmapTest : public ::testing::Test {
 protected:
  void Make(uint32_t blocks, Policy policy = kRefuse, uint32_t items = 0, uint32_t blocksize = 10,
            uint32_t callers = 1) {
    test_clock_ms = 1000;
    CacheSpec spec = Spec("subject", items == 0 ? blocks : items, blocksize, 100, 16);
    spec.policy = policy;
    spec.blocks = blocks;
    spec.rules = rules_;
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

  // A value of so many blocks, the last one not full, that tells its key.
  static std::string Long(const std::string& name, size_t blocks, size_t blocksize = 10) {
    std::string value;
    while (value.size() + 3 < blocks * blocksize) value += name + ".";
    value.resize(blocks * blocksize - 3);
    return value;
  }
  Status Put(const std::string& name, const std::string& value, How how = How::kReplace, uint64_t expires_at = 0,
             size_t by = 0) {
    return cache().Store(callers_[by], KeyOf(name), how, value.data(), value.size(), 0, expires_at);
  }
  // Items of one block each, in the order of their blocks.
  void Fill(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
      const std::string name = "f" + std::to_string(i);
      ASSERT_EQ(Put(name, Long(name, 1)), Status::kOk) << i;
    }
  }
  Status Del(const std::string& name) { return cache().Remove(callers_[0], KeyOf(name)); }
  void DelFilled(uint32_t from, uint32_t end, uint32_t step = 1) {
    for (uint32_t i = from; i < end; i += step) ASSERT_EQ(Del("f" + std::to_string(i)), Status::kOk) << i;
  }
  std::string Get(const std::string& name, Found* about = nullptr) {
    std::string value = "(none)";
    cache().Read(callers_[0], KeyOf(name), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
      if (about) *about = found;
    });
    return value;
  }
  CacheFigures Figures() { return cache().Figures(instance_.processes().threads_used()); }
  uint64_t Items() { return Figures().items; }
  uint64_t Taken() { return Figures().blocks_taken; }

  Instance instance_;
  std::vector<Caller> callers_;
  CacheRules rules_{};
};

TEST_F(BitmapTest, AValueTakesTheBlocksThatItNeedsUpToAllOfThem) {
  Make(8, kRefuse, 20);
  EXPECT_EQ(Put("all", std::string(80, 'x')), Status::kOk);
  EXPECT_EQ(Get("all"), std::string(80, 'x'));
  EXPECT_EQ(Taken(), 8u);
  EXPECT_EQ(Put("more", "y"), Status::kFull);
  EXPECT_EQ(Put("all", std::string(81, 'x')), Status::kValueTooLarge);
  EXPECT_EQ(Del("all"), Status::kOk);
  EXPECT_EQ(Taken(), 0u);
  EXPECT_EQ(Put("three", std::string(21, 'x')), Status::kOk);
  EXPECT_EQ(Taken(), 3u);
  for (const char* name : {"a", "b", "c", "d", "e"}) EXPECT_EQ(Put(name, std::string(10, *name)), Status::kOk);
  EXPECT_EQ(Put("f", "f"), Status::kFull) << "eight blocks are eight blocks";
  EXPECT_EQ(Get("three"), std::string(21, 'x'));
  EXPECT_EQ(Get("e"), "eeeeeeeeee");
  EXPECT_EQ(Taken(), 8u);
  EXPECT_EQ(Figures().full, 2u);
}

TEST_F(BitmapTest, AnEmptyValueTakesNoBlock) {
  Make(1, kRefuse, 5);
  EXPECT_EQ(Put("one", "1"), Status::kOk);
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(Put(name, ""), Status::kOk);
  EXPECT_EQ(Put("e", ""), Status::kFull) << "five items are five items";
  EXPECT_EQ(Get("a"), "");
  EXPECT_EQ(Put("one", ""), Status::kOk);
  EXPECT_EQ(Put("a", "now"), Status::kOk);
  EXPECT_EQ(Get("a"), "now");
}

TEST_F(BitmapTest, FreeBlocksAreJoinedAcrossThePlaceWhereTheSearchBegins) {
  Make(16);
  ASSERT_EQ(Put("first", Long("first", 8)), Status::kOk);
  ASSERT_EQ(Del("first"), Status::kOk);
  EXPECT_EQ(Put("twelve", Long("twelve", 12)), Status::kOk) << "uWSGI's search begins at block 8 and finds none";
  EXPECT_EQ(Figures().moves, 0u);
}

TEST_F(BitmapTest, FreeBlocksAreJoinedOverTheWordsOfTheMap) {
  Make(300);
  Fill(300);
  DelFilled(30, 250);
  ASSERT_EQ(Put("much", Long("much", 220)), Status::kOk);
  EXPECT_EQ(Get("much"), Long("much", 220));
  EXPECT_EQ(Get("f29"), Long("f29", 1));
  EXPECT_EQ(Get("f250"), Long("f250", 1));
  EXPECT_EQ(Put("more", "x"), Status::kFull);
  EXPECT_EQ(Figures().moves, 0u);
}

TEST_F(BitmapTest, AFailedUpdateKeepsTheOldValueAndTheOldExpiry) {
  Make(4);
  ASSERT_EQ(Put("a", Long("a", 3), How::kReplace, 5000), Status::kOk);
  EXPECT_EQ(Put("a", Long("A", 2), How::kReplace, 9000), Status::kFull);
  Found about{};
  EXPECT_EQ(Get("a", &about), Long("a", 3));
  EXPECT_EQ(about.expires_at, 5000u);
  EXPECT_EQ(Put("a", "A", How::kReplace, 9000), Status::kOk) << "there is one block beside it";
  EXPECT_EQ(Get("a", &about), "A");
  EXPECT_EQ(about.expires_at, 9000u);
}

TEST_F(BitmapTest, AnOldRunStaysWithTheThreadUntilSomebodyNeedsRoom) {
  Make(6, kRefuse, 6, 10, 2);
  ASSERT_EQ(Put("a", Long("a", 2)), Status::kOk);
  for (int i = 0; i < 100; i++) ASSERT_EQ(Put("a", Long(std::to_string(i), 2)), Status::kOk);
  EXPECT_EQ(Taken(), 2u) << "what is idle is as good as free";
  EXPECT_EQ(cache().Check(), "");
  EXPECT_EQ(Put("b", Long("b", 4), How::kAdd, 0, 1), Status::kOk);
  EXPECT_EQ(Taken(), 6u);
  EXPECT_EQ(Put("a", "x"), Status::kFull);
  EXPECT_EQ(Get("a"), Long("99", 2));
  EXPECT_EQ(Get("b"), Long("b", 4));
}

TEST_F(BitmapTest, ARefusedWriteHoldsNoBlocksBack) {
  Make(6, kRefuse, 6, 10, 2);
  ASSERT_EQ(Put("a", "a"), Status::kOk);
  EXPECT_EQ(Put("a", Long("x", 5), How::kAdd), Status::kExists);
  EXPECT_EQ(Taken(), 1u);
  EXPECT_EQ(Put("b", Long("b", 5), How::kAdd, 0, 1), Status::kOk);
}

// Every second block is free: four of eight, and no two in a row.
TEST_F(BitmapTest, FreeBlocksThatAreScatteredAreJoinedByMovingItems) {
  Make(8, kRefuse, 20);
  const std::string long_name(90, 'n');
  uint64_t number = 0;
  ASSERT_EQ(Put(long_name, "long key", How::kAdd, 7000), Status::kOk);
  Fill(1);
  ASSERT_EQ(cache().Add(callers_[0], KeyOf("count"), 41, 6000, &number), Status::kOk);
  Fill(3);  // f0 is there: its new block is the fourth
  DelFilled(0, 1);
  ASSERT_EQ(Put("b", "bbb"), Status::kOk);
  ASSERT_EQ(Del("f1"), Status::kOk);
  ASSERT_EQ(Put("middle key, of thirty bytes ...", "m"), Status::kOk);
  const uint64_t free = 8 - Taken();
  ASSERT_EQ(Put("joined", Long("joined", free)), Status::kOk);
  Found about{};
  EXPECT_EQ(Get(long_name, &about), "long key");
  EXPECT_EQ(about.expires_at, 7000u);
  ASSERT_EQ(cache().Add(callers_[0], KeyOf("count"), 1, 0, &number), Status::kOk);
  EXPECT_EQ(number, 42u);
  Get("count", &about);
  EXPECT_EQ(about.expires_at, 6000u);
  EXPECT_EQ(Get("b"), "bbb");
  EXPECT_EQ(Get("middle key, of thirty bytes ..."), "m");
  EXPECT_EQ(Get("f2"), Long("f2", 1));
  EXPECT_EQ(Get("joined"), Long("joined", free));
}

class EachPolicy : public BitmapTest, public ::testing::WithParamInterface<Policy> {};

TEST_P(EachPolicy, NothingIsEvictedWhileMovingMakesRoom) {
  Make(128, GetParam());
  Fill(128);
  DelFilled(0, 128, 2);
  ASSERT_EQ(Put("half", Long("half", 60)), Status::kOk);
  EXPECT_EQ(Items(), 65u);
  EXPECT_EQ(Figures().evictions, 0u);
  EXPECT_GE(Figures().moves, 1u);
  EXPECT_LE(Figures().moves, 32u) << "no more than had to";
  for (uint32_t i = 1; i < 128; i += 2) EXPECT_EQ(Get("f" + std::to_string(i)), Long("f" + std::to_string(i), 1)) << i;
}

TEST_P(EachPolicy, WhatFitsTheCacheIsNeverRefused) {
  Make(64, GetParam());
  Fill(64);
  ASSERT_EQ(Put("all", Long("all", 64)), Status::kOk);
  EXPECT_EQ(Items(), 1u);
  ASSERT_EQ(Put("all", Long("ALL", 64)), Status::kOk) << "also where it has to make room for itself";
  EXPECT_EQ(Get("all"), Long("ALL", 64));
  Fill(64);
  EXPECT_EQ(Taken(), 64u);
  EXPECT_EQ(Items(), 64u);
}

TEST_P(EachPolicy, AnUpdateOfAFullCacheEvictsAnotherAndNotItself) {
  Make(8, GetParam());
  Fill(8);
  ASSERT_EQ(Put("f0", "new"), Status::kOk);
  EXPECT_EQ(Get("f0"), "new");
  EXPECT_EQ(Items(), 7u) << "an update needs room beside what it replaces";
  EXPECT_EQ(Put("f3", "x", How::kAdd), Items() == 7 && Get("f3") != "(none)" ? Status::kExists : Status::kOk);
}

TEST_P(EachPolicy, ASetOfWhatIsThereEvictsNothing) {
  Make(8, GetParam());
  Fill(8);
  EXPECT_EQ(Put("f0", Long("x", 5), How::kAdd), Status::kExists);
  EXPECT_EQ(Items(), 8u);
  EXPECT_EQ(Figures().evictions, 0u);
}

TEST_P(EachPolicy, WhatHasExpiredGoesFirst) {
  Make(8, GetParam());
  for (int i = 0; i < 8; i++)
    ASSERT_EQ(Put("e" + std::to_string(i), "x", How::kAdd, i % 3 == 1 ? 2000 : 0), Status::kOk);
  test_clock_ms = 3000;
  ASSERT_EQ(Put("new", Long("new", 2)), Status::kOk);
  EXPECT_EQ(Figures().evictions, 0u);
  for (int i = 0; i < 8; i++) EXPECT_EQ(Get("e" + std::to_string(i)), i % 3 == 1 ? "(none)" : "x");
}

INSTANTIATE_TEST_SUITE_P(Policies, EachPolicy, ::testing::Values(kLru, kLruStrict, kSieve), [](const auto& info) {
  return std::string(1, kPolicyNames[info.param][0]) + std::to_string(info.param);
});

TEST_F(BitmapTest, TheLeastRecentlyUsedGoesUntilThereAreEnoughBlocks) {
  Make(10, kLru, 40);
  for (const char* name : {"a", "b", "c", "d", "e"}) ASSERT_EQ(Put(name, Long(name, 2)), Status::kOk);
  Get("a");
  ASSERT_EQ(Put("x", Long("x", 4)), Status::kOk);
  EXPECT_EQ(Get("b") + Get("c"), "(none)(none)");
  EXPECT_EQ(Get("a"), Long("a", 2));
  EXPECT_EQ(Get("d"), Long("d", 2));
  EXPECT_EQ(Get("e"), Long("e", 2));
  EXPECT_EQ(Figures().evictions, 2u);
}

TEST_F(BitmapTest, ClearOnFullClearsForBlocksToo) {
  rules_.ways = kCleared;
  Make(8);
  Fill(8);
  ASSERT_EQ(Put("new", Long("new", 3)), Status::kOk);
  EXPECT_EQ(Items(), 1u);
  EXPECT_EQ(Put("new", Long("x", 8)), Status::kOk);
  EXPECT_EQ(Get("new"), Long("x", 8));
}

TEST_F(BitmapTest, ACounterMayLieInTwoBlocks) {
  Make(6, kRefuse, 6, 5);
  uint64_t number = 0;
  ASSERT_EQ(cache().Add(callers_[0], KeyOf("n"), 5, 0, &number), Status::kOk);
  ASSERT_EQ(cache().Add(callers_[0], KeyOf("n"), 3, 0, &number), Status::kOk);
  EXPECT_EQ(number, 8u) << "uWSGI says 3";
  EXPECT_EQ(Taken(), 2u);
}

TEST_F(BitmapTest, PopGivesTheValueAndItsBlocks) {
  Make(8);
  ASSERT_EQ(Put("a", Long("a", 6)), Status::kOk);
  uint8_t bytes[100];
  Found found{};
  ASSERT_EQ(cache().Pop(callers_[0], KeyOf("a"), bytes, sizeof bytes, &found), Status::kOk);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(bytes), found.size), Long("a", 6));
  EXPECT_EQ(Taken(), 0u);
  EXPECT_EQ(Put("b", Long("b", 8)), Status::kOk);
}

TEST_F(BitmapTest, CheckTellsOfABlockThatIsNobodys) {
  Make(100);
  Fill(3);
  std::atomic<uint64_t>* map = cache().segment().At<std::atomic<uint64_t>>(CachePlaces::Of(cache().geometry()).map);
  map[1].store(4);
  EXPECT_EQ(cache().Check(), "I8: block 66 is nobody's and marked as taken");
  map[1].store(0);
  const uint64_t was = map[0].load();
  map[0].store(was & ~uint64_t{2});
  EXPECT_EQ(cache().Check(), "I8: block 1 is an item's and marked as free");
  map[0].store(was);
}

// Random calls beside a map that knows what there is; every step is checked.
class Model : public EachPolicy {
 protected:
  struct Entry {
    std::string value;
    uint64_t expires_at;
  };
  uint32_t BlocksOf(const std::string& value) { return static_cast<uint32_t>((value.size() + 9) / 10); }
  uint32_t Used() {
    uint32_t used = 0;
    for (const auto& [name, entry] : model_) used += BlocksOf(entry.value);
    return used;
  }
  // What the cache has dropped: only with a policy, only whole items.
  void Compare(const std::string& spared, bool may_lose) {
    for (auto each = model_.begin(); each != model_.end();) {
      Found about{};
      const bool gone = each->second.expires_at != 0 && each->second.expires_at <= TestMs();
      const std::string value = Get(each->first, &about);
      if (value == "(none)") {
        EXPECT_TRUE(gone || (may_lose && each->first != spared)) << each->first;
        each = model_.erase(each);
        continue;
      }
      EXPECT_FALSE(gone);
      EXPECT_EQ(value, each->second.value);
      EXPECT_EQ(about.expires_at, each->second.expires_at);
      ++each;
    }
  }
  std::map<std::string, Entry> model_;
};

TEST_P(Model, AgreesAfterEachOfManyRandomCalls) {
  const Policy policy = GetParam();
  Make(70, policy, 40, 10, 3);
  Dice dice(17 + policy);
  for (int step = 0; step < 4000 && !HasFailure(); step++) {
    const std::string name = "k" + std::string(dice.Below(4) == 0 ? 30 : 1, 'k') + std::to_string(dice.Below(50));
    const size_t by = dice.Below(3);
    test_clock_ms = test_clock_ms + dice.Below(3);
    Compare("", false);
    if (dice.Below(4) == 0) {
      const Status status = cache().Remove(callers_[by], KeyOf(name));
      EXPECT_EQ(status == Status::kOk, model_.erase(name) == 1);
    } else {
      const std::string value =
          std::string(dice.Below(dice.Below(3) == 0 ? 400 : 60), static_cast<char>('a' + step % 26));
      const How how = dice.Below(2) == 0 ? How::kAdd : How::kReplace;
      const uint64_t expires_at = dice.Below(3) == 0 ? TestMs() + 1 + dice.Below(200) : 0;
      const uint32_t wanted = BlocksOf(value), used = Used();
      const bool present = model_.count(name) != 0;
      const Status status = Put(name, value, how, expires_at, by);
      if (present && how == How::kAdd) {
        EXPECT_EQ(status, Status::kExists);
      } else if (policy != kRefuse) {
        EXPECT_EQ(status, Status::kOk) << wanted << " blocks beside " << used;
      } else if (used + wanted > 70 || (!present && model_.size() == 40)) {
        EXPECT_EQ(status, Status::kFull) << wanted << " blocks beside " << used;
      } else if (wanted <= 1) {
        EXPECT_EQ(status, Status::kOk) << wanted << " blocks beside " << used;
      }
      if (status == Status::kOk) model_[name] = {value, expires_at};
      Compare(name, policy != kRefuse);
    }
    ASSERT_EQ(cache().Check(), "") << "step " << step;
    EXPECT_EQ(Items() >= model_.size(), true);
  }
  EXPECT_GE(Figures().moves, 1u);
}

INSTANTIATE_TEST_SUITE_P(Policies, Model, ::testing::Values(kRefuse, kLru, kLruStrict, kSieve), [](const auto& info) {
  return std::string(1, kPolicyNames[info.param][0]) + std::to_string(info.param);
});

// Readers meet values whose blocks are used again, and items that move.
TEST_P(EachPolicy, NobodyReadsATornValueWhileRunsAreUsedAgain) {
  constexpr uint32_t kKeys = 24, kThreads = 3;
  Make(64, GetParam(), 48, 32, kThreads);
  std::atomic<bool> wrong{false};
  auto work = [&](uint32_t id) {
    Dice dice(id + 1);
    uint8_t bytes[512];
    for (uint64_t count = 1; count <= 4000 && !wrong; count++) {
      const uint32_t key = dice.Below(kKeys);
      const std::string name = "key" + std::to_string(key);
      const Key where = KeyOf(name);
      const uint32_t die = dice.Below(8);
      if (die < 4) {
        const uint32_t size = 32 + dice.Below(dice.Below(4) == 0 ? 480 : 60);
        WriteProof(bytes, key, id, count, size, 0);
        const Status status = cache().Store(callers_[id], where, How::kReplace, bytes, size, 0, 0);
        if (status != Status::kOk && status != Status::kFull) wrong = true;
      } else if (die == 4) {
        cache().Remove(callers_[id], where);
      } else {
        Found found{};
        Proof proof{};
        const Status status =
            cache().Read(callers_[id], where, Cache::kCounted, [&](const uint8_t* now, const Found& it) {
              found = it;
              CopyOut(bytes, now, it.size < sizeof bytes ? it.size : sizeof bytes);
            });
        if (status == Status::kOk && ReadProof(bytes, key, found.size, found.flags, &proof) != nullptr) wrong = true;
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t id = 0; id < kThreads; id++) threads.emplace_back(work, id);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(wrong);
}

}  // namespace
}  // namespace uwshm::test
