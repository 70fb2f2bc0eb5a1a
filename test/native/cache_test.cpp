// What a cache promises to one caller; time is the test's own.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "world.hpp"

namespace uwshm::test {
namespace {

class CacheTest : public ::testing::Test {
 protected:
  void Make(uint32_t items, uint32_t blocksize, uint32_t keysize, uint32_t hashsize, uint32_t processes = 2,
            CacheRules rules = {}) {
    test_clock_ms = 1000;
    CacheSpec spec = Spec("subject", items, blocksize, keysize, hashsize);
    spec.rules = rules;
    CreateOrEnd(instance_, {spec}, processes, TestMs);
    ASSERT_EQ(instance_.EnterThread(&caller_), Status::kOk);
  }

  void TearDown() override {
    if (instance_.caches().empty()) return;
    EXPECT_EQ(cache().Check(), "");
    instance_.Leave();
  }

  Cache& cache() { return *instance_.caches()[0]; }

  Status Set(const std::string& key, const std::string& value, uint64_t expires_at = 0, uint32_t flags = 0) {
    return cache().Store(caller_, KeyFor(cache(), key), How::kAdd, value.data(), value.size(), flags, expires_at);
  }
  Status Update(const std::string& key, const std::string& value, uint64_t expires_at = 0) {
    return cache().Store(caller_, KeyFor(cache(), key), How::kReplace, value.data(), value.size(), 0, expires_at);
  }
  Status Del(const std::string& key) { return cache().Remove(caller_, KeyFor(cache(), key)); }
  std::string Get(const std::string& key, Found* about = nullptr) {
    std::string value = "(none)";
    Found last{};
    cache().Read(caller_, KeyFor(cache(), key), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
      last = found;
    });
    if (about) *about = last;
    return value;
  }
  Status Inc(const std::string& key, uint64_t n, uint64_t* result, uint64_t expires_at = 0) {
    return cache().Add(caller_, KeyFor(cache(), key), n, expires_at, result);
  }
  Status Calculate(const std::string& key, Math math, int64_t n, int64_t* result) {
    uint64_t word = 0;
    Status status = cache().Calculate(caller_, KeyFor(cache(), key), math, static_cast<uint64_t>(n), 0, &word);
    *result = static_cast<int64_t>(word);
    return status;
  }
  Status Swap(const std::string& key, const std::string& expected, const std::string& value, uint64_t expires_at = 0) {
    const Expected old{expected.data(), expected.size()};
    return cache().Store(caller_, KeyFor(cache(), key), How::kSwap, value.data(), value.size(), 0, expires_at, &old);
  }
  std::string Pop(const std::string& key, size_t most = 64) {
    std::string value(most, '?');
    Found found{};
    Status status = cache().Pop(caller_, KeyFor(cache(), key), reinterpret_cast<uint8_t*>(&value[0]), most, &found);
    if (status == Status::kValueTooLarge) return "needs " + std::to_string(found.size);
    return status == Status::kOk ? value.substr(0, found.size) : "(none)";
  }
  std::set<std::string> Keys() {
    std::vector<std::string> keys;
    EXPECT_EQ(cache().Keys(caller_, &keys), Status::kOk);
    std::set<std::string> unique(keys.begin(), keys.end());
    EXPECT_EQ(unique.size(), keys.size()) << "a key is listed twice";
    return unique;
  }
  uint64_t Items() { return cache().Figures(instance_.processes().threads_used()).items; }

  Instance instance_;
  Caller caller_{};
};

TEST_F(CacheTest, SetAddsOnlyWhatIsAbsentAndUpdateStoresInAnyCase) {
  Make(10, 64, 100, 16);
  EXPECT_EQ(Set("greeting", "hello"), Status::kOk);
  EXPECT_EQ(Set("greeting", "again"), Status::kExists);
  EXPECT_EQ(Get("greeting"), "hello");
  EXPECT_EQ(Update("greeting", "goodbye"), Status::kOk);
  EXPECT_EQ(Get("greeting"), "goodbye");
  EXPECT_EQ(Update("another", "one"), Status::kOk);
  EXPECT_EQ(Items(), 2u);
}

TEST_F(CacheTest, DelTellsWhetherThereWasSomething) {
  Make(10, 64, 100, 16);
  EXPECT_EQ(Del("nothing"), Status::kNotFound);
  Set("something", "x");
  EXPECT_EQ(Del("something"), Status::kOk);
  EXPECT_EQ(Del("something"), Status::kNotFound);
  EXPECT_EQ(Get("something"), "(none)");
}

TEST_F(CacheTest, ValuesOfEveryLengthUpToTheBlockComeBackWithTheirFlags) {
  Make(4, 300, 100, 4);
  for (uint32_t size = 0; size <= 300; size++) {
    const std::string value(size, static_cast<char>('a' + size % 26));
    ASSERT_EQ(
        cache().Store(caller_, KeyFor(cache(), "k"), How::kReplace, value.data(), size, kAscii | kText, 5000 + size),
        Status::kOk);
    Found found;
    ASSERT_EQ(Get("k", &found), value);
    ASSERT_EQ(found.size, size);
    ASSERT_EQ(found.flags, uint32_t{kAscii | kText});
    ASSERT_EQ(found.expires_at, 5000 + size);
  }
  EXPECT_EQ(Update("k", std::string(301, 'x')), Status::kValueTooLarge);
  EXPECT_EQ(Get("k").size(), 300u) << "a refused update keeps the old value";
}

TEST_F(CacheTest, KeysFromOneByteToTheLongestAreToldApart) {
  Make(200, 8, 120, 4);
  Key key;
  EXPECT_EQ(cache().KeyOf(nullptr, 0, &key), Status::kKeyEmpty);
  const std::string longest(121, 'k');
  EXPECT_EQ(cache().KeyOf(reinterpret_cast<const uint8_t*>(longest.data()), 121, &key), Status::kKeyTooLong);
  for (size_t size = 1; size <= 120; size++) ASSERT_EQ(Set(std::string(size, 'k'), std::to_string(size)), Status::kOk);
  for (size_t size = 1; size <= 120; size++) ASSERT_EQ(Get(std::string(size, 'k')), std::to_string(size));
  EXPECT_EQ(Keys().size(), 120u);
  const std::string odd("a\0b\xff\n", 5);
  EXPECT_EQ(Set(odd, "bytes"), Status::kOk);
  EXPECT_EQ(Get(odd), "bytes");
  EXPECT_EQ(Get("a"), "(none)");
}

TEST_F(CacheTest, HoldsExactlyAsManyItemsAsItWasMadeFor) {
  Make(7, 16, 100, 4);
  for (int i = 0; i < 7; i++) ASSERT_EQ(Set("key-" + std::to_string(i), "v"), Status::kOk) << i;
  EXPECT_EQ(Set("one more", "v"), Status::kFull);
  EXPECT_EQ(cache().Figures(1).full, 1u);
  EXPECT_EQ(Update("key-3", "still possible"), Status::kOk) << "a full cache updates";
  EXPECT_EQ(Del("key-0"), Status::kOk);
  EXPECT_EQ(Set("one more", "v"), Status::kOk);
  EXPECT_EQ(Set("and another", "v"), Status::kFull);
  EXPECT_EQ(Items(), 7u);
}

TEST_F(CacheTest, ARefusedSetLeavesNoSlotBehind) {
  Make(3, 16, 100, 4);
  for (int i = 0; i < 3; i++) Set("key-" + std::to_string(i), "v");
  for (int i = 0; i < 100; i++) EXPECT_EQ(Set("key-1", "v"), Status::kExists);
  for (int i = 0; i < 100; i++) EXPECT_EQ(Set("other", "v"), Status::kFull);
  for (int i = 0; i < 3; i++) EXPECT_EQ(Del("key-" + std::to_string(i)), Status::kOk);
  for (int i = 0; i < 3; i++) EXPECT_EQ(Set("new-" + std::to_string(i), "v"), Status::kOk);
}

TEST_F(CacheTest, ExpiryIsExactToTheMillisecond) {
  Make(10, 16, 100, 4);
  Set("short", "v", 1500);
  test_clock_ms = 1499;
  EXPECT_EQ(Get("short"), "v");
  EXPECT_EQ(Set("short", "w"), Status::kExists);
  test_clock_ms = 1500;
  EXPECT_EQ(Get("short"), "(none)");
  EXPECT_TRUE(Keys().empty());
  EXPECT_EQ(Set("short", "w", 3000), Status::kOk) << "what has expired does not block set";
  EXPECT_EQ(Get("short"), "w");
  test_clock_ms = 3000;
  EXPECT_EQ(Del("short"), Status::kNotFound) << "what has expired is not there to be deleted";
  EXPECT_EQ(Items(), 0u) << "but its slot is free again";
}

TEST_F(CacheTest, WhatHasExpiredMakesRoomBeforeAnybodySweeps) {
  Make(4, 16, 100, 4);
  for (int i = 0; i < 4; i++) ASSERT_EQ(Set("key-" + std::to_string(i), "v", i % 2 ? 2000 : 0), Status::kOk);
  EXPECT_EQ(Set("new", "v"), Status::kFull);
  test_clock_ms = 2000;
  EXPECT_EQ(Set("new", "v"), Status::kOk);
  EXPECT_EQ(Set("newer", "v"), Status::kOk);
  EXPECT_EQ(Set("newest", "v"), Status::kFull);
  EXPECT_EQ(Get("key-0"), "v");
  EXPECT_EQ(Get("key-2"), "v");
}

TEST_F(CacheTest, SweepRemovesExactlyWhatHasExpired) {
  Make(100, 16, 100, 16);
  for (uint64_t i = 0; i < 100; i++) Set("key-" + std::to_string(i), "v", 2000 + i);
  EXPECT_EQ(cache().Sweep(caller_), 0u);
  test_clock_ms = 2049;
  EXPECT_EQ(cache().Sweep(caller_), 50u);
  EXPECT_EQ(Items(), 50u);
  EXPECT_EQ(cache().Sweep(caller_), 0u);
  test_clock_ms = 2099;
  EXPECT_EQ(cache().Sweep(caller_), 50u);
  EXPECT_EQ(Items(), 0u);
}

// The sweep runs in the master's event loop.
TEST_F(CacheTest, SweepWaitsOnceForAPoolThatIsHeldAndNotOncePerStripe) {
  Make(2000, 8, 16, 1024);
  for (int i = 0; i < 2000; i++) ASSERT_EQ(Set(std::to_string(i), "short", 1500), Status::kOk);
  test_clock_ms = 2000;
  caller_.patience_ms = 20;
  std::atomic<bool> held{false}, enough{false};
  std::thread holder([&] {
    const Caller other{1, caller_.pid, TestMs, 1000};
    const CacheGeometry& geometry = cache().geometry();
    Guard pool(instance_.locks(), geometry.first_lock + geometry.stripes(), other, cache());
    for (held = true; !enough; std::this_thread::yield()) {
    }
  });
  while (!held) std::this_thread::yield();
  const uint64_t began = BootMs();
  cache().Sweep(caller_);
  EXPECT_LT(BootMs() - began, 1000u);
  enough = true;
  holder.join();
  cache().Sweep(caller_);
  EXPECT_EQ(Items(), 0u);
}

TEST_F(CacheTest, ClearRemovesEverythingAndTellsHowMuch) {
  Make(50, 16, 100, 16);
  uint64_t removed = 99;
  EXPECT_EQ(cache().Clear(caller_, &removed), Status::kOk);
  EXPECT_EQ(removed, 0u);
  for (int i = 0; i < 50; i++) Set("key-" + std::to_string(i), "v");
  EXPECT_EQ(cache().Clear(caller_, &removed), Status::kOk);
  EXPECT_EQ(removed, 50u);
  EXPECT_TRUE(Keys().empty());
  for (int i = 0; i < 50; i++) EXPECT_EQ(Set("key-" + std::to_string(i), "v"), Status::kOk);
}

TEST_F(CacheTest, KeysListsWhatLives) {
  Make(100, 16, 100, 2);
  std::set<std::string> stored;
  for (int i = 0; i < 60; i++) stored.insert("key-" + std::to_string(i)), Set("key-" + std::to_string(i), "v");
  EXPECT_EQ(Keys(), stored);
}

TEST_F(CacheTest, CountersStartAtZeroWrapInTwosComplementAndLiveAsLongAsTheyWereGiven) {
  Make(10, 16, 100, 4);
  uint64_t result = 0;
  EXPECT_EQ(Inc("n", 5, &result, 2000), Status::kOk);
  EXPECT_EQ(result, 5u);
  EXPECT_EQ(Inc("n", static_cast<uint64_t>(-7), &result, 9000), Status::kOk);
  EXPECT_EQ(static_cast<int64_t>(result), -2);
  EXPECT_EQ(Inc("n", uint64_t{1} << 63, &result), Status::kOk);
  EXPECT_EQ(static_cast<int64_t>(result), INT64_MAX - 1);
  EXPECT_EQ(Inc("n", 3, &result), Status::kOk);
  EXPECT_EQ(static_cast<int64_t>(result), INT64_MIN + 1);
  test_clock_ms = 2000;
  EXPECT_EQ(Inc("n", 1, &result), Status::kOk);
  EXPECT_EQ(result, 1u) << "it expired when its first addition said, not when a later one did";
}

TEST_F(CacheTest, MultiplicationWrapsAndDivisionTruncatesTowardsZero) {
  Make(10, 16, 100, 4);
  int64_t result = 0;
  EXPECT_EQ(Calculate("n", Math::kMultiply, 7, &result), Status::kOk);
  EXPECT_EQ(result, 0) << "a missing one is 0";
  EXPECT_EQ(Calculate("n", Math::kAdd, -8, &result), Status::kOk);
  EXPECT_EQ(Calculate("n", Math::kDivide, 3, &result), Status::kOk);
  EXPECT_EQ(result, -2);
  EXPECT_EQ(Calculate("n", Math::kMultiply, INT64_MAX, &result), Status::kOk);
  EXPECT_EQ(result, 2) << "2^64 - 2 times -1, in two's complement";
}

TEST_F(CacheTest, WhatHasNoResultIsRefusedAndTheCounterStays) {
  Make(10, 16, 100, 4, 2, {INT64_MIN, 0, 0});
  int64_t result = 0;
  EXPECT_EQ(Calculate("absent", Math::kDivide, 0, &result), Status::kDivision);
  EXPECT_EQ(Calculate("absent", Math::kDivide, -1, &result), Status::kDivision);
  EXPECT_EQ(Items(), 0u);
  EXPECT_EQ(Calculate("n", Math::kDivide, 1, &result), Status::kOk);
  EXPECT_EQ(result, INT64_MIN);
  EXPECT_EQ(Calculate("n", Math::kDivide, 0, &result), Status::kDivision);
  EXPECT_EQ(Calculate("n", Math::kDivide, -1, &result), Status::kDivision);
  EXPECT_EQ(Calculate("n", Math::kAdd, 0, &result), Status::kOk);
  EXPECT_EQ(result, INT64_MIN);
  Set("text", "12345678", 0, kText);
  EXPECT_EQ(Calculate("text", Math::kMultiply, 1, &result), Status::kNotANumber);
}

TEST_F(CacheTest, ACounterBeginsWhereTheCacheSays) {
  Make(10, 16, 100, 4, 2, {100, 0, 0});
  int64_t result = 0;
  EXPECT_EQ(Calculate("sum", Math::kAdd, 5, &result), Status::kOk);
  EXPECT_EQ(result, 105);
  EXPECT_EQ(Calculate("product", Math::kMultiply, -3, &result), Status::kOk);
  EXPECT_EQ(result, -300);
  EXPECT_EQ(Calculate("quotient", Math::kDivide, 8, &result), Status::kOk);
  EXPECT_EQ(result, 12);
}

TEST_F(CacheTest, EveryHashFindsWhatWasStoredUnderIt) {
  for (uint32_t hash = 0; hash < kHashKinds; hash++) {
    Instance instance;
    CacheSpec spec = Spec("subject", 500, 16, 100, 64);
    spec.rules.hash = hash;
    test_clock_ms = 1000;
    CreateOrEnd(instance, {spec}, 2, TestMs);
    Caller caller{};
    ASSERT_EQ(instance.EnterThread(&caller), Status::kOk);
    Cache& cache = *instance.caches()[0];
    for (int i = 0; i < 500; i++) {
      const std::string name = "user" + std::to_string(i);
      ASSERT_EQ(cache.Store(caller, KeyFor(cache, name), How::kAdd, name.data(), name.size(), 0, 0), Status::kOk);
    }
    for (int i = 0; i < 500; i++) {
      const std::string name = "user" + std::to_string(i);
      std::string value;
      cache.Read(caller, KeyFor(cache, name), Cache::kUncounted, [&](const uint8_t* bytes, const Found& found) {
        value.assign(reinterpret_cast<const char*>(bytes), found.size);
      });
      ASSERT_EQ(value, name) << kHashNames[hash];
    }
    EXPECT_EQ(cache.Check(), "");
    const uint64_t longest = cache.Figures(1).longest_chain;
    if (hash == static_cast<uint32_t>(HashKind::kMurmur2)) EXPECT_GE(longest, 90u) << "user10 to user99 share a chain";
    else EXPECT_LT(longest, 40u);
    instance.Leave();
  }
}

// 2,000 keys that murmur2 sends to one chain: they differ in their last byte and a half only.
TEST_F(CacheTest, AChainTakesSoMuchAndNoMoreAndTheRestGoesOn) {
  Make(5000, 8, 100, 4096, 2, {0, static_cast<uint32_t>(HashKind::kMurmur2), 0});
  uint32_t stored = 0, crowded = 0;
  for (int i = 0; i < 2000; i++) {
    const std::string key = {'k', 'e', 'y', 's', static_cast<char>('A' + i % 50), static_cast<char>('A' + i / 50)};
    // Six bytes: two are left over, and murmur2 takes the first two again.
    const Status status = Set(key, "v");
    (status == Status::kOk ? stored : crowded)++;
    ASSERT_TRUE(status == Status::kOk || status == Status::kCrowded);
  }
  EXPECT_EQ(stored, 1024u);
  EXPECT_EQ(crowded, 976u);
  EXPECT_EQ(cache().Figures(1).longest_chain, 1024u);
  EXPECT_EQ(Set("another", "v"), Status::kOk);
  EXPECT_EQ(Update("keysAA", "new"), Status::kOk) << "what is there can be replaced";
  EXPECT_EQ(Del("keysAA"), Status::kOk);
  EXPECT_EQ(Set("keys~~", "v"), Status::kOk);
}

TEST_F(CacheTest, ALongChainIsAllowedWhereThereAreFewBuckets) {
  Make(5000, 8, 100, 2);
  for (int i = 0; i < 5000; i++) ASSERT_EQ(Set(std::to_string(i), "v"), Status::kOk);
}

TEST_F(CacheTest, TheTimeOfTheLastChangeIsKeptWhereItIsWanted) {
  Make(10, 16, 100, 4, 2, {0, 0, kKeepsModified});
  auto modified = [&] { return cache().Figures(1).modified_at; };
  EXPECT_EQ(modified(), 0u);
  Set("k", "v", 9000);
  EXPECT_EQ(modified(), 1000u);
  test_clock_ms = 1500;
  Get("k"), Set("k", "refused"), Del("absent"), Swap("k", "other", "new");
  EXPECT_EQ(modified(), 1000u) << "nothing was changed";
  int64_t result;
  uint64_t gone;
  auto after_set = [&] { Set("gone", "v"), test_clock_ms++; };
  const std::function<void()> changes[] = {[&] { Update("k", "v", 9000); },
                                           [&] { Swap("k", "v", "w", 9000); },
                                           [&] { cache().Touch(caller_, KeyFor(cache(), "k"), 3000); },
                                           [&] { Calculate("n", Math::kAdd, 1, &result); },
                                           [&] { Calculate("n", Math::kMultiply, 1, &result); },
                                           [&] { Pop("n"); },
                                           [&] { after_set(), Del("gone"); },
                                           [&] { after_set(), cache().RemovePrefix(caller_, "go", &gone); },
                                           [&] {
                                             test_clock_ms = 4000;
                                             cache().Sweep(caller_);
                                           },
                                           [&] { after_set(), cache().Clear(caller_, &gone); }};
  for (const auto& change : changes) {
    test_clock_ms++;
    change();
    EXPECT_EQ(modified(), TestMs());
  }
  EXPECT_EQ(Items(), 0u);
  const uint64_t before = test_clock_ms++;
  EXPECT_EQ(cache().Clear(caller_, &gone), Status::kOk);
  EXPECT_EQ(modified(), before) << "there was nothing to clear";
}

TEST_F(CacheTest, NoTimeIsKeptWhereNobodyAsked) {
  Make(10, 16, 100, 4);
  Set("k", "v");
  EXPECT_EQ(cache().Figures(1).modified_at, 0u);
}

TEST_F(CacheTest, TheSweeperLeavesACacheAloneAndExpiryIsExactAllTheSame) {
  Make(4, 16, 100, 4, 2, {0, 0, kNotSwept});
  for (int i = 0; i < 4; i++) Set("key-" + std::to_string(i), "v", 2000);
  test_clock_ms = 2000;
  EXPECT_EQ(cache().Sweep(caller_), 0u);
  EXPECT_EQ(Items(), 4u);
  EXPECT_EQ(Get("key-0"), "(none)");
  EXPECT_EQ(Set("key-1", "again"), Status::kOk);
  for (int i = 0; i < 3; i++)
    EXPECT_EQ(Set("new-" + std::to_string(i), "v"), Status::kOk) << "room is made when needed";
}

TEST_F(CacheTest, WhatWasRemovedBecauseItHadExpiredIsCounted) {
  Make(10, 16, 100, 4);
  for (int i = 0; i < 6; i++) Set("key-" + std::to_string(i), "v", 2000);
  test_clock_ms = 2000;
  Set("key-0", "v", 9000), Del("key-1"), Del("key-0");
  EXPECT_EQ(cache().Figures(1).expired, 2u);
  cache().Sweep(caller_);
  EXPECT_EQ(cache().Figures(1).expired, 6u);
}

TEST_F(CacheTest, SwapReplacesOnlyTheExpectedValue) {
  Make(10, 16, 100, 4);
  EXPECT_EQ(Swap("k", "", "new"), Status::kNotFound) << "an empty value is not an absent one";
  Set("k", "one", 2000);
  EXPECT_EQ(Swap("k", "two", "new"), Status::kChanged);
  EXPECT_EQ(Swap("k", "on", "new"), Status::kChanged);
  EXPECT_EQ(Swap("k", "one!", "new"), Status::kChanged);
  EXPECT_EQ(Swap("k", std::string(1000, 'x'), "new"), Status::kChanged) << "larger than a value can be";
  EXPECT_EQ(Swap("k", "one", std::string(17, 'x')), Status::kValueTooLarge);
  Found found;
  EXPECT_EQ(Get("k", &found), "one");
  EXPECT_EQ(found.expires_at, 2000u);
  EXPECT_EQ(Swap("k", "one", "two", 3000), Status::kOk);
  EXPECT_EQ(Get("k", &found), "two");
  EXPECT_EQ(found.expires_at, 3000u);
  test_clock_ms = 3000;
  EXPECT_EQ(Swap("k", "two", "three"), Status::kNotFound) << "it has expired";
}

TEST_F(CacheTest, TouchChangesWhenAnItemExpiresAndNothingElse) {
  Make(10, 16, 100, 4);
  Set("k", "v", 2000);
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "k"), 5000), Status::kOk);
  test_clock_ms = 2000;
  EXPECT_EQ(cache().Sweep(caller_), 0u);
  EXPECT_EQ(Get("k"), "v");
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "k"), 3000), Status::kOk);
  EXPECT_EQ(cache().Check(), "");
  test_clock_ms = 3000;
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "k"), 9000), Status::kNotFound) << "what is gone stays gone";
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "absent"), 9000), Status::kNotFound);
  Set("for ever", "v");
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "for ever"), 4000), Status::kOk);
  EXPECT_EQ(cache().Check(), "");
  test_clock_ms = 4000;
  EXPECT_EQ(cache().Sweep(caller_), 2u);
  Set("k", "v", 5000);
  EXPECT_EQ(cache().Touch(caller_, KeyFor(cache(), "k"), 0), Status::kOk);
  test_clock_ms = 6000;
  EXPECT_EQ(Get("k"), "v");
}

TEST_F(CacheTest, PopGivesTheValueOnceAndOnlyWhereItFits) {
  Make(2, 16, 100, 4);
  Set("k", "value", 2000);
  EXPECT_EQ(Pop("k", 4), "needs 5");
  EXPECT_EQ(Get("k"), "value");
  EXPECT_EQ(Pop("k", 5), "value");
  EXPECT_EQ(Pop("k"), "(none)");
  Set("k", "", 2000);
  EXPECT_EQ(Pop("k"), "");
  for (int i = 0; i < 50; i++) {
    ASSERT_EQ(Set("a", "1"), Status::kOk);
    ASSERT_EQ(Set("b", "2"), Status::kOk);
    ASSERT_EQ(Pop("a"), "1");
    ASSERT_EQ(Pop("b"), "2");
  }
  Set("k", "late", 2000);
  test_clock_ms = 2000;
  EXPECT_EQ(Pop("k"), "(none)");
}

TEST_F(CacheTest, AScanInStepsTellsEveryKeyThatStaysExactlyOnce) {
  Make(400, 16, 3000, 16);
  std::set<std::string> stay;
  for (int i = 0; i < 200; i++) stay.insert("stay-" + std::to_string(i));
  stay.insert("stay-" + std::string(2900, 'l')), stay.insert("stay-" + std::string(2950, 'm'));
  for (const std::string& key : stay) ASSERT_EQ(Set(key, "v"), Status::kOk);
  Set("stay-expired", "v", 1000);
  std::vector<std::string> told;
  uint32_t bucket = 0, steps = 0;
  while (bucket < cache().geometry().hashsize) {
    ASSERT_EQ(cache().Scan(caller_, "stay-", told.size() + 1, &bucket, &told), Status::kOk);
    // Others come, go and change places while it is under way.
    for (uint32_t i = 0; i < 20; i++) {
      Update("pass-" + std::to_string(steps % 3 * 20 + i), "v"),
          Del("pass-" + std::to_string((steps + 1) % 3 * 20 + i));
      Update("stay-" + std::to_string(i), std::to_string(steps));
    }
    steps++;
  }
  EXPECT_GT(steps, 10u);
  EXPECT_EQ(std::set<std::string>(told.begin(), told.end()), stay);
  EXPECT_EQ(told.size(), stay.size());
  EXPECT_EQ(cache().Scan(caller_, std::string(4000, 'x'), 1, &(bucket = 0), &told), Status::kOk)
      << "longer than any key";
  EXPECT_EQ(told.size(), stay.size());
}

TEST_F(CacheTest, DelPrefixRemovesWhatBeginsSoAndNothingElse) {
  Make(1000, 16, 100, 16);
  for (int i = 0; i < 300; i++) Set("user:" + std::to_string(i), "v"), Set("page:" + std::to_string(i), "v");
  Set("user", "v");
  Set("user:gone", "v", 1000);
  uint64_t removed = 0;
  EXPECT_EQ(cache().RemovePrefix(caller_, "user:1", &removed), Status::kOk);
  EXPECT_EQ(removed, 111u);
  EXPECT_EQ(cache().RemovePrefix(caller_, "user:", &removed), Status::kOk);
  EXPECT_EQ(removed, 189u);
  EXPECT_EQ(Keys().size(), 301u);
  EXPECT_EQ(cache().RemovePrefix(caller_, std::string(101, 'u'), &removed), Status::kOk);
  EXPECT_EQ(removed, 0u);
  EXPECT_EQ(cache().RemovePrefix(caller_, "", &removed), Status::kOk);
  EXPECT_EQ(removed, 301u);
}

TEST_F(CacheTest, TextAndOddLengthsAreNoNumbers) {
  Make(10, 16, 100, 4);
  uint64_t result = 0;
  Set("short", "1234567");
  Set("text", "12345678", 0, kText | kAscii);
  Set("binary", std::string("\1\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(Inc("short", 1, &result), Status::kNotANumber);
  EXPECT_EQ(Inc("text", 1, &result), Status::kNotANumber);
  EXPECT_EQ(Inc("binary", 1, &result), Status::kOk);
  EXPECT_EQ(result, 2u);
  EXPECT_EQ(Get("short"), "1234567");
}

TEST_F(CacheTest, ACounterNeedsABlockOfEightBytesAndASlot) {
  Make(1, 7, 100, 4);
  uint64_t result = 0;
  EXPECT_EQ(Inc("n", 1, &result), Status::kValueTooLarge);
  Set("taken", "v");
  EXPECT_EQ(Set("n", "v"), Status::kFull);
}

TEST_F(CacheTest, HitsAndMissesAreCountedOnlyWhenAsked) {
  Make(10, 16, 100, 4);
  Set("k", "v");
  Get("k"), Get("k"), Get("absent");
  cache().Read(caller_, KeyFor(cache(), "k"), Cache::kUncounted, [](const uint8_t*, const Found&) {});
  const CacheFigures figures = cache().Figures(instance_.processes().threads_used());
  EXPECT_EQ(figures.hits, 2u);
  EXPECT_EQ(figures.misses, 1u);
}

TEST_F(CacheTest, AValueMayBeBuiltInItsPlace) {
  Make(2, 16, 100, 4);
  uint8_t* room = cache().Begin(caller_);
  ASSERT_NE(room, nullptr);
  memcpy(room, "in place", 8);
  EXPECT_EQ(cache().Publish(caller_, KeyFor(cache(), "k"), How::kAdd, 8, 0, 0), Status::kOk);
  EXPECT_EQ(Get("k"), "in place");
  memcpy(cache().Begin(caller_), "not published", 13);
  EXPECT_EQ(Get("k"), "in place");
}

TEST_F(CacheTest, GeometryThatTheLayoutCannotNumberIsRefused) {
  EXPECT_EQ(Cache::Validate({10, 64, 100, 16, 8, 0}), Status::kOk);
  EXPECT_EQ(Cache::Validate({(1u << 30) + 1, 64, 100, 16, 8, 0}), Status::kTooLarge);
  EXPECT_EQ(Cache::Validate({10, (1u << 30) + 1, 100, 16, 8, 0}), Status::kTooLarge);
  EXPECT_EQ(Cache::Validate({UINT32_MAX, 64, 100, 16, UINT32_MAX, 0}), Status::kTooLarge);
  EXPECT_EQ(Cache::Validate({10, 64, 100, 15, 8, 0}), Status::kForeign);
  EXPECT_EQ(Cache::Validate({0, 64, 100, 16, 8, 0}), Status::kForeign);
  EXPECT_EQ(Cache::Validate({10, 0, 100, 16, 8, 0}), Status::kForeign);
  EXPECT_EQ(Cache::Validate({10, 64, 0, 16, 8, 0}), Status::kForeign);
  EXPECT_EQ(Cache::Validate({10, 64, 65536, 16, 8, 0}), Status::kForeign);
}

// The same calls on a std::map; two buckets, so that chains are long.
struct Model {
  struct Entry {
    std::string value;
    uint64_t expires_at;
  };
  std::map<std::string, Entry> entries;
  uint32_t most;

  Entry* Live(const std::string& key) {
    auto found = entries.find(key);
    return found == entries.end() || (found->second.expires_at && found->second.expires_at <= TestMs())
               ? nullptr
               : &found->second;
  }
  Status Store(const std::string& key, bool add, const std::string& value, uint64_t expires_at) {
    if (add && Live(key)) return Status::kExists;
    if (!entries.count(key) && entries.size() >= most) {
      for (auto it = entries.begin(); it != entries.end();) it = Live(it->first) ? std::next(it) : entries.erase(it);
      if (entries.size() >= most) return Status::kFull;
    }
    entries[key] = {value, expires_at};
    return Status::kOk;
  }
};

TEST_F(CacheTest, AHundredThousandRandomCallsAnswerAsAMapWould) {
  Make(40, 64, 100, 2);
  Model model{{}, 40};
  Dice dice(20260);
  for (int i = 0; i < 100000; i++) {
    if (i % 64 == 0) test_clock_ms += dice.Below(40);
    const uint32_t n = dice.Below(60);
    const std::string key = n % 5 == 4 ? std::string(90, 'k') + std::to_string(n) : "key-" + std::to_string(n);
    const std::string value(dice.Below(65), static_cast<char>('a' + dice.Below(26)));
    const uint64_t expires_at = dice.Below(3) ? 0 : TestMs() + dice.Below(60);
    switch (dice.Below(11)) {
      case 0:
      case 1: ASSERT_EQ(Set(key, value, expires_at), model.Store(key, true, value, expires_at)) << "call " << i; break;
      case 2:
      case 3:
        ASSERT_EQ(Update(key, value, expires_at), model.Store(key, false, value, expires_at)) << "call " << i;
        break;
      case 4: {
        const bool there = model.Live(key) != nullptr;
        model.entries.erase(key);
        ASSERT_EQ(Del(key), there ? Status::kOk : Status::kNotFound) << "call " << i;
        break;
      }
      case 5: {
        Model::Entry* entry = model.Live(key);
        const std::string expected = entry && dice.Below(2) ? entry->value : value;
        Status status = !entry ? Status::kNotFound : entry->value == expected ? Status::kOk : Status::kChanged;
        ASSERT_EQ(Swap(key, expected, value + "!", expires_at), value.size() == 64 ? Status::kValueTooLarge : status)
            << "call " << i;
        if (status == Status::kOk && value.size() < 64) *entry = {value + "!", expires_at};
        break;
      }
      case 6: {
        Model::Entry* entry = model.Live(key);
        if (entry) entry->expires_at = expires_at;
        ASSERT_EQ(cache().Touch(caller_, KeyFor(cache(), key), expires_at), entry ? Status::kOk : Status::kNotFound)
            << "call " << i;
        break;
      }
      case 7: {
        Model::Entry* entry = model.Live(key);
        ASSERT_EQ(Pop(key), entry ? entry->value : "(none)") << "call " << i;
        if (entry) model.entries.erase(key);
        break;
      }
      case 8: {
        uint64_t result = 0, sum = 0;
        Model::Entry* entry = model.Live(key);
        Status expected = Status::kNotANumber;
        if (!entry) {
          sum = n;
          expected = model.Store(key, true, std::string(reinterpret_cast<char*>(&sum), 8), expires_at);
        } else if (entry->value.size() == 8) {
          memcpy(&sum, entry->value.data(), 8);
          sum += n;
          entry->value.assign(reinterpret_cast<char*>(&sum), 8);
          expected = Status::kOk;
        }
        ASSERT_EQ(Inc(key, n, &result, expires_at), expected) << "call " << i;
        if (expected == Status::kOk) {
          ASSERT_EQ(result, sum) << "call " << i;
        }
        break;
      }
      default: {
        Model::Entry* entry = model.Live(key);
        ASSERT_EQ(Get(key), entry ? entry->value : "(none)") << "call " << i;
      }
    }
    if (i % 5000 == 0) {
      ASSERT_EQ(cache().Check(), "") << "call " << i;
      std::set<std::string> live;
      for (const auto& [name, entry] : model.entries)
        if (model.Live(name)) live.insert(name);
      ASSERT_EQ(Keys(), live) << "call " << i;
    }
    if (i % 20000 == 19999) {
      uint64_t removed;
      cache().Clear(caller_, &removed);
      model.entries.clear();
    }
  }
}

TEST_F(CacheTest, CheckSeesEveryKindOfDamage) {
  Make(8, 16, 100, 2);
  for (int i = 0; i < 6; i++) Set("key-" + std::to_string(i), "v", i == 3 ? 5000 : 0);
  Del("key-0");
  const CachePlaces at = CachePlaces::Of(cache().geometry());
  Segment& segment = cache().segment();
  struct {
    const char* invariant;
    uint64_t offset;
    uint32_t value;
  } const damages[] = {
      {"I1", at.buckets, 4000},
      {"I2", at.pool + offsetof(Pool, head), 2},
      {"I4", at.pool + offsetof(Pool, count), 7},
      {"I4", at.stripes + offsetof(Stripe, count), 40},
      {"I4", at.stripes + sizeof(Stripe) + offsetof(Stripe, count), 40},
      {"I6", at.cells + offsetof(Cell, intent) + offsetof(Intent, armed), 1},
      {"I2", at.cells + offsetof(Cell, spare), 3},
      {"I3", at.items + 3 * sizeof(Item) + offsetof(Item, key), 0x41414141},
      {"I3", at.items + 3 * sizeof(Item) + offsetof(Item, key_size), 0},
      {"I3", at.items + 3 * sizeof(Item) + offsetof(Item, value_size), 17},
  };
  ASSERT_EQ(cache().Check(), "");
  for (const auto& damage : damages) {
    uint32_t* word = segment.At<uint32_t>(damage.offset);
    const uint32_t before = *word;
    *word = damage.value;
    EXPECT_EQ(cache().Check().substr(0, 2), damage.invariant) << "at " << damage.offset;
    *word = before;
    ASSERT_EQ(cache().Check(), "");
  }
  uint64_t* earliest =
      segment.At<uint64_t>(at.stripes + KeyFor(cache(), "key-3").stripe * sizeof(Stripe) + offsetof(Stripe, earliest));
  const uint64_t before = *earliest;
  *earliest = 5001;
  EXPECT_EQ(cache().Check().substr(0, 2), "I5");
  *earliest = before;
}

}  // namespace
}  // namespace uwshm::test
