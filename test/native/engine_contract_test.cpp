// What every lock engine promises, whatever it is made of: it excludes, it waits
// no longer than it is told to, it takes from the dead and from nobody else, and
// the next owner learns whose work to finish.
#include <gtest/gtest.h>

#include <algorithm>

#include "child.hpp"

namespace uwshm::test {
namespace {

class EngineContract : public ::testing::TestWithParam<const LockEngine*> {
 protected:
  // Counts what it is asked to repair.
  class Behind final : public Repairable {
   public:
    void Repair(uint32_t lock, uint32_t dead_thread, const Caller&) override {
      calls++, last_lock = lock, last_thread = dead_thread;
    }
    uint32_t calls = 0, last_lock = 0, last_thread = 0;
  };

  // What a lock guards, shared by all processes. A death may leave `first`
  // ahead of `second`: that is what the next owner has to repair.
  struct Guarded final : public Repairable {
    struct Page {
      std::atomic<uint64_t> first, second, inside, overlaps, repairs;
    };
    Guarded() {
      void* page = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
      Need(page != MAP_FAILED, "no memory for what is guarded");
      page_ = static_cast<Page*>(page);
    }
    ~Guarded() { munmap(page_, sizeof(Page)); }

    void Turn(uint64_t me) {
      if (page_->inside.exchange(me) != 0) page_->overlaps++;
      if (page_->first != page_->second) page_->overlaps++;
      page_->first.store(page_->first.load() + 1);
      page_->second.store(page_->second.load() + 1);
      page_->inside = 0;
    }
    void Repair(uint32_t, uint32_t, const Caller&) override {
      page_->repairs++;
      page_->second.store(page_->first);
      page_->inside = 0;
    }
    Page* operator->() { return page_; }

   private:
    Page* page_;
  };

  void SetUp() override {
    const RootGeometry geometry{64, 64, PidNamespace()};
    ASSERT_EQ(processes_.Create(kInstance, geometry), Status::kOk);
    ASSERT_EQ(locks_.Create(kInstance, 4, GetParam()), Status::kOk);
    Arrive();
  }
  void TearDown() override {
    children_.clear();
    locks_.Leave();
    processes_.LeaveProcess();
  }

  // Whoever takes a lock is in the process table.
  void Arrive() {
    processes_.SetEnded(HasEnded);
    const auto pid = static_cast<uint32_t>(getpid());
    Need(processes_.EnterProcess(pid, 0, StartTime(pid)) == Status::kOk, "no process slot");
    locks_.ActAs({processes_.OwnName(), &processes_});
  }
  void Bury() {
    processes_.Reclaim([](uint32_t) { return true; }, [](uint32_t) { return true; });
  }

  Caller Me(uint32_t thread, uint32_t patience_ms = 5000) {
    return {thread, static_cast<uint32_t>(getpid()), BootMs, patience_ms};
  }

  std::unique_ptr<Child> Arrived(const std::function<int()>& act) {
    return std::make_unique<Child>([this, act] { return Arrive(), act(); });
  }

  // A child that takes lock 1 as thread 7 and keeps it.
  std::unique_ptr<Child> Holder() {
    **held_ = 0;
    auto child = Arrived([this] {
      Guard guard(locks_, 1, Me(7), behind_);
      **held_ = guard.status() == Status::kOk;
      while (**let_go_ == 0) usleep(100);
      guard.Release();
      **held_ = 0;
      for (;;) pause();
      return 0;
    });
    EXPECT_TRUE(Eventually([&] { return **held_ == 1; }));
    return child;
  }

  // A child that wants lock 1, and has fallen asleep over it.
  std::unique_ptr<Child> Waiter(uint32_t thread) {
    auto waiter = Arrived([this, thread] {
      Guard guard(locks_, 1, Me(thread, 60000), behind_);
      if (guard.status() != Status::kOk) return 1;
      ++**served_;
      return 0;
    });
    EXPECT_TRUE(Eventually([&] { return StateOf(waiter->pid()) == 'S'; }));
    return waiter;
  }

  // Takes turns at lock 1 until it is killed.
  void Work(uint32_t thread) {
    for (;;) {
      Guard guard(locks_, 1, Me(thread), guarded_);
      if (guard.status() != Status::kOk) _exit(1);
      guarded_.Turn(thread);
    }
  }

  static char StateOf(pid_t pid) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE* file = fopen(path, "r");
    if (file && fscanf(file, "%*d %*s %c", &state) != 1) state = 0;
    if (file) fclose(file);
    return state;
  }

  ProcessTable processes_;
  LockTable locks_;
  Behind behind_;
  Guarded guarded_;
  std::vector<std::unique_ptr<Child>> children_;
  std::unique_ptr<SharedWord> held_ = std::make_unique<SharedWord>(), let_go_ = std::make_unique<SharedWord>(),
                              served_ = std::make_unique<SharedWord>();
};

TEST_P(EngineContract, ExcludesAndTellsItsHolder) {
  auto holder = Holder();
  EXPECT_EQ(locks_.HolderOf(1), static_cast<uint32_t>(holder->pid()));
  EXPECT_EQ(locks_.OwnerThreadOf(1), 7u);
  EXPECT_EQ(locks_.HolderOf(0), 0u);
  EXPECT_EQ(Guard(locks_, 1, Me(1), behind_, Guard::kTry).status(), Status::kBusy);
  EXPECT_EQ(Guard(locks_, 2, Me(1), behind_, Guard::kTry).status(), Status::kOk) << "another lock is another lock";
  **let_go_ = 1;
  EXPECT_EQ(Guard(locks_, 1, Me(1), behind_).status(), Status::kOk);
  EXPECT_EQ(locks_.HolderOf(1), 0u);
  EXPECT_EQ(behind_.calls, 0u) << "nobody died, nothing to repair";
}

TEST_P(EngineContract, ProcessesTakeTurnsOneAtATime) {
  constexpr uint64_t kTurns = 20000, kChildren = 4;
  for (uint32_t i = 0; i < kChildren; i++)
    children_.push_back(Arrived([this, i] {
      for (uint64_t turn = 0; turn < kTurns; turn++) {
        Guard guard(locks_, 1, Me(i), guarded_);
        if (guard.status() != Status::kOk) return 1;
        guarded_.Turn(i + 1);
      }
      return 0;
    }));
  for (auto& child : children_) EXPECT_EQ(child->ExitCode(), 0);
  EXPECT_EQ(guarded_->first, kTurns * kChildren);
  EXPECT_EQ(guarded_->second, kTurns * kChildren);
  EXPECT_EQ(guarded_->overlaps, 0u);
  EXPECT_EQ(guarded_->repairs, 0u);
}

TEST_P(EngineContract, ThreadsOfOneProcessTakeTurnsOneAtATime) {
  constexpr uint64_t kTurns = 20000, kThreads = 4;
  uint64_t plain = 0;  // ThreadSanitizer would see an engine that orders nothing
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; i++)
    threads.emplace_back([&, i] {
      for (uint64_t turn = 0; turn < kTurns; turn++) {
        Guard guard(locks_, 1, Me(i), guarded_);
        ASSERT_EQ(guard.status(), Status::kOk);
        guarded_.Turn(i + 1);
        plain++;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(plain, kTurns * kThreads);
  EXPECT_EQ(guarded_->overlaps, 0u);
}

TEST_P(EngineContract, ADeadOwnersLockIsTakenAndRepairedOnce) {
  Holder()->Kill();
  {
    Guard guard(locks_, 1, Me(3), behind_, Guard::kTry);
    ASSERT_EQ(guard.status(), Status::kOk) << "even by one who does not wait";
    EXPECT_EQ(locks_.OwnerThreadOf(1), 3u);
  }
#ifdef UWSHM_NO_REPAIR
  EXPECT_EQ(behind_.calls, 0u);
#else
  EXPECT_EQ(behind_.calls, 1u);
  EXPECT_EQ(behind_.last_lock, 1u);
  EXPECT_EQ(behind_.last_thread, 7u);
#endif
  const uint32_t calls = behind_.calls;
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  EXPECT_EQ(behind_.calls, calls);
}

TEST_P(EngineContract, ItsFiguresTellWhatItWasUsedFor) {
  for (int i = 0; i < 3; i++) Guard(locks_, 1, Me(3), behind_).Release();
  auto figures = [this] { return locks_.CountsOf(0, 3); };
  EXPECT_EQ(figures().acquisitions, 3u);
  EXPECT_EQ(figures().contended, 0u);
  auto holder = Holder();
  std::thread later([&] { usleep(50000), ** let_go_ = 1; });
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  later.join();
  EXPECT_EQ(figures().acquisitions, 5u);
  EXPECT_EQ(figures().contended, 1u);
  EXPECT_GE(figures().waited_ms, 40u);
  EXPECT_EQ(figures().recoveries, 0u);
  **let_go_ = 0;
  Holder()->Kill();
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
#ifndef UWSHM_NO_REPAIR
  EXPECT_EQ(figures().recoveries, 1u);
#endif
  EXPECT_EQ(locks_.CountsOf(2, 1).acquisitions, 0u);
}

// The slot of the dead may long belong to somebody else, of the same pid even.
TEST_P(EngineContract, ADeadOwnersLockIsTakenWhenItsSlotHasANewOwner) {
  Holder()->Kill();
  Bury();
  SharedWord arrived;
  auto heir = Arrived([&] {
    *arrived = 1;
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *arrived == 1; }));
  EXPECT_EQ(Guard(locks_, 1, Me(3, 1000), behind_).status(), Status::kOk);
}

TEST_P(EngineContract, WhoWaitsWhenTheOwnerDiesGetsTheLockWithinAQuarterOfASecond) {
  for (int round = 0; round < 10; round++) {
    auto holder = Holder();
    std::atomic<uint64_t> killed_at{0};
    std::thread killer([&] {
      usleep(3000);  // for the waiter to fall asleep; without that it tests less, and passes
      killed_at = BootMs();
      holder->Kill();
    });
    {
      Guard guard(locks_, 1, Me(3), behind_);
      EXPECT_EQ(guard.status(), Status::kOk);
      EXPECT_LT(BootMs() - killed_at, 250u);
    }
    killer.join();
    Bury();
  }
}

TEST_P(EngineContract, EverybodyWhoWaitsIsServedWhenTheOwnerDies) {
  auto holder = Holder();
  for (uint32_t i = 0; i < 5; i++) children_.push_back(Waiter(10 + i));
  holder->Kill();
  for (auto& waiter : children_) EXPECT_EQ(waiter->ExitCode(), 0);
  EXPECT_EQ(**served_, 5u);
}

TEST_P(EngineContract, EverybodyWhoWaitsIsServedWhenTheOwnerAndAWaiterDieAtOnce) {
  for (int round = 0; round < 5; round++) {
    **served_ = 0, **let_go_ = 0;
    auto holder = Holder();
    for (uint32_t i = 0; i < 4; i++) children_.push_back(Waiter(10 + i));
    for (Child* victim : {holder.get(), children_[round % 4].get()}) kill(victim->pid(), SIGKILL);
    for (int i = 0; i < 4; i++)
      if (i != round % 4) {
        EXPECT_EQ(children_[i]->ExitCode(), 0);
      }
    EXPECT_GE(**served_, 3u) << "the fourth may have been faster than its death";
    children_.clear();
    holder->Kill();
    Bury();
  }
}

#ifndef UWSHM_NO_REPAIR
// A repairer that dies is found in the same way, with the same name to repair.
TEST_P(EngineContract, ARepairerThatDiesLeavesTheNameOfTheFirstDead) {
  class Dies final : public Repairable {
    void Repair(uint32_t, uint32_t, const Caller&) override { raise(SIGKILL); }
  };
  Holder()->Kill();
  for (int depth = 0; depth < 3; depth++) {
    auto repairer = Arrived([this] {
      Dies dies;
      Guard guard(locks_, 1, Me(9), dies);
      return 0;
    });
    EXPECT_EQ(repairer->ExitCode(), 1000 + SIGKILL);
    EXPECT_EQ(locks_.OwnerThreadOf(1), 7u);
  }
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  EXPECT_EQ(behind_.calls, 1u);
  EXPECT_EQ(behind_.last_thread, 7u);
}
#endif

TEST_P(EngineContract, AFrozenOwnerMakesTheCallerGiveUpInTimeAndKeepsItsLock) {
  auto holder = Holder();
  holder->Freeze();
  for (uint32_t patience_ms : {0u, 50u, 450u}) {
    const uint64_t since = BootMs();
    EXPECT_EQ(Guard(locks_, 1, Me(3, patience_ms), behind_).status(), Status::kBusy);
    EXPECT_GE(BootMs() - since + 1, patience_ms);
    EXPECT_LT(BootMs() - since, patience_ms + 1000);
  }
  EXPECT_EQ(behind_.calls, 0u) << "nothing is taken from the living";
  EXPECT_EQ(locks_.HolderOf(1), static_cast<uint32_t>(holder->pid()));
  **let_go_ = 1;
  holder->Thaw();
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
}

TEST_P(EngineContract, AKilledWaiterTakesNothingAlong) {
  auto holder = Holder();
  for (int round = 0; round < 20; round++) Waiter(4)->Kill();
  **let_go_ = 1;
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  EXPECT_EQ(behind_.calls, 0u);
  EXPECT_EQ(**served_, 0u);
}

// Whoever dies may have held the lock, waited for it, or been in between.
TEST_P(EngineContract, DeathsAtRandomMomentsLeaveNothingTornAndNobodyStuck) {
  Dice dice(11);
  for (uint32_t i = 0; i < 4; i++) children_.push_back(Arrived([this, i] { return Work(10 + i), 0; }));
  for (int round = 0; round < 80; round++) {
    usleep(dice.Below(1500));
    const uint32_t which = dice.Below(4);
    children_[which]->Kill();
    for (int turn = 0; turn < 3; turn++) {
      Guard guard(locks_, 1, Me(3), guarded_);
      ASSERT_EQ(guard.status(), Status::kOk) << "round " << round;
      guarded_.Turn(100);
    }
    Bury();
    children_[which] = Arrived([this, which] { return Work(10 + which), 0; });
  }
  children_.clear();
  Guard guard(locks_, 1, Me(3), guarded_);
#ifndef UWSHM_NO_REPAIR
  EXPECT_EQ(guarded_->overlaps, 0u);
#endif
}

TEST_P(EngineContract, TheEngineIsFoundByItsName) {
  EXPECT_EQ(LockTable::EngineNamed(GetParam()->name), GetParam());
  EXPECT_EQ(&locks_.engine(), GetParam());
  EXPECT_EQ(LockTable::EngineNamed("no such engine"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Engines, EngineContract, ::testing::ValuesIn([] {
                           std::vector<const LockEngine*> engines;
                           for (const LockEngine* const* engine = LockTable::Engines(); *engine; engine++)
                             engines.push_back(*engine);
                           return engines;
                         }()),
                         [](const auto& subject) { return std::string(subject.param->name); });

}  // namespace
}  // namespace uwshm::test
