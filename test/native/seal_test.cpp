// Sealed caches: what somebody has scribbled over is a miss for every call that reads.
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>

#include "world.hpp"

namespace uwshm::test {
namespace {

struct Kind {
  Policy policy;
  uint32_t blocks;
};
constexpr Kind kKinds[] = {{kRefuse, 0}, {kLru, 0}, {kLruStrict, 0}, {kSieve, 0}, {kRefuse, 40}, {kLru, 40}};

class Sealed {
 public:
  explicit Sealed(const Kind& kind, uint32_t items = 20) {
    test_clock_ms = 1000;
    CacheSpec spec = Spec("sealed", items, kind.blocks != 0 ? 24 : 48, 100, 16);
    spec.rules.ways = kSealed;
    spec.policy = kind.policy;
    spec.blocks = kind.blocks;
    CreateOrEnd(instance_, {spec}, 2, TestMs);
    Need(instance_.EnterThread(&me) == Status::kOk, "no thread slot");
  }
  ~Sealed() { instance_.Leave(); }

  Cache& cache() { return *instance_.caches()[0]; }
  Key key(const std::string& name) { return KeyFor(cache(), name); }
  Status Set(const std::string& name, const std::string& value, How how = How::kReplace) {
    return cache().Store(me, key(name), how, value.data(), value.size(), 0, 0);
  }
  Status Get(const std::string& name, std::string* value) {
    return cache().Read(me, key(name), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value->assign(reinterpret_cast<const char*>(bytes), found.size);
    });
  }
  Item& ItemOf(const std::string& name) {
    const CachePlaces at = CachePlaces::Of(cache().geometry());
    Item* items = cache().segment().At<Item>(at.items);
    const auto hash = key(name).hash;
    for (Slot slot = 1; slot <= cache().geometry().slots(); slot++)
      if (items[slot].checksum != 0 && items[slot].hash == hash) return items[slot];
    Need(false, "no such item");
    return items[0];
  }
  uint8_t* ValueOf(const std::string& name) {
    const CacheGeometry& geometry = cache().geometry();
    return cache().segment().base() + CachePlaces::Of(geometry).blocks +
           ItemOf(name).first_block * geometry.block_stride();
  }
  uint64_t damaged() { return cache().Figures(0).damaged; }

  Caller me{};

 private:
  Instance instance_;
};

const std::string kNumber(8, '\1');

const struct Damage {
  const char* what;
  void (*scribble)(Sealed&);
} kDamages[] = {{"value", [](Sealed& s) { s.ValueOf("key")[3] ^= 64; }},
                {"flags", [](Sealed& s) { s.ItemOf("key").flags.store(kAscii); }},
                {"expiry", [](Sealed& s) { s.ItemOf("key").expires_at.store(5000); }},
                {"size", [](Sealed& s) { s.ItemOf("key").value_size.store(9); }},
                {"checksum", [](Sealed& s) { s.ItemOf("key").checksum.fetch_add(1); }}};

const struct Call {
  const char* name;
  Status expected;
  Status (*run)(Sealed&);
} kCalls[] = {
    {"get", Status::kNotFound,
     [](Sealed& s) {
       std::string value;
       return s.Get("key", &value);
     }},
    {"ttl", Status::kNotFound,
     [](Sealed& s) {
       return s.cache().Read(s.me, s.key("key"), Cache::kUncounted, [](const uint8_t*, const Found&) {});
     }},
    {"set", Status::kOk, [](Sealed& s) { return s.Set("key", kNumber, How::kAdd); }},
    {"cas", Status::kNotFound,
     [](Sealed& s) {
       const Expected expected{kNumber.data(), kNumber.size()};
       return s.cache().Store(s.me, s.key("key"), How::kSwap, "x", 1, 0, 0, &expected);
     }},
    {"inc", Status::kOk,
     [](Sealed& s) {
       uint64_t result = 0;
       const Status status = s.cache().Add(s.me, s.key("key"), 7, 0, &result);
       return result == 7 ? status : Status::kChanged;
     }},
    {"touch", Status::kNotFound, [](Sealed& s) { return s.cache().Touch(s.me, s.key("key"), 9000); }},
    {"pop", Status::kNotFound,
     [](Sealed& s) {
       uint8_t room[100];
       Found found{};
       return s.cache().Pop(s.me, s.key("key"), room, sizeof room, &found);
     }},
};

TEST(Seal, ADamagedItemIsAMissForEveryCallAndGoes) {
  for (const Kind& kind : kKinds)
    for (const Damage& damage : kDamages)
      for (const Call& call : kCalls) {
        SCOPED_TRACE(std::string(call.name) + " after a damaged " + damage.what + ", " + kPolicyNames[kind.policy]);
        Sealed world(kind);
        ASSERT_EQ(Status::kOk, world.Set("beside", "as it was"));
        ASSERT_EQ(Status::kOk, world.Set("key", kNumber));
        damage.scribble(world);
        EXPECT_EQ(call.expected, call.run(world));
        EXPECT_EQ(1u, world.damaged());
        std::string value;
        EXPECT_EQ(call.expected, world.Get("key", &value)) << "what came instead of it";
        EXPECT_EQ(1u, world.damaged());
        EXPECT_EQ(Status::kOk, world.Get("beside", &value));
        EXPECT_EQ("as it was", value);
        EXPECT_EQ("", world.cache().Check());
      }
}

TEST(Seal, AFullCacheTakesANewItemInPlaceOfADamagedOne) {
  for (const Kind& kind : {kKinds[0], kKinds[4]}) {
    Sealed world(kind);
    for (int i = 0; i < 20; i++) world.Set(i == 0 ? "key" : std::to_string(i), std::string(40, 'x'));
    ASSERT_EQ(Status::kExists, world.Set("key", "new", How::kAdd));
    world.ValueOf("key")[0] = 'y';
    EXPECT_EQ(Status::kOk, world.Set("key", "new", How::kAdd));
    EXPECT_EQ("", world.cache().Check());
  }
}

TEST(Seal, WhatIsMovedKeepsItsDamage) {
  for (bool is_damaged : {false, true}) {
    Sealed world({kRefuse, 40});
    for (int i = 0; i < 19; i++) ASSERT_EQ(Status::kOk, world.Set(std::to_string(i), std::string(48, 'x')));
    for (int i = 0; i < 19; i += 2) world.cache().Remove(world.me, world.key(std::to_string(i)));
    for (int i = 1; i < 19; i += 2)
      if (is_damaged) world.ValueOf(std::to_string(i))[5] = 'y';
    ASSERT_EQ(Status::kOk, world.Set("large", std::string(24 * 12, 'x')));
    ASSERT_GT(world.cache().Figures(2).moves, 1u);
    for (int i = 1; i < 19; i += 2) {
      std::string value;
      EXPECT_EQ(is_damaged ? Status::kNotFound : Status::kOk, world.Get(std::to_string(i), &value)) << i;
    }
    EXPECT_EQ("", world.cache().Check());
  }
}

TEST(Seal, ADamagedLengthFreesNobodyElsesBlocks) {
  Sealed world({kRefuse, 40});
  ASSERT_EQ(Status::kOk, world.Set("key", kNumber));
  ASSERT_EQ(Status::kOk, world.Set("beside", "as it was"));
  world.ItemOf("key").value_size = 48;
  std::string value;
  EXPECT_EQ(Status::kNotFound, world.Get("key", &value));
  EXPECT_EQ(Status::kFull, world.Set("large", std::string(24 * 39, 'x'))) << "one block is beside's, and one is lost";
  for (int i = 0; i < 15; i++) ASSERT_EQ(Status::kOk, world.Set(std::to_string(i), std::string(48, 'x')));
  EXPECT_EQ(Status::kOk, world.Get("beside", &value));
  EXPECT_EQ("as it was", value);
}

TEST(Seal, ARepairDoesNotSealDamage) {
  Sealed world({kRefuse, 0});
  ASSERT_EQ(Status::kOk, world.Set("key", kNumber));
  const CacheGeometry& geometry = world.cache().geometry();
  Item& item = world.ItemOf("key");
  Intent& intent = CellsOf(world.cache())[1].intent;
  const auto slot = static_cast<uint32_t>(&item - world.cache().segment().At<Item>(CachePlaces::Of(geometry).items));
  intent.link = geometry.hashsize + static_cast<uint32_t>(geometry.slots()) + 2 + slot;
  intent.expected = item.checksum.load();
  intent.desired = 4711;
  const uint32_t lock = geometry.first_lock + world.key("key").stripe;
  for (bool is_damaged : {false, true}) {
    intent.armed = lock + 1;
    if (is_damaged) world.ValueOf("key")[0] ^= 1;
    world.cache().Repair(lock, 1, world.me);
    EXPECT_EQ(0u, intent.armed);
    std::string value;
    EXPECT_EQ(is_damaged ? Status::kNotFound : Status::kOk, world.Get("key", &value));
  }
}

}  // namespace
}  // namespace uwshm::test
