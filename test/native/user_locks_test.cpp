// User locks between processes: who gets them, who may let go of them, and what
// becomes of them when somebody dies, stands still, or waits for ever.
#include <gtest/gtest.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

constexpr uint64_t kForEver = UINT64_MAX;
constexpr uint64_t kLong = 10000000;  // µs

// Under every engine: their queues are guarded by its locks.
class UserLocksTest : public ::testing::TestWithParam<const LockEngine*> {
 protected:
  void SetUp() override {
    Trouble trouble;
    Need(instance_.Create(kInstance, {16, 8, 4, 0, GetParam(), {}, {3, 8}}, MeAmongMortals(), &trouble) == Status::kOk,
         "no instance could be made");
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot");
    me_ = locks().ThreadOwner(caller_);
  }
  void TearDown() override {
    EXPECT_EQ(locks().Check(), "");
    instance_.Leave();
  }

  UserLocks& locks() { return instance_.user_locks(); }

  struct Other {
    Instance* instance;
    Caller caller;
    LockOwner owner;
    UserLocks& locks() const { return instance->user_locks(); }
    Status Lock(uint32_t lock, uint64_t timeout_us = kForEver, Share share = Share::kNo) const {
      return locks().Lock(lock, owner, share, timeout_us, caller);
    }
    Status Unlock(uint32_t lock) const { return locks().Unlock(lock, owner.word, caller); }
  };

  // A child that attaches and does `act`.
  std::unique_ptr<Child> Do(const std::function<int(const Other&)>& act) {
    return std::make_unique<Child>([this, act] {
      Other other{new Instance, {}, {}};
      AttachOrEnd(*other.instance, instance_.Descriptors(), &other.caller, MeAmongMortals());
      other.owner = other.locks().ThreadOwner(other.caller);
      return act(other);
    });
  }

  // A child that holds `lock` until it is killed, or `let_go_`.
  std::unique_ptr<Child> Holder(uint32_t lock, Share share = Share::kNo) {
    const uint32_t before = **held_;
    auto child = Do([this, lock, share](const Other& other) {
      if (other.Lock(lock, kForEver, share) != Status::kOk) return 1;
      ++**held_;
      while (**let_go_ == 0) usleep(100);
      if (share == Share::kYes) other.locks().Unshare(lock, other.owner.word, other.caller);
      else other.Unlock(lock);
      for (;;) pause();
    });
    EXPECT_TRUE(Eventually([&] { return **held_ > before; }));
    return child;
  }

  uint32_t Waiting() {
    uint32_t waiting = 0;
    for (const LockFigures& figures : locks().Figures()) waiting += figures.waiters;
    return waiting;
  }

  Status Lock(uint32_t lock, uint64_t timeout_us, Share share = Share::kNo) {
    return locks().Lock(lock, me_, share, timeout_us, caller_);
  }
  Status Unlock(uint32_t lock) { return locks().Unlock(lock, me_.word, caller_); }
  uint32_t Named(const char* name, uint32_t kind) {
    uint32_t lock = 0;
    EXPECT_EQ(locks().Named(name, kind, caller_, &lock), Status::kOk);
    return lock;
  }

  Instance instance_;
  Caller caller_{};
  LockOwner me_{};
  std::unique_ptr<SharedWord> held_ = std::make_unique<SharedWord>(), let_go_ = std::make_unique<SharedWord>();
};

TEST_P(UserLocksTest, ALockIsTakenOnceAndLetGoByItsOwnerOnly) {
  EXPECT_FALSE(locks().IsLocked(0, caller_));
  EXPECT_EQ(locks().TryLock(0, me_), Status::kOk);
  EXPECT_TRUE(locks().IsLocked(0, caller_));
  EXPECT_FALSE(locks().IsLocked(1, caller_));
  EXPECT_EQ(locks().HolderOf(0), static_cast<uint32_t>(getpid()));
  EXPECT_EQ(locks().TryLock(0, me_), Status::kHeld);
  EXPECT_EQ(Lock(0, kForEver), Status::kHeld) << "it would wait for itself";
  const LockOwner hold = locks().NewOwner(caller_, 0);
  EXPECT_EQ(locks().TryLock(0, hold), Status::kBusy);
  EXPECT_EQ(locks().Unlock(0, hold.word, caller_), Status::kNotOwner);
  EXPECT_EQ(Do([](const Other& other) { return static_cast<int>(other.Unlock(0)); })->ExitCode(),
            static_cast<int>(Status::kNotOwner));
  EXPECT_TRUE(locks().IsLocked(0, caller_));
  EXPECT_EQ(Unlock(0), Status::kOk);
  EXPECT_EQ(Unlock(0), Status::kNotOwner);
  EXPECT_FALSE(locks().IsLocked(0, caller_));
}

TEST_P(UserLocksTest, TakenAgainItIsFreeAfterAsManyUnlocks) {
  for (int i = 0; i < 3; i++) EXPECT_EQ(locks().TryLock(0, me_, true), Status::kOk);
  for (int i = 0; i < 3; i++) {
    EXPECT_TRUE(locks().IsLocked(0, caller_));
    EXPECT_EQ(Unlock(0), Status::kOk);
  }
  EXPECT_FALSE(locks().IsLocked(0, caller_));
}

TEST_P(UserLocksTest, AThreadDoesNotWaitForWhatItHoldsOtherwise) {
  const LockOwner hold = locks().NewOwner(caller_, 0);
  EXPECT_EQ(locks().TryLock(0, hold), Status::kOk);
  EXPECT_EQ(Lock(0, kForEver), Status::kHeld) << "nobody could let go while it blocks";
  RecordIndex record = 0;
  EXPECT_EQ(locks().Enqueue(0, locks().NewOwner(caller_, 0), Share::kNo, true, caller_, &record), Status::kBusy);
  EXPECT_EQ(locks().Unlock(0, hold.word, caller_), Status::kOk) << "but it may wait without blocking";
  EXPECT_EQ(locks().Look(record, caller_, false), Status::kOk);
  locks().LeaveThread(caller_);
  EXPECT_FALSE(locks().IsLocked(0, caller_)) << "a thread that ends lets go of everything";
  EXPECT_TRUE(locks().Inherited(0, 0)) << "and the next is told";
}

TEST_P(UserLocksTest, WhoWaitsGetsItWhenItIsFree) {
  for (uint32_t kind : {0u, uint32_t{UserLock::kFair}, uint32_t{UserLock::kReadWrite}}) {
    const uint32_t lock = Named(("kind " + std::to_string(kind)).c_str(), kind);
    **let_go_ = 0;
    auto holder = Holder(lock);
    std::thread later([&] {
      EXPECT_TRUE(Eventually([&] { return Waiting() == 1; }));
      **let_go_ = 1;
    });
    EXPECT_EQ(Lock(lock, kLong), Status::kOk);
    later.join();
    EXPECT_FALSE(locks().Inherited(lock, me_.word));
    EXPECT_EQ(Unlock(lock), Status::kOk);
    EXPECT_FALSE(locks().IsLocked(lock, caller_));
  }
}

TEST_P(UserLocksTest, TheTimeRunsOutAndNothingStays) {
  auto holder = Holder(0);
  for (uint64_t timeout_us : {uint64_t{0}, uint64_t{20000}, uint64_t{450000}}) {
    const uint64_t since = MonotonicUs();
    EXPECT_EQ(Lock(0, timeout_us), Status::kBusy);
    EXPECT_GE(MonotonicUs() - since, timeout_us);
    EXPECT_LT(MonotonicUs() - since, timeout_us + 1000000);
  }
  EXPECT_EQ(Waiting(), 0u);
  EXPECT_EQ(locks().Check(), "");
}

TEST_P(UserLocksTest, AFrozenOwnerKeepsIt) {
  auto holder = Holder(0);
  holder->Freeze();
  EXPECT_EQ(Lock(0, 600000), Status::kBusy);
  EXPECT_EQ(locks().HolderOf(0), static_cast<uint32_t>(holder->pid()));
  instance_.Reclaim();
  EXPECT_TRUE(locks().IsLocked(0, caller_));
  **let_go_ = 1;
  holder->Thaw();
  EXPECT_EQ(Lock(0, kLong), Status::kOk);
  EXPECT_FALSE(locks().Inherited(0, me_.word));
}

// A plain lock goes to who comes first; those who overtake a frozen one leave nothing behind it.
TEST_P(UserLocksTest, AFrozenWaiterUsesUpNoRecordsOfOthers) {
  ASSERT_EQ(Lock(0, kForEver), Status::kOk);
  auto waiter = Do([](const Other& other) { return other.Lock(0) == Status::kOk ? 0 : 1; });
  ASSERT_TRUE(Eventually([&] { return Waiting() == 1; }));
  waiter->Freeze();
  LockOwner holder = me_;
  for (uint32_t turn = 0; turn < 2 * locks().geometry().records(); turn++) {
    const LockOwner next = locks().NewOwner(caller_, 0);
    RecordIndex record = 0;
    ASSERT_EQ(locks().Enqueue(0, next, Share::kNo, true, caller_, &record), Status::kBusy) << "turn " << turn;
    ASSERT_EQ(locks().Unlock(0, holder.word, caller_), Status::kOk);
    ASSERT_EQ(locks().Look(record, caller_, false), Status::kOk);
    holder = next;
  }
  EXPECT_EQ(Waiting(), 1u);
  waiter->Thaw();
  EXPECT_EQ(locks().Unlock(0, holder.word, caller_), Status::kOk);
  EXPECT_EQ(waiter->ExitCode(), 0);
}

TEST_P(UserLocksTest, ADeadOwnersLockIsFoundWithin250msByWhoeverWaitsAndItIsTold) {
  for (uint32_t kind : {0u, uint32_t{UserLock::kFair}, uint32_t{UserLock::kReadWrite}}) {
    const uint32_t lock = Named(("kind " + std::to_string(kind)).c_str(), kind);
    auto holder = Holder(lock);
    std::thread killer([&] {
      EXPECT_TRUE(Eventually([&] { return Waiting() == 1; }));
      holder->Kill();
    });
    const uint64_t since = MonotonicUs();
    EXPECT_EQ(Lock(lock, kLong), Status::kOk);
    EXPECT_LT(MonotonicUs() - since, 1000000u);
    killer.join();
    EXPECT_TRUE(locks().Inherited(lock, me_.word));
    EXPECT_EQ(Unlock(lock), Status::kOk);
    EXPECT_EQ(locks().TryLock(lock, me_), Status::kOk);
    EXPECT_FALSE(locks().Inherited(lock, me_.word)) << "told once";
    EXPECT_EQ(Unlock(lock), Status::kOk);
    EXPECT_EQ(locks().Figures()[lock].recoveries, 1u);
  }
}

TEST_P(UserLocksTest, IsLockedTellsTheTruthAboutADeadOwner) {
  Holder(0)->Kill();
  Holder(Named("both", UserLock::kReadWrite), Share::kYes)->Kill();
  EXPECT_FALSE(locks().IsLocked(0, caller_));
  EXPECT_FALSE(locks().IsLocked(3, caller_));
  EXPECT_EQ(locks().TryLock(0, me_), Status::kOk);
  EXPECT_TRUE(locks().Inherited(0, me_.word));
}

TEST_P(UserLocksTest, AReclaimedSlotLeavesNoLockBehind) {
  Holder(0)->Kill();
  Holder(1)->Kill();
  EXPECT_EQ(instance_.Reclaim(), 2u);
  EXPECT_EQ(locks().TryLock(0, me_), Status::kOk);
  EXPECT_EQ(locks().TryLock(1, me_), Status::kOk);
}

TEST_P(UserLocksTest, FairIsFirstComeFirstServed) {
  const uint32_t lock = Named("fair", UserLock::kFair);
  EXPECT_EQ(locks().TryLock(lock, me_), Status::kOk);
  SharedWord turn;
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t i = 0; i < 6; i++) {
    children.push_back(Do([&, i](const Other& other) {
      if (other.Lock(lock) != Status::kOk) return 1;
      const bool in_order = (*turn)++ == i, inherited = other.locks().Inherited(lock, other.owner.word);
      other.Unlock(lock);
      return inherited ? 3 : in_order ? 0 : 2;
    }));
    ASSERT_TRUE(Eventually([&] { return Waiting() == i + 1; }));
  }
  children[2]->Kill();  // nobody waits for the dead
  *turn = 0;
  children[3]->Freeze();
  children[3]->Thaw();
  EXPECT_EQ(Unlock(lock), Status::kOk);
  EXPECT_EQ(children[0]->ExitCode(), 0);
  EXPECT_EQ(children[1]->ExitCode(), 0);
  for (uint32_t i = 3; i < 6; i++) EXPECT_EQ(children[i]->ExitCode(), 2) << "one place further up";
  EXPECT_EQ((*turn).load(), 5u);
}

TEST_P(UserLocksTest, ReadersShareAndNobodyOvertakesAWriter) {
  const uint32_t lock = Named("both", UserLock::kReadWrite);
  auto reader = Holder(lock, Share::kYes);
  EXPECT_EQ(locks().TryShare(lock, me_, caller_), Status::kOk);
  EXPECT_EQ(locks().TryShare(lock, me_, caller_), Status::kHeld);
  EXPECT_EQ(Lock(lock, kForEver), Status::kHeld) << "a reader cannot wait to become a writer";
  SharedWord written;
  auto writer = Do([&](const Other& other) {
    const Status status = other.Lock(lock);
    *written = 1;
    other.Unlock(lock);
    return static_cast<int>(status);
  });
  ASSERT_TRUE(Eventually([&] { return Waiting() == 1; }));
  const LockOwner late = locks().NewOwner(caller_, 0);
  RecordIndex record = 0;
  EXPECT_EQ(locks().TryShare(lock, late, caller_), Status::kBusy);
  EXPECT_EQ(locks().Enqueue(lock, late, Share::kYes, true, caller_, &record), Status::kBusy);
  EXPECT_EQ(locks().Unshare(lock, me_.word, caller_), Status::kOk);
  EXPECT_EQ(*written, 0u) << "one reader is still there";
  **let_go_ = 1;
  EXPECT_EQ(writer->ExitCode(), 0);
  EXPECT_TRUE(Eventually([&] { return locks().Look(record, caller_, false) == Status::kOk; }));
  EXPECT_EQ(locks().Unshare(lock, late.word, caller_), Status::kOk);
  EXPECT_EQ(locks().Unshare(lock, late.word, caller_), Status::kNotOwner);
  EXPECT_FALSE(locks().IsLocked(lock, caller_));
}

TEST_P(UserLocksTest, EveryDeadReaderIsFoundNotTheLastOnly) {
  const uint32_t lock = Named("both", UserLock::kReadWrite);
  auto first = Holder(lock, Share::kYes), second = Holder(lock, Share::kYes), third = Holder(lock, Share::kYes);
  first->Kill();
  second->Kill();
  EXPECT_EQ(Lock(lock, 300000), Status::kBusy) << "one lives";
  third->Kill();
  EXPECT_EQ(Lock(lock, kLong), Status::kOk);
  EXPECT_FALSE(locks().Inherited(lock, me_.word)) << "readers leave nothing half done";
}

TEST_P(UserLocksTest, NamesAreTheSameForAll) {
  const uint32_t lock = Named("billing", 0);
  EXPECT_EQ(Named("billing", 0), lock);
  EXPECT_NE(Named("billing 2", 0), lock);
  EXPECT_EQ(locks().NameOf(lock), "user billing");
  EXPECT_EQ(locks().NameOf(2), "user 2");
  uint32_t other = 0;
  EXPECT_EQ(locks().Named("billing", UserLock::kFair, caller_, &other), Status::kExists);
  EXPECT_EQ(locks().Named("", 0, caller_, &other), Status::kKeyEmpty);
  EXPECT_EQ(locks().Named(std::string(127, 'x'), 0, caller_, &other), Status::kOk);
  EXPECT_EQ(locks().Named(std::string(128, 'x'), 0, caller_, &other), Status::kKeyTooLong);
  EXPECT_EQ(Do([lock](const Other& child) {
              uint32_t found = 0;
              return child.locks().Named("billing", 0, child.caller, &found) == Status::kOk && found == lock ? 0 : 1;
            })->ExitCode(),
            0);
  while (locks().used() < 8) Named(std::to_string(locks().used()).c_str(), 0);
  EXPECT_EQ(locks().Named("one more", 0, caller_, &other), Status::kFull);
}

TEST_P(UserLocksTest, WhoWaitsForEachOtherIsFoundAndTheYoungestGivesWay) {
  EXPECT_EQ(locks().TryLock(0, me_), Status::kOk);
  auto other = Do([](const Other& other) {
    other.Lock(1);
    other.Lock(2);
    return static_cast<int>(other.Lock(0));
  });
  ASSERT_TRUE(Eventually([&] { return Waiting() == 1; }));
  EXPECT_TRUE(locks().Circles(0).empty()) << "to wait is no crime";
  std::thread watcher([&] {
    std::vector<Circle> circles;
    EXPECT_TRUE(Eventually([&] { return !(circles = locks().Circles(0)).empty(); }));
    ASSERT_EQ(circles.size(), 1u);
    ASSERT_EQ(circles[0].size(), 2u);
    CircleLink youngest = circles[0][0].ticket > circles[0][1].ticket ? circles[0][0] : circles[0][1];
    EXPECT_EQ(youngest.lock, 1u);
    EXPECT_EQ(youngest.pid, static_cast<uint32_t>(getpid()));
    EXPECT_TRUE(locks().Break(youngest, instance_.Nobody(1000)));
  });
  EXPECT_EQ(Lock(1, kForEver), Status::kDeadlock);
  watcher.join();
  EXPECT_EQ(Unlock(0), Status::kOk);
  EXPECT_EQ(other->ExitCode(), 0);
}

TEST_P(UserLocksTest, WhatIsHeldBesidesIsNoPartOfACircle) {
  // One process: a hold of lock 0, and a wait for lock 1 that was not begun within it.
  const LockOwner zero = locks().NewOwner(caller_, 0);
  EXPECT_EQ(locks().TryLock(0, zero), Status::kOk);
  auto other = Do([](const Other& other) {
    other.Lock(1);
    return static_cast<int>(other.Lock(0));
  });
  ASSERT_TRUE(Eventually([&] { return Waiting() == 1; }));
  RecordIndex record = 0;
  EXPECT_EQ(locks().Enqueue(1, locks().NewOwner(caller_, 0), Share::kNo, true, caller_, &record), Status::kBusy);
  EXPECT_TRUE(locks().Circles(0).empty());
  EXPECT_EQ(locks().Leave(record, caller_), Status::kNotFound);
  // Begun within it, at second hand: a circle.
  const LockOwner two = locks().NewOwner(caller_, lock_word::TokenOf(zero.word));
  EXPECT_EQ(locks().TryLock(2, two), Status::kOk);
  EXPECT_EQ(
      locks().Enqueue(1, locks().NewOwner(caller_, lock_word::TokenOf(two.word)), Share::kNo, true, caller_, &record),
      Status::kBusy);
  EXPECT_EQ(locks().Circles(0).size(), 1u);
  EXPECT_EQ(locks().Leave(record, caller_), Status::kNotFound);
  EXPECT_EQ(locks().Unlock(0, zero.word, caller_), Status::kOk);
  EXPECT_EQ(other->ExitCode(), 0);
}

TEST_P(UserLocksTest, MoreWaitersThanThereIsRoomForAreRefused) {
  auto holder = Holder(0);
  std::vector<RecordIndex> records;
  RecordIndex record = 0;
  while (locks().Enqueue(0, locks().NewOwner(caller_, 0), Share::kNo, true, caller_, &record) == Status::kBusy)
    records.push_back(record);
  EXPECT_EQ(records.size(), 8u * UserLocksGeometry::kRecordsPerLock);
  EXPECT_EQ(Lock(0, kForEver), Status::kFull);
  EXPECT_EQ(locks().Check(), "");
  for (RecordIndex one : records) EXPECT_EQ(locks().Leave(one, caller_), Status::kNotFound);
  EXPECT_EQ(Lock(0, 1000), Status::kBusy);
}

// In one process, so that ThreadSanitizer sees whether a lock orders what it protects.
TEST_P(UserLocksTest, ThreadsCountUnderEveryKindOfLockAndLoseNothing) {
  constexpr uint32_t kThreads = 4, kTurns = 2000;
  const uint32_t kinds[] = {0, Named("fair", UserLock::kFair), Named("both", UserLock::kReadWrite)};
  uint64_t counts[3] = {};  // plain words: the locks are all that keeps them right
  std::atomic<uint32_t> faults{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; i++)
    threads.emplace_back([&, i] {
      Caller caller{};
      Need(instance_.EnterThread(&caller) == Status::kOk, "no slot for a thread");
      const LockOwner owner = locks().ThreadOwner(caller);
      Dice dice(i);
      for (uint32_t turn = 0; turn < kTurns; turn++)
        for (uint32_t which = 0; which < 3; which++) {
          if (which == 2 && dice.Below(2) == 0) {
            if (locks().Lock(kinds[which], owner, Share::kYes, kForEver, caller) != Status::kOk) faults++;
            if (counts[which] > kThreads * kTurns) faults++;
            if (locks().Unshare(kinds[which], owner.word, caller) != Status::kOk) faults++;
          }
          if (locks().Lock(kinds[which], owner, Share::kNo, kForEver, caller) != Status::kOk) faults++;
          counts[which]++;
          if (locks().Unlock(kinds[which], owner.word, caller) != Status::kOk) faults++;
        }
      instance_.LeaveThread(caller);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(faults, 0u);
  for (uint64_t count : counts) EXPECT_EQ(count, uint64_t{kThreads} * kTurns);
}

// Processes that take locks of every kind and die at random moments: nobody
// ever meets another inside, and nobody waits for the dead.
TEST_P(UserLocksTest, KilledAtAnyMomentNobodyLeavesALockBehind) {
  constexpr uint32_t kChildren = 6;
  const uint32_t kills = getenv("UWSHM_FULL") ? 20000 : 60;
  const uint32_t fair = Named("fair", UserLock::kFair), both = Named("both", UserLock::kReadWrite);
  struct Room {
    std::atomic<uint32_t> inside[3];  // pid of who is alone there
    std::atomic<uint32_t> faults, turns;
  };
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  Room* room = static_cast<Room*>(page);
  auto live = [&](uint64_t seed) {
    return Do([&, seed](const Other& other) {
      Dice dice(seed);
      const auto pid = static_cast<uint32_t>(getpid());
      for (;;) {
        const uint32_t which = dice.Below(3), lock = which == 0 ? 0 : which == 1 ? fair : both;
        const bool shared = which == 2 && dice.Below(2) == 0;
        const Status status =
            other.Lock(lock, dice.Below(4) == 0 ? dice.Below(300) : kForEver, shared ? Share::kYes : Share::kNo);
        if (status == Status::kBusy) continue;
        if (status != Status::kOk) room->faults++;
        // Whoever stands there is dead, or we are two.
        uint32_t before = shared ? room->inside[which].load() : room->inside[which].exchange(pid);
        if (before != 0 && !other.locks().Inherited(lock, other.owner.word)) room->faults++;
        // A reader that was told wipes the name away: the next reader is not told again.
        if (shared && before != 0) room->inside[which].compare_exchange_strong(before, 0);
        if (dice.Below(8) == 0) usleep(dice.Below(200));
        if (shared) {
          if (other.locks().Unshare(lock, other.owner.word, other.caller) != Status::kOk) room->faults++;
        } else {
          if (room->inside[which].exchange(0) != pid) room->faults++;
          if (other.Unlock(lock) != Status::kOk) room->faults++;
        }
        room->turns++;
      }
      return 0;
    });
  };
  Dice dice(4);
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t i = 0; i < kChildren; i++) children.push_back(live(i));
  uint64_t longest_us = 0;
  for (uint32_t kill = 0; kill < kills; kill++) {
    const uint32_t turns = room->turns;
    usleep(dice.Below(1500));
    children[dice.Below(kChildren)]->Kill();
    if (dice.Below(4) == 0) children[dice.Below(kChildren)]->Kill();  // two at once
    const uint64_t since = MonotonicUs();
    if (dice.Below(2) == 0) instance_.Reclaim();
    for (uint32_t lock : {0u, fair, both}) {
      ASSERT_EQ(Lock(lock, kLong), Status::kOk) << "kill " << kill;
      if (lock == 0) room->inside[0] = 0;
      else room->inside[lock == fair ? 1 : 2] = 0;
      Unlock(lock);
    }
    longest_us = std::max(longest_us, MonotonicUs() - since);
    ASSERT_TRUE(Eventually([&] { return room->turns != turns; })) << "kill " << kill;
    for (uint32_t i = 0; i < kChildren; i++)
      if (children[i]->pid() == 0) children[i] = live(kill * kChildren + i + 100);
  }
  for (auto& child : children) child->Kill();
  while (instance_.Reclaim() != 0) {
  }
  EXPECT_EQ(room->faults, 0u);
  EXPECT_LT(longest_us, 2000000u);
  printf("%u kills, %u turns, longest wait of a survivor %.1f ms\n", kills, room->turns.load(),
         static_cast<double>(longest_us) / 1000);
  munmap(page, 4096);
}

INSTANTIATE_TEST_SUITE_P(Engines, UserLocksTest, ::testing::ValuesIn([] {
                           std::vector<const LockEngine*> engines;
                           for (const LockEngine* const* engine = LockTable::Engines(); *engine; engine++)
                             engines.push_back(*engine);
                           return engines;
                         }()),
                         [](const auto& subject) { return std::string(subject.param->name); });

}  // namespace
}  // namespace uwshm::test
