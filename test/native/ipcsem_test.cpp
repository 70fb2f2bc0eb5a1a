// Semaphore sets outlive their processes: the last to leave removes them, the
// next to start removes what the killed have left, and nobody removes a set
// that somebody uses.
#include <gtest/gtest.h>
#include <sys/sem.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

const LockEngine* Engine() { return LockTable::EngineNamed("ipcsem"); }

// A key that nobody else on this machine has.
int32_t Key() {
  static int32_t next = 0x21000000 | (getpid() & 0xffffff);
  return next += 1 << 24;
}

int SetAt(int32_t key) { return semget(key, 0, 0); }

LockChoice At(int32_t key, bool persistent = false) {
  LockChoice choice(Engine());
  choice.first_key = key;
  choice.persistent = persistent;
  return choice;
}

class Nothing final : public Repairable {
  void Repair(uint32_t, uint32_t, const Caller&) override {}
};

Caller Me(uint32_t patience_ms) { return {1, static_cast<uint32_t>(getpid()), BootMs, patience_ms}; }

// A child that has made locks with that key, and was then killed.
void LeaveLocksOfTheKilled(const LockChoice& choice) {
  SharedWord made;
  Child maker([&] {
    auto* locks = new LockTable;
    *made = locks->Create(kInstance, 10, choice) == Status::kOk ? 1 : 2;
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *made != 0; }));
  ASSERT_EQ(*made, 1u);
}

TEST(IpcsemTest, TheLastToLeaveRemovesTheSet) {
  const int32_t key = Key();
  LockTable locks;
  ASSERT_EQ(locks.Create(kInstance, 10, At(key)), Status::kOk);
  SharedWord attached, leave;
  Child other([&] {
    LockTable theirs;
    uint64_t layout = 0;
    *attached = theirs.Attach(locks.segment().fd(), kInstance, &layout) == Status::kOk ? 1 : 2;
    while (*leave == 0) usleep(100);
    theirs.Leave();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *attached == 1; }));
  locks.Leave();
  EXPECT_GE(SetAt(key), 0) << "somebody still uses it";
  *leave = 1;
  EXPECT_EQ(other.ExitCode(), 0);
  EXPECT_EQ(SetAt(key), -1);
}

TEST(IpcsemTest, OnlyItsOwnerMayTouchASet) {
  const int32_t key = Key();
  LockTable locks;
  ASSERT_EQ(locks.Create(kInstance, 10, At(key)), Status::kOk);
  semid_ds status;
  ASSERT_EQ(semctl(SetAt(key), 0, IPC_STAT, &status), 0);
  EXPECT_EQ(status.sem_perm.mode & 0777, 0600);
  locks.Leave();
}

TEST(IpcsemTest, WhatTheKilledHaveLeftIsReapedAndWhatIsInUseIsNot) {
  const int32_t used = Key(), left = Key();
  LockTable locks;
  ASSERT_EQ(locks.Create(kInstance, 10, At(used)), Status::kOk);
  LeaveLocksOfTheKilled(At(left));
  ASSERT_GE(SetAt(left), 0);
  EXPECT_GE(Engine()->kernel->reap(), 1u);
  EXPECT_EQ(SetAt(left), -1);
  EXPECT_GE(SetAt(used), 0);
  locks.Leave();
}

// While one process of an instance lives, its master or not, its set is used.
TEST(IpcsemTest, ASetWhoseMakerWasKilledIsUsedByWhoeverAttached) {
  const int32_t key = Key();
  SharedWord fd_word, attached, leave;
  std::unique_ptr<Child> heir;
  {
    auto locks = std::make_unique<LockTable>();
    ASSERT_EQ(locks->Create(kInstance, 10, At(key)), Status::kOk);
    heir = std::make_unique<Child>([&] {
      LockTable theirs;
      uint64_t layout = 0;
      *attached = theirs.Attach(locks->segment().fd(), kInstance, &layout) == Status::kOk ? 1 : 2;
      while (*leave == 0) usleep(100);
      theirs.Leave();
      return 0;
    });
    ASSERT_TRUE(Eventually([&] { return *attached == 1; }));
    locks->Leave();
  }
  Engine()->kernel->reap();
  EXPECT_GE(SetAt(key), 0);
  *leave = 1;
  EXPECT_EQ(heir->ExitCode(), 0);
  EXPECT_EQ(SetAt(key), -1);
}

TEST(IpcsemTest, AKeyInUseIsRefusedAndThatOfTheKilledIsTakenOver) {
  const int32_t key = Key();
  LockTable first, second, third;
  ASSERT_EQ(first.Create(kInstance, 10, At(key)), Status::kOk);
  EXPECT_EQ(second.Create(kInstance, 10, At(key)), Status::kInUse);
  Nothing nothing;
  EXPECT_EQ(Guard(first, 3, Me(0), nothing).status(), Status::kOk) << "it was not reset";
  first.Leave();
  LeaveLocksOfTheKilled(At(key));
  EXPECT_EQ(third.Create(kInstance, 20, At(key)), Status::kOk);
  third.Leave();
}

TEST(IpcsemTest, ASetOfAnotherProgramIsLeftAlone) {
  const int32_t key = Key();
  const int theirs = semget(key, 50, IPC_CREAT | IPC_EXCL | 0600);
  ASSERT_GE(theirs, 0);
  ASSERT_EQ(semctl(theirs, 4, SETVAL, 3), 0);
  LockTable locks;
  EXPECT_EQ(locks.Create(kInstance, 10, At(key)), Status::kInUse);
  Engine()->kernel->reap();
  EXPECT_EQ(SetAt(key), theirs);
  semctl(theirs, 0, IPC_RMID);
}

TEST(IpcsemTest, APersistentSetStaysUntilTheNextStartWithItsKey) {
  const int32_t key = Key();
  LockTable first, second;
  ASSERT_EQ(first.Create(kInstance, 10, At(key, true)), Status::kOk);
  first.Leave();
  Engine()->kernel->reap();
  EXPECT_GE(SetAt(key), 0);
  EXPECT_EQ(second.Create(kInstance, 10, At(key)), Status::kOk);
  second.Leave();
  EXPECT_EQ(SetAt(key), -1);
}

TEST(IpcsemTest, ARemovedSetIsAnErrorOfTheCallerAwakeOrAsleep) {
  const int32_t key = Key();
  LockTable locks;
  ASSERT_EQ(locks.Create(kInstance, 10, At(key)), Status::kOk);
  Nothing nothing;
  auto held = std::make_unique<Guard>(locks, 1, Me(0), nothing);
  std::thread remover([&] {
    usleep(2000);
    semctl(SetAt(key), 0, IPC_RMID);
  });
  EXPECT_EQ(Guard(locks, 1, Me(5000), nothing).status(), Status::kLockBroken);
  EXPECT_EQ(Guard(locks, 2, Me(5000), nothing).status(), Status::kLockBroken);
  held.reset();
  remover.join();
}

TEST(IpcsemTest, MoreLocksThanOneSetHoldsAreSpreadOverSeveral) {
  const int32_t key = Key();
  LockTable locks;
  ASSERT_EQ(locks.Create(kInstance, 40000, At(key)), Status::kOk);
  EXPECT_GE(SetAt(key + (1 << 24)), 0);
  Nothing nothing;
  for (uint32_t lock : {0u, 31992u, 31993u, 39999u}) {
    Guard guard(locks, lock, Me(0), nothing);
    EXPECT_EQ(guard.status(), Status::kOk);
  }
  locks.Leave();
  EXPECT_EQ(SetAt(key + (1 << 24)), -1);
}

// Makers die at any moment, while somebody reaps as fast as it can.
TEST(IpcsemTest, MakersKilledAtAnyMomentLeaveNothingThatIsNotReaped) {
  Child reaper([] {
    for (;;) Engine()->kernel->reap();
    return 0;
  });
  Dice dice(3);
  SharedWord failed;
  constexpr uint32_t kRounds = 200;
  const uint64_t low = static_cast<uint64_t>(getpid()) << 8;  // the key that an instance draws follows from it
  for (uint32_t round = 0; round < kRounds; round++) {
    Child maker([&] {
      for (;;) {
        LockTable locks;
        Nothing nothing;
        if (locks.Create({1, low + round}, 50, Engine()) != Status::kOk) ++*failed;
        else if (Guard(locks, 3, Me(0), nothing).status() != Status::kOk) ++*failed;  // reaped under its hands
        locks.Leave();
        locks.segment().Abandon();
        close(locks.segment().fd());
      }
      return 0;
    });
    usleep(dice.Below(600));
  }
  reaper.Kill();
  Engine()->kernel->reap();
  for (uint32_t round = 0; round < kRounds; round++)
    EXPECT_EQ(SetAt(0x75770000 | static_cast<uint16_t>(low + round)), -1);
  EXPECT_EQ(*failed, 0u);
}

}  // namespace
}  // namespace uwshm::test
