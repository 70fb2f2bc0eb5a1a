// Who is alive and who is not, without clocks and without believing in pids;
// and what happens when there is no room for one more.
#include <gtest/gtest.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

class ProcessTableTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kProcesses = 4;

  void SetUp() override { CreateOrEnd(instance_, {Spec("subject", 10, 64, 100, 16)}, kProcesses); }
  void TearDown() override { instance_.Leave(); }

  ProcessTable& table() { return instance_.processes(); }

  uint32_t SlotOf(pid_t pid) {
    for (uint32_t slot = 0; slot < kProcesses; slot++)
      if (table().process(slot).claimed != 0 && table().process(slot).pid == static_cast<uint32_t>(pid)) return slot;
    return kProcesses;
  }
  uint32_t Taken() {
    uint32_t taken = 0;
    for (uint32_t slot = 0; slot < kProcesses; slot++) taken += table().process(slot).claimed != 0;
    return taken;
  }

  // A child that attaches, says so in `*ready_`, waits for `*go_` and ends by `end`.
  std::unique_ptr<Child> Attached(const std::function<int()>& end) {
    const uint32_t before = **ready_;
    auto child = std::make_unique<Child>([this, end] {
      auto* other = new Instance;
      Caller caller;
      AttachOrEnd(*other, instance_.Descriptors(), &caller);
      ++**ready_;
      while (**go_ == 0) usleep(100);
      return end();
    });
    EXPECT_TRUE(Eventually([&] { return **ready_ > before; }));
    return child;
  }

  void DiesBy(const std::function<int()>& end, const std::function<void(Child&)>& act) {
    auto child = Attached(end);
    const uint32_t slot = SlotOf(child->pid());
    ASSERT_LT(slot, kProcesses);
    EXPECT_TRUE(table().Alive(slot));
    EXPECT_EQ(instance_.Reclaim(), 0u) << "nobody is dead yet";
    act(*child);
    EXPECT_TRUE(Eventually([&] { return !table().Alive(slot); }));
    EXPECT_EQ(instance_.Reclaim(), 1u);
    EXPECT_EQ(table().process(slot).claimed, 0u);
    EXPECT_EQ(instance_.Reclaim(), 0u) << "a slot is reclaimed once";
  }

  Instance instance_;
  std::unique_ptr<SharedWord> ready_ = std::make_unique<SharedWord>(), go_ = std::make_unique<SharedWord>();
};

TEST_F(ProcessTableTest, AKilledProcessIsDead) {
  DiesBy([] { return 0; }, [](Child& child) { child.Kill(); });
}

TEST_F(ProcessTableTest, AProcessThatExitsIsDead) {
  DiesBy([] { return 0; }, [this](Child&) { **go_ = 1; });
}

TEST_F(ProcessTableTest, AProcessThatAbortsIsDead) {
  DiesBy([]() -> int { signal(SIGABRT, SIG_DFL), abort(); }, [this](Child&) { **go_ = 1; });
}

TEST_F(ProcessTableTest, AProcessThatBecomesAnotherProgramIsDeadThoughItsPidLives) {
  auto child = Attached([]() -> int { return execlp("sleep", "sleep", "1000", nullptr); });
  const uint32_t slot = SlotOf(child->pid());
  **go_ = 1;
  EXPECT_TRUE(Eventually([&] { return !table().Alive(slot); }));
  EXPECT_EQ(kill(child->pid(), 0), 0);
  EXPECT_EQ(instance_.Reclaim(), 1u);
}

TEST_F(ProcessTableTest, AFrozenProcessIsAlive) {
  auto child = Attached([] { return 0; });
  const uint32_t slot = SlotOf(child->pid());
  child->Freeze();
  EXPECT_TRUE(table().Alive(slot));
  EXPECT_EQ(instance_.Reclaim(), 0u);
  child->Thaw();
}

TEST_F(ProcessTableTest, AProcessThatLeavesIsReclaimed) {
  auto child = Attached([] { return 0; });
  EXPECT_EQ(Taken(), 2u);
  **go_ = 1;
  EXPECT_EQ(child->ExitCode(), 0);
  EXPECT_EQ(instance_.Reclaim(), 1u);
  EXPECT_EQ(Taken(), 1u);
}

// The kernel ends the threads of a process one by one: its life thread may be
// gone while another still runs, and touches the cells of its thread slot.
TEST_F(ProcessTableTest, NothingIsReclaimedBeforeTheLastThreadHasEnded) {
  static bool has_ended;
  has_ended = false;
  Self watcher = Me();
  watcher.ended = [](uint32_t, uint64_t) { return has_ended; };
  Child other([this, watcher] {
    Instance instance;
    Trouble trouble;
    if (instance.Attach(kInstance, instance_.Descriptors(), watcher, &trouble) != Status::kOk) return 1;
    {
      auto dead = Attached([] { return 0; });
    }  // killed at the end of its scope
    if (instance.Reclaim() != 0) return 2;
    has_ended = true;
    return instance.Reclaim() == 1 ? 0 : 3;
  });
  EXPECT_EQ(other.ExitCode(), 0);
}

TEST_F(ProcessTableTest, ASlotHasANewGenerationEachTime) {
  uint32_t slot = kProcesses, last = 0;
  for (int round = 0; round < 5; round++) {
    auto child = Attached([] { return 0; });
    if (round == 0) slot = SlotOf(child->pid());
    ASSERT_EQ(SlotOf(child->pid()), slot);
    EXPECT_GT(table().process(slot).generation, last);
    last = table().process(slot).generation;
    child->Kill();
    ASSERT_EQ(instance_.Reclaim(), 1u);
  }
}

// Whoever has claimed a slot and not yet taken its life looks like the slot's
// dead owner: it may be reclaimed, and the slot given to somebody else.
TEST_F(ProcessTableTest, AClaimantWhoseSlotIsGivenAwayMeanwhileTakesAnother) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer ends a forked child that joins a thread";
#endif
  ProcessSlot& contested = table().process(1);
  pthread_mutex_lock(&contested.life);
  Child late([this]() -> int {
    auto* other = new Instance;
    Caller caller;
    AttachOrEnd(*other, instance_.Descriptors(), &caller);
    return static_cast<int>(other->processes().own_slot());
  });
  EXPECT_TRUE(Eventually([&] { return contested.claimed == static_cast<uint32_t>(late.pid()); }));
  contested.claimed = 1;  // of another process, which is here already, and stays
  EXPECT_EQ(late.ExitCode(), 2);
  contested.claimed = 0;
  pthread_mutex_unlock(&contested.life);
}

TEST_F(ProcessTableTest, WithoutAFreeSlotAProcessIsRefused) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer ends a forked child that joins a thread";
#endif
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t i = 1; i < kProcesses; i++) children.push_back(Attached([] { return 0; }));
  Child late([this] {
    Instance other;
    Trouble trouble;
    return static_cast<int>(other.Attach(kInstance, instance_.Descriptors(), Me(), &trouble));
  });
  EXPECT_EQ(static_cast<Status>(late.ExitCode()), Status::kNoProcessSlot);
}

TEST_F(ProcessTableTest, ATableFullOfTheDeadIsReclaimedByWhoeverAttaches) {
  for (uint32_t i = 1; i < kProcesses; i++) Attached([] { return 0; });  // each is killed at once
  EXPECT_EQ(Taken(), kProcesses);
  Child late([this] {
    Instance other;
    Trouble trouble;
    return static_cast<int>(other.Attach(kInstance, instance_.Descriptors(), Me(), &trouble));
  });
  EXPECT_EQ(static_cast<Status>(late.ExitCode()), Status::kOk);
}

TEST_F(ProcessTableTest, WhoFindsSomebodyAtTheDoorWaitsForHim) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer ends a forked child that joins a thread";
#endif
  for (uint32_t i = 1; i < kProcesses; i++) Attached([] { return 0; });
  ProcessSlot& door = table().process(kProcesses);
  pthread_mutex_lock(&door.life);
  door.claimed = 1;  // of another process, which is freeing slots
  Child late([this] {
    Instance other;
    Trouble trouble;
    ++**ready_;
    return static_cast<int>(other.Attach(kInstance, instance_.Descriptors(), Me(), &trouble));
  });
  EXPECT_TRUE(Eventually([&] { return **ready_ == kProcesses; }));
  usleep(5000);  // should it be slower than that, it finds the door free, and that is as well
  door.claimed = 0;
  pthread_mutex_unlock(&door.life);
  EXPECT_EQ(static_cast<Status>(late.ExitCode()), Status::kOk);
}

TEST_F(ProcessTableTest, ThreadSlotsRunOutAndComeBack) {
  std::vector<Caller> callers(kProcesses * Instance::kThreadsPerProcess);
  for (Caller& caller : callers) ASSERT_EQ(instance_.EnterThread(&caller), Status::kOk);
  Caller late{};
  EXPECT_EQ(instance_.EnterThread(&late), Status::kNoThreadSlot);
  instance_.LeaveThread(callers[5]);
  EXPECT_EQ(instance_.EnterThread(&late), Status::kOk);
  EXPECT_EQ(late.thread, callers[5].thread);
}

TEST_F(ProcessTableTest, ThreadSlotsOfTheDeadGoToWhoeverNeedsThem) {
  Child greedy([this] {
    auto* other = new Instance;
    Caller caller{};
    AttachOrEnd(*other, instance_.Descriptors(), &caller);
    while (other->EnterThread(&caller) == Status::kOk) {
    }
    return 0;
  });
  EXPECT_EQ(greedy.ExitCode(), 0);
  Caller caller{};
  EXPECT_EQ(instance_.EnterThread(&caller), Status::kOk);
}

// Killed at any moment of its arrival, a process leaves no slot taken for good.
TEST_F(ProcessTableTest, AProcessKilledWhileItAttachesLeavesNothing) {
  Dice dice(7);
  for (int round = 0; round < 300; round++) {
    const uint32_t before = **ready_, turns = dice.Below(60000);
    Child child([this]() -> int {
      auto* other = new Instance;
      Caller caller{};
      AttachOrEnd(*other, instance_.Descriptors(), &caller);
      ++**ready_;
      for (;;) pause();
    });
    for (uint32_t turn = 0; turn < turns && **ready_ == before; turn++)
      std::atomic_signal_fence(std::memory_order_seq_cst);
    child.Kill();
    ASSERT_TRUE(Eventually([&] { return instance_.Reclaim(), Taken() == 1; })) << "round " << round;
  }
  Caller caller{};
  EXPECT_EQ(instance_.EnterThread(&caller), Status::kOk);
  EXPECT_EQ(instance_.caches()[0]->Check(), "");
}

}  // namespace
}  // namespace uwshm::test
