// A lock whose owner dies is repaired by the next to take it; one whose owner
// lives but stands still makes the caller give up.
#include <gtest/gtest.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

class LockTest : public ::testing::TestWithParam<const LockEngine*> {
 protected:
  // Counts what it is asked to repair.
  class Behind final : public Repairable {
   public:
    void Repair(uint32_t lock, uint32_t dead_thread, const Caller&) override {
      calls++, last_lock = lock, last_thread = dead_thread;
    }
    uint32_t calls = 0, last_lock = 0, last_thread = 0;
  };

  void SetUp() override { ASSERT_EQ(locks_.Create(kInstance, 4, GetParam()), Status::kOk); }

  Caller Me(uint32_t thread, uint32_t patience_ms = 5000) {
    return {thread, static_cast<uint32_t>(getpid()), BootMs, patience_ms};
  }

  // A child that takes lock 1 as thread 7 and keeps it.
  std::unique_ptr<Child> Holder() {
    **held_ = 0;
    auto child = std::make_unique<Child>([this] {
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

  LockTable locks_;
  Behind behind_;
  std::unique_ptr<SharedWord> held_ = std::make_unique<SharedWord>(), let_go_ = std::make_unique<SharedWord>();
};

TEST_P(LockTest, ExcludesAndTellsItsHolder) {
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

TEST_P(LockTest, ADeadOwnersLockIsTakenAndRepairedOnce) {
  Holder()->Kill();
  {
    Guard guard(locks_, 1, Me(3), behind_);
    ASSERT_EQ(guard.status(), Status::kOk);
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

TEST_P(LockTest, WhoWaitsWhenTheOwnerDiesGetsTheLock) {
  auto holder = Holder();
  std::thread killer([&] { holder->Kill(); });
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  killer.join();
}

#ifndef UWSHM_NO_REPAIR
// A repairer that dies is found in the same way, with the same name to repair.
TEST_P(LockTest, ARepairerThatDiesLeavesTheNameOfTheFirstDead) {
  class Dies final : public Repairable {
    void Repair(uint32_t, uint32_t, const Caller&) override { raise(SIGKILL); }
  };
  Holder()->Kill();
  for (int depth = 0; depth < 3; depth++) {
    Child repairer([this] {
      Dies dies;
      Guard guard(locks_, 1, Me(9), dies);
      return 0;
    });
    EXPECT_EQ(repairer.ExitCode(), 1000 + SIGKILL);
    EXPECT_EQ(locks_.OwnerThreadOf(1), 7u);
  }
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  EXPECT_EQ(behind_.calls, 1u);
  EXPECT_EQ(behind_.last_thread, 7u);
}
#endif

TEST_P(LockTest, AFrozenOwnerMakesTheCallerGiveUpInTimeAndKeepsItsLock) {
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

TEST_P(LockTest, AKilledWaiterTakesNothingAlong) {
  auto holder = Holder();
  for (int round = 0; round < 20; round++) {
    Child waiter([this] { return Guard(locks_, 1, Me(4, 60000), behind_).status() == Status::kOk ? 0 : 1; });
    char state = 0;
    ASSERT_TRUE(Eventually([&] {
      char path[64];
      snprintf(path, sizeof path, "/proc/%d/stat", waiter.pid());
      FILE* file = fopen(path, "r");
      if (file && fscanf(file, "%*d %*s %c", &state) != 1) state = 0;
      if (file) fclose(file);
      return state == 'S';
    }));
    waiter.Kill();
  }
  **let_go_ = 1;
  EXPECT_EQ(Guard(locks_, 1, Me(3), behind_).status(), Status::kOk);
  EXPECT_EQ(behind_.calls, 0u);
}

TEST_P(LockTest, TheEngineIsFoundByItsName) {
  EXPECT_EQ(LockTable::EngineNamed(GetParam()->name), GetParam());
  EXPECT_EQ(LockTable::EngineNamed("no such engine"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Engines, LockTest, ::testing::ValuesIn([] {
                           std::vector<const LockEngine*> engines;
                           for (const LockEngine* const* engine = LockTable::Engines(); *engine; engine++)
                             engines.push_back(*engine);
                           return engines;
                         }()),
                         [](const auto& subject) { return std::string(subject.param->name); });

}  // namespace
}  // namespace uwshm::test
