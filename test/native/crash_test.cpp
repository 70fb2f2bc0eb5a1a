// Real deaths at chosen moments. The clock is an argument of every call, and it
// is looked at while a lock is held: a clock that kills is a death inside.
// (test/crash has the deaths at every instruction, and at random ones.)
#include <gtest/gtest.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

uint32_t looks_till_death = 0;  // of this process; 0 = it lives

uint64_t DeadlyMs() {
  if (looks_till_death != 0 && --looks_till_death == 0) raise(SIGKILL);
  return TestMs();
}

class CrashTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test_clock_ms = 1000;
    CreateOrEnd(instance_, {Spec("subject", 6, 64, 100, 2)}, 6, TestMs);
    ASSERT_EQ(instance_.EnterThread(&caller_), Status::kOk);
    for (int i = 0; i < 6; i++) ASSERT_EQ(Put("key-" + std::to_string(i), "old", i < 3 ? 1500 : 9000), Status::kOk);
    test_clock_ms = 2000;  // three have expired, three live
  }
  void TearDown() override {
    EXPECT_EQ(cache().Check(), "");
    instance_.Leave();
  }

  Cache& cache() { return *instance_.caches()[0]; }

  Status Put(const std::string& name, const std::string& value, uint64_t expires_at = 0) {
    return cache().Store(caller_, KeyFor(cache(), name), How::kReplace, value.data(), value.size(), 0, expires_at);
  }
  std::string Get(const std::string& name) {
    std::string value = "(none)";
    cache().Read(caller_, KeyFor(cache(), name), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
    });
    return value;
  }

  // A child that does `act` and dies at its n-th look at the clock. False: it
  // did not look so often.
  bool DiesAtLook(uint32_t n, const std::function<void(Instance&, const Caller&)>& act) {
    Child child([&] {
      auto* other = new Instance;
      Caller caller{};
      AttachOrEnd(*other, instance_.Descriptors(), &caller, Me(DeadlyMs));
      looks_till_death = n;
      act(*other, caller);
      return 0;
    });
    return child.ExitCode() == 1000 + SIGKILL;
  }

  Instance instance_;
  Caller caller_{};
};

TEST_F(CrashTest, AWorkerKilledInsideSetLeavesTheCacheUsable) {
  uint32_t n = 1;
  for (; DiesAtLook(n,
                    [](Instance& other, const Caller& me) {
                      other.caches()[0]->Store(me, KeyFor(*other.caches()[0], "key-4"), How::kAdd, "new", 3, 0, 0);
                    });
       n++) {
    EXPECT_EQ(Get("key-4"), "old");
    EXPECT_EQ(Put("key-5", "after " + std::to_string(n)), Status::kOk);
    EXPECT_EQ(instance_.Reclaim(), 1u);
    EXPECT_EQ(cache().Check(), "") << "look " << n;
  }
  EXPECT_GT(n, 1u) << "no look at the clock, no death";
}

TEST_F(CrashTest, AWorkerKilledWhileItMakesRoomLosesNoSlot) {
  uint32_t n = 1;
  for (; DiesAtLook(n,
                    [](Instance& other, const Caller& me) {
                      other.caches()[0]->Store(me, KeyFor(*other.caches()[0], "a new key"), How::kAdd, "new", 3, 0, 0);
                    });
       n++) {
    EXPECT_EQ(instance_.Reclaim(), 1u);
    EXPECT_EQ(cache().Check(), "") << "look " << n;
    EXPECT_EQ(Get("a new key"), "(none)");
    EXPECT_EQ(Get("key-3"), "old");
  }
  EXPECT_GT(n, 2u);
  Status status = Status::kOk;
  for (int i = 0; i < 10 && status == Status::kOk; i++) status = Put("fill-" + std::to_string(i), "x");
  EXPECT_EQ(status, Status::kFull);
  EXPECT_EQ(cache().Figures(0).items, 6u);
}

TEST_F(CrashTest, AWorkerKilledInsideSweepLosesNoSlot) {
  for (uint32_t n = 1; DiesAtLook(n, [](Instance& other, const Caller& me) { other.caches()[0]->Sweep(me); }); n++) {
    EXPECT_EQ(instance_.Reclaim(), 1u);
    EXPECT_EQ(cache().Check(), "") << "look " << n;
  }
  EXPECT_EQ(Get("key-3"), "old");
}

// Who settles the dead may die at it, and who settles that one too.
TEST_F(CrashTest, RepairersThatDieAreRepaired) {
  Dice dice(3);
  SharedWord ready;
  for (int round = 0; round < 60; round++) {
    auto killed = [&](const std::function<void(Instance&, const Caller&)>& act) {
      *ready = 0;
      Child child([&]() -> int {
        auto* other = new Instance;
        Caller caller{};
        AttachOrEnd(*other, instance_.Descriptors(), &caller, Me(TestMs));
        *ready = 1;
        for (;;) act(*other, caller);
      });
      ASSERT_TRUE(Eventually([&] { return *ready == 1; }));
      for (uint32_t turns = dice.Below(30000); turns > 0; turns--) std::atomic_signal_fence(std::memory_order_seq_cst);
      child.Kill();
    };
    killed([&](Instance& other, const Caller& me) {
      const std::string name = "key-" + std::to_string(3 + round % 3);
      other.caches()[0]->Store(me, KeyFor(*other.caches()[0], name), How::kReplace, name.data(), name.size(), 0, 0);
      other.caches()[0]->Remove(me, KeyFor(*other.caches()[0], name));
    });
    if (HasFatalFailure()) return;  // a child that cannot begin ends the test, not only its round
    for (int depth = 0; depth < 3; depth++) killed([](Instance& other, const Caller&) { other.Reclaim(); });
    ASSERT_TRUE(Eventually([&] {
      instance_.Reclaim();
      uint32_t taken = 0;
      for (uint32_t slot = 0; slot < 6; slot++) taken += instance_.processes().process(slot).claimed != 0;
      return taken == 1;
    })) << "round "
        << round;
    ASSERT_EQ(cache().Check(), "") << "round " << round;
    ASSERT_EQ(Put("key-4", "round " + std::to_string(round)), Status::kOk);
    ASSERT_EQ(Get("key-4"), "round " + std::to_string(round));
  }
}

// A repairer that stands still before it has repaired: the dead thread's slot
// must not go to anybody else meanwhile, for its intent is still to be read.
TEST_F(CrashTest, TheDeadKeepTheirSlotsWhileSomethingOfTheirsIsBusy) {
  ASSERT_TRUE(DiesAtLook(1, [](Instance& other, const Caller& me) {
    other.caches()[0]->Store(me, KeyFor(*other.caches()[0], "key-4"), How::kAdd, "new", 3, 0, 0);
  }));
  const uint32_t lock = cache().geometry().first_lock + KeyFor(cache(), "key-4").stripe;
  const uint32_t dead = instance_.locks().OwnerThreadOf(lock);
  ASSERT_NE(dead, UINT32_MAX) << "it died with its name on the lock";
  LockRecord* records = instance_.locks().segment().At<LockRecord>(sizeof(SegmentHeader));
  SharedWord held;
  Child frozen([&]() -> int {
    *held = LockTable::Engines()[0]->lock(records[lock].object, {}, 1000) == Taken::kYes;
    for (;;) pause();
  });
  ASSERT_TRUE(Eventually([&] { return *held == 1; }));
  EXPECT_EQ(instance_.Reclaim(), 0u);
  Caller other{};
  ASSERT_EQ(instance_.EnterThread(&other), Status::kOk);
  EXPECT_NE(other.thread, dead);
  frozen.Kill();
  EXPECT_EQ(instance_.Reclaim(), 1u);
}

#ifndef UWSHM_NO_REPAIR
// The name on a lock tells whose intent to look at, the intent tells which lock it is for.
TEST_F(CrashTest, ARepairLeavesTheIntentForAnotherLockAlone) {
  Caller other{};
  ASSERT_EQ(instance_.EnterThread(&other), Status::kOk);
  const uint32_t first = cache().geometry().first_lock;
  Intent& intent = CellsOf(cache())[other.thread].intent;
  intent.armed = first + 1 + 1;  // at work under the second stripe's lock
  LockRecord* records = instance_.locks().segment().At<LockRecord>(sizeof(SegmentHeader));
  for (uint32_t stripe : {0u, 1u}) {
    records[first + stripe].owner = uint64_t{1} << 32 | (other.thread + 1);
    std::string name;
    for (uint32_t i = 0; name.empty() || KeyFor(cache(), name).stripe != stripe; i++) name = "at-" + std::to_string(i);
    EXPECT_EQ(cache().Remove(caller_, KeyFor(cache(), name)), Status::kNotFound);
    EXPECT_EQ(intent.armed, stripe == 0 ? first + 1 + 1 : 0) << "stripe " << stripe;
  }
}
#endif

TEST_F(CrashTest, AFrozenHolderMakesWritersGiveUpWhileReadersGoOn) {
  Child holder([&]() -> int {
    auto* other = new Instance;
    Caller caller{};
    AttachOrEnd(*other, instance_.Descriptors(), &caller, Me(DeadlyMs));
    caller.now = [] { return raise(SIGSTOP), TestMs(); };
    other->caches()[0]->Store(caller, KeyFor(*other->caches()[0], "key-4"), How::kAdd, "new", 3, 0, 0);
    return 0;
  });
  int status = 0;
  ASSERT_EQ(waitpid(holder.pid(), &status, WUNTRACED), holder.pid());
  caller_.patience_ms = 50;
  EXPECT_EQ(Put("key-4", "mine"), Status::kBusy);
  EXPECT_EQ(cache().HolderPid(), static_cast<uint32_t>(holder.pid()));
  EXPECT_EQ(Get("key-4"), "old") << "reading takes no lock";
  EXPECT_EQ(instance_.Reclaim(), 0u) << "frozen is not dead";
  holder.Thaw();
  EXPECT_TRUE(Eventually([&] { return Put("key-4", "mine") == Status::kOk; }));
  EXPECT_EQ(holder.ExitCode(), 0);
}

}  // namespace
}  // namespace uwshm::test
