// A cache in a file: what a start finds there again, and what it must not.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "child.hpp"
#include "store_world.hpp"

namespace uwshm::test {
namespace {

std::string Long(const std::string& name, size_t size) { return name + std::string(size - name.size(), '.'); }

StoreFindings Examine(int file, std::string* fault, const StoreClock& clock = kThisBoot) {
  StoreHead head;
  StoreFindings findings;
  EXPECT_EQ(Status::kOk, ExamineStore(file, clock, TestMs(), &head, &findings, fault));
  return findings;
}

class Store : public testing::Test {
 protected:
  void SetUp() override { test_clock_ms = 1000; }
};

TEST_F(Store, WhatWasStoredIsThereAgain) {
  for (Policy policy : {kRefuse, kLru, kLruStrict, kSieve}) {
    StoreWorld world(StoredSpec(policy));
    Items expected;
    for (int i = 0; i < 50; i++) {
      const std::string name = i % 3 == 0 ? std::to_string(i) : Long(std::to_string(i), i % 3 == 1 ? 40 : 90);
      const std::string value(static_cast<size_t>(i * 4 + (i == 0)), static_cast<char>('a' + i % 26));
      ASSERT_EQ(Status::kOk, world.Set(name, value, i % 5 == 0 ? 5000 + i : 0));
      expected[name] = value;
    }
    ASSERT_EQ("", world.cache().Check());
    for (int start = 0; start < 3; start++) {
      ASSERT_EQ(Status::kOk, world.Restart());
      EXPECT_EQ("", world.cache().Check()) << kPolicyNames[policy];
      EXPECT_EQ(expected, world.All());
      EXPECT_EQ(50u, world.cache().Figures(16).items);
    }
    EXPECT_EQ(policy == kRefuse ? Status::kFull : Status::kOk, world.Set("one more", "x"));
    test_clock_ms = 5000;
    EXPECT_EQ("", world.Get("0")) << "it has expired";
    test_clock_ms = 1000;
  }
}

TEST_F(Store, CallsOfEveryKindLeaveChecksumsThatAreRight) {
  for (Policy policy : {kRefuse, kLru, kSieve}) {
    StoreWorld world(StoredSpec(policy, 20));
    Dice dice(policy + 7);
    for (int round = 0; round < 300; round++) {
      for (int call = 0; call < 30; call++) {
        const uint32_t n = dice.Below(26);
        const std::string name = Long("key " + std::to_string(n), n % 3 == 0 ? 8 : n % 3 == 1 ? 30 : 80);
        const Key key = KeyFor(world.cache(), name);
        uint64_t result;
        uint8_t room[200];
        Found found{};
        switch (dice.Below(8)) {
          case 0: world.Set(name, std::string(1 + dice.Below(200), 'v'), dice.Below(2) * (TestMs() + 50)); break;
          case 1: world.Set(name, "added", 0, How::kAdd); break;
          case 2: world.cache().Calculate(world.me, key, Math::kAdd, 3, dice.Below(2) * 9000000, &result); break;
          case 3: world.cache().Touch(world.me, key, TestMs() + dice.Below(60)); break;
          case 4: world.cache().Remove(world.me, key); break;
          case 5: world.cache().Pop(world.me, key, room, sizeof room, &found); break;
          case 6: test_clock_ms += 7, world.cache().Sweep(world.me); break;
          default: world.Get(name);
        }
      }
      ASSERT_EQ("", world.cache().Check());
      const Items before = world.All();
      std::string fault;
      const StoreFindings findings = Examine(world.file, &fault);
      EXPECT_EQ("", fault);
      EXPECT_EQ(0u, findings.damaged);
      EXPECT_EQ(0u, findings.older);
      ASSERT_EQ(Status::kOk, world.Restart());
      ASSERT_EQ("", world.cache().Check());
      ASSERT_EQ(before, world.All());
    }
  }
}

TEST_F(Store, AnyBitOfTheHeaderMayFlipAndNothingIsBelieved) {
  StoreWorld world;
  world.Set("key", "value");
  for (uint32_t bit = 0; bit < 336 * 8; bit++) {
    world.base()[bit / 8] ^= 1 << bit % 8;
    StoreHead head;
    EXPECT_NE(Status::kOk, head.Read(world.file)) << "bit " << bit;
    EXPECT_NE("", head.objection);
    world.base()[bit / 8] ^= 1 << bit % 8;
  }
}

TEST_F(Store, AnyBitOfAnItemMayFlipAndItIsRightOrGone) {
  for (size_t key_size : {3u, 40u, 90u}) {
    StoreWorld world(StoredSpec(kLru));
    const std::string name = Long("key", key_size);
    world.Set("other", "what stands beside it");
    world.Set(name, "a value of some length", 9000);
    const Slot slot = world.SlotOf(name);
    ASSERT_NE(0u, slot);
    const CachePlaces at = world.places();
    const std::vector<uint8_t> image(world.base(), world.base() + at.size);
    std::vector<uint64_t> places;
    for (uint64_t byte = 0; byte < sizeof(Item); byte++) places.push_back(at.items + slot * sizeof(Item) + byte);
    for (uint64_t byte = 0; byte < kMiddleKey; byte++) places.push_back(at.keys + slot * kMiddleKey + byte);
    for (uint64_t byte = 0; byte < key_size; byte++) places.push_back(at.long_keys + slot * at.long_key_stride + byte);
    for (uint64_t byte = 0; byte < 22; byte++)
      places.push_back(at.blocks + slot * world.cache().geometry().block_stride() + byte);
    uint32_t damaged = 0;
    for (uint64_t place : places)
      for (int bit = 0; bit < 8; bit++) {
        memcpy(world.base() + 384, &image[384], image.size() - 384);
        world.base()[place] ^= 1 << bit;
        ASSERT_EQ(Status::kOk, world.Restart());
        ASSERT_EQ("", world.cache().Check());
        const Items items = world.All();
        EXPECT_EQ("what stands beside it", items.at("other"));
        EXPECT_EQ(items.size(), items.count(name) + 1);
        const auto found = items.find(name);
        EXPECT_TRUE(found == items.end() || found->second == "a value of some length");
        EXPECT_EQ(1 - items.count(name), world.cache().Figures(16).damaged) << "place " << place << " bit " << bit;
        damaged += world.cache().Figures(16).damaged;
      }
    // All of the item but its link, the time of its last use, and room that it does not need.
    EXPECT_EQ((sizeof(Item) - 4 - 8 - kInlineKey + key_size + 22) * 8, damaged);
  }
}

TEST_F(Store, WhatWasRemovedOrReplacedDoesNotComeBackWhateverTheLinksSay) {
  StoreWorld world;
  world.Set("removed", "one");
  world.Set("replaced", "two");
  const Slot removed = world.SlotOf("removed"), replaced = world.SlotOf("replaced");
  world.cache().Remove(world.me, KeyFor(world.cache(), "removed"));
  world.Set("replaced", "three");
  auto* buckets = world.cache().segment().At<std::atomic<uint32_t>>(world.places().buckets);
  for (uint32_t bucket = 0; bucket < 16; bucket++) buckets[bucket] = bucket % 2 == 0 ? removed : replaced;
  world.item(removed).chain_next = replaced;
  world.item(replaced).chain_next = removed;
  ASSERT_EQ(Status::kOk, world.Restart());
  EXPECT_EQ("", world.cache().Check());
  EXPECT_EQ((Items{{"replaced", "three"}}), world.All());
}

TEST_F(Store, OfTwoVersionsOfAnItemTheLaterOneCounts) {
  for (bool later_behind : {false, true}) {
    StoreWorld world;
    world.Set("key", "old");
    const Slot old = world.SlotOf("key");
    // Others that come behind it in its chain, too.
    Items expected;
    for (int i = 0; i < 30; i++) {
      const std::string name = "other " + std::to_string(i);
      world.Set(name, name);
      expected[name] = name;
    }
    world.Set("other 0", "other 0");
    const uint32_t checksum = world.item(old).checksum;
    world.Set("key", "new");
    const Slot fresh = world.SlotOf("key");
    ASSERT_EQ(1u, fresh) << "the start comes to it first";
    ASSERT_EQ(51u, old);
    world.item(old).checksum = checksum;  // as a page that a power cut left as it was
    if (later_behind) {
      // The same in the other order: the start comes to the earlier one first.
      const uint32_t earlier = world.item(fresh).checksum;
      world.Set("key", "newer");
      ASSERT_EQ(old, world.SlotOf("key"));
      world.item(fresh).checksum = earlier;
    }
    ASSERT_EQ(Status::kOk, world.Restart());
    EXPECT_EQ("", world.cache().Check());
    expected["key"] = later_behind ? "newer" : "new";
    EXPECT_EQ(expected, world.All());
  }
}

TEST_F(Store, OnTheNextBootAnItemEndsAtItsMoment) {
  StoreWorld world;
  world.Set("a minute and a half", "x", 91000);
  world.Set("a minute", "x", 60500);
  world.Set("for ever", "x");
  // That boot began a minute after this one: what was at 91 s of this is at 31 s of that.
  test_clock_ms = 1000;
  ASSERT_EQ(Status::kOk, world.Restart(kNextBoot));
  EXPECT_EQ("", world.cache().Check());
  EXPECT_EQ((Items{{"a minute and a half", "x"}, {"for ever", "x"}}), world.All());
  test_clock_ms = 30999;
  EXPECT_EQ("x", world.Get("a minute and a half"));
  test_clock_ms = 31000;
  EXPECT_EQ("", world.Get("a minute and a half"));
}

TEST_F(Store, AStartThatDiedWhileItMovedExpiriesIsFinishedByTheNext) {
  for (int moved = 0; moved < 3; moved++) {
    StoreWorld world;
    world.Set("a", "x", 91000);
    world.Set("b", "x", 92000);
    StoreHead head;
    ASSERT_EQ(Status::kOk, head.Read(world.file));
    head.store.moving_to = kNextBoot.began_at;
    ASSERT_TRUE(head.Write(world.file));
    if (moved > 0) world.item(world.SlotOf("a")).expires_at = 31000;
    if (moved > 1) world.item(world.SlotOf("b")).expires_at = 32000;
    std::string fault;
    EXPECT_EQ(2u, Examine(world.file, &fault, kNextBoot).good);
    EXPECT_EQ("", fault);
    // The clock was set meanwhile: it is a third beginning.
    StoreClock third = kNextBoot;
    third.began_at += 500;
    ASSERT_EQ(Status::kOk, world.Restart(third));
    EXPECT_EQ("", world.cache().Check());
    EXPECT_EQ(30500u, world.item(world.SlotOf("a")).expires_at);
    EXPECT_EQ(31500u, world.item(world.SlotOf("b")).expires_at);
  }
}

// A counter's word and its checksum are two stores; the intent says both checksums before the first.
TEST_F(Store, OfACounterThatSomebodyDiedOverOneOfTheTwoValuesIsThere) {
  for (bool was_stored : {false, true})
    for (bool everybody : {false, true}) {
      StoreWorld world;
      const std::string name = "count";  // a key does not keep its bytes
      const Key key = KeyFor(world.cache(), name);
      uint64_t result;
      world.cache().Add(world.me, key, 5, 0, &result);
      const Slot slot = world.SlotOf(name);
      ASSERT_NE(0u, slot);
      const uint32_t before = world.item(slot).checksum;
      world.cache().Add(world.me, key, 1, 0, &result);
      const uint32_t after = world.item(slot).checksum;
      const CacheGeometry geometry = world.cache().geometry();
      const uint32_t lock = geometry.first_lock + key.stripe;
      Intent& intent = CellsOf(world.cache())[world.me.thread].intent;
      intent.link = geometry.hashsize + static_cast<uint32_t>(geometry.slots()) + 2 + slot;
      intent.expected = before;
      intent.desired = after;
      intent.armed = lock + 1;
      world.item(slot).checksum = before;
      const uint64_t value = was_stored ? 6 : 5;
      memcpy(world.base() + world.places().blocks + slot * world.cache().geometry().block_stride(), &value,
             sizeof value);
      if (!everybody) {
        // Whoever takes the lock next makes it right, whatever it wants there itself.
        world.instance->locks().segment().At<LockRecord>(sizeof(SegmentHeader))[lock].owner = world.me.OwnerWord();
        std::string other;
        for (uint32_t i = 0; other.empty() || KeyFor(world.cache(), other).stripe != key.stripe; i++)
          other = "other " + std::to_string(i);
        world.cache().Remove(world.me, KeyFor(world.cache(), other));
        EXPECT_EQ("", world.cache().Check());
      }
      ASSERT_EQ(Status::kOk, world.Restart());
      EXPECT_EQ("", world.cache().Check());
      EXPECT_EQ(0u, world.cache().Figures(16).damaged);
      world.cache().Add(world.me, key, 0, 0, &result);
      EXPECT_EQ(value, result) << was_stored << everybody;
    }
}

TEST_F(Store, ItIsTheLeastRecentlyUsedThatGoesAfterAStartToo) {
  for (Policy policy : {kLru, kLruStrict}) {
    StoreWorld world(StoredSpec(policy, 4));
    for (const char* name : {"a", "b", "c", "d"}) world.Set(name, name);
    world.Get("a");
    world.Get("b");
    ASSERT_EQ(Status::kOk, world.Restart());
    world.Set("e", "e");
    world.Set("f", "f");
    EXPECT_EQ((Items{{"a", "a"}, {"b", "b"}, {"e", "e"}, {"f", "f"}}), world.All());
    EXPECT_EQ("", world.cache().Check());
  }
}

TEST_F(Store, AFileOfAnotherCacheIsRefusedWithTheReason) {
  StoreWorld world;
  StoreHead head;
  ASSERT_EQ(Status::kOk, head.Read(world.file));
  const CacheGeometry geometry = world.cache().geometry();
  EXPECT_EQ("", StoreObjection(head, "stored", geometry, {}));
  EXPECT_EQ("it is of cache \"stored\"", StoreObjection(head, "another", geometry, {}));
  CacheGeometry larger = geometry;
  larger.max_items = 51;
  EXPECT_EQ("it has items 50, not 51", StoreObjection(head, "stored", larger, {}));
  CacheGeometry evicting = geometry;
  evicting.policy = kSieve;
  EXPECT_EQ("it has policy none, not sieve", StoreObjection(head, "stored", evicting, {}));
  CacheRules rules{};
  rules.hash = static_cast<uint32_t>(HashKind::kDjb33x);
  EXPECT_EQ("it has hash keyed, not djb33x", StoreObjection(head, "stored", geometry, rules));
  ASSERT_EQ(0, ftruncate(world.file, static_cast<off_t>(world.places().size - 4096)));
  EXPECT_EQ(Status::kForeign, head.Read(world.file));
  EXPECT_NE(std::string::npos, head.objection.find(" of its ")) << head.objection;
  ASSERT_EQ(0, ftruncate(world.file, static_cast<off_t>(world.places().size)));
}

TEST_F(Store, NobodyElseCanHaveTheFileWhileSomebodyHasItMapped) {
  StoreWorld world;
  const std::string path = "/proc/self/fd/" + std::to_string(world.file);
  auto free = [&] {
    const int other = open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool locked = LockFile(other, kOwnFile);
    close(other);
    return locked;
  };
  EXPECT_FALSE(free());
  {
    // Somebody who attached by itself holds it on its own, when the master has gone.
    SharedWord attached;
    const std::vector<int> fds = world.instance->Descriptors();
    Child child([&]() -> int {
      Instance instance;
      Caller caller{};
      std::vector<int> own(fds);
      own.back() = open(path.c_str(), O_RDWR | O_CLOEXEC);
      AttachOrEnd(instance, own, &caller, Me(TestMs));
      close(world.file);
      for (int fd : fds) close(fd);
      *attached = 1;
      for (;;) pause();
    });
    ASSERT_TRUE(Eventually([&] { return *attached == 1; }));
    // The master's own lock goes with its descriptors, of which `file` is one.
    struct flock none = {};
    none.l_type = F_UNLCK;
    ASSERT_EQ(0, fcntl(world.file, F_OFD_SETLK, &none));
    EXPECT_FALSE(free());
    child.Kill();
    EXPECT_TRUE(free());
  }
}

TEST_F(Store, AFullDiskIsToldBeforeTheStartAndLeavesNothing) {
  Child child([] {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &limit);
    char path[] = "/tmp/uwshm-store-XXXXXX";
    const int file = mkostemp(path, O_CLOEXEC);
    unlink(path);
    CacheSpec spec = StoredSpec();
    spec.store = {dup(file), kThisBoot, 1, true};
    Instance instance;
    Trouble trouble;
    const Status status =
        instance.Create(kInstance, {4, 8, 4, 0, LockTable::Engines()[0], {spec}, {}, {}}, Me(TestMs), &trouble);
    const int why = errno;
    struct stat left{};
    fstat(file, &left);
    return status == Status::kNoMemory && why == EFBIG && left.st_size == 0 ? 0 : 1;
  });
  EXPECT_EQ(0, child.ExitCode());
}

}  // namespace
}  // namespace uwshm::test
