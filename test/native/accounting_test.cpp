// Rows that outlive their workers: what is counted, and what a death leaves.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <limits>

#include "child.hpp"

namespace uwshm::test {
namespace {

class AccountingTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(rows_.Create(kInstance, 2, 3, 77, 1000), Status::kOk); }
  void TearDown() override { rows_.segment().Abandon(); }

  // As a worker's JavaScript does.
  void Begin(uint32_t core, const std::string& head) {
    rows_.Describe(1, core, reinterpret_cast<const uint8_t*>(head.data()), static_cast<uint32_t>(head.size()));
    rows_.core(1, core).in_request = 1;
  }
  void End(uint32_t core) {
    rows_.core(1, core).in_request = 0;
    rows_.core(1, core).requests = rows_.core(1, core).requests + 1;
  }

  Accounting rows_;
};

TEST_F(AccountingTest, AWorkersRequestsAreTheSumOverItsCores) {
  Begin(0, "GET\n/");
  End(0);
  Begin(2, "GET\n/");
  End(2);
  EXPECT_EQ(rows_.Requests(1), 2u);
  EXPECT_EQ(rows_.Requests(2), 0u);
}

TEST_F(AccountingTest, WhatWasScribbledOverIsNoNumber) {
  for (const double number : {-1.0, 0x1p64, std::numeric_limits<double>::quiet_NaN()}) {
    rows_.core(1, 0).requests = number;
    EXPECT_EQ(rows_.Requests(1), 0u);
  }
}

TEST_F(AccountingTest, AHeadIsReadOnlyWhileItsRequestRuns) {
  std::string head;
  EXPECT_FALSE(rows_.Head(1, 0, &head));
  Begin(0, "GET\n/");
  EXPECT_TRUE(rows_.Head(1, 0, &head));
  EXPECT_EQ(head, "GET\n/");
  Begin(0, "GET\n/\n1.1");
  EXPECT_TRUE(rows_.Head(1, 0, &head));
  EXPECT_EQ(head, "GET\n/\n1.1");
  End(0);
  EXPECT_FALSE(rows_.Head(1, 0, &head));
}

TEST_F(AccountingTest, AHeadThatIsTooLongIsCutAtTheEndOfItsRoom) {
  const std::string longest(CoreRow::kHead + 100, 'x');
  Begin(2, longest);
  std::string head;
  ASSERT_TRUE(rows_.Head(1, 2, &head));
  EXPECT_EQ(head, longest.substr(0, CoreRow::kHead));
  EXPECT_EQ(rows_.head(2, 0)[0], 0) << "the neighbour's head";
}

TEST_F(AccountingTest, FiguresGoOnInTheNextProcessAndWhatTheDeadWasDoingIsCleared) {
  rows_.Spawned(1, 501, 2000);
  rows_.Accepting(1, 3);
  Begin(0, "GET\n/");
  End(0);
  Begin(1, "GET\n/");
  rows_.core(1, 1).sequence++;  // it dies while it writes a head
  rows_.Gone(1);
  EXPECT_EQ(rows_.worker(1).pid, 0u);
  EXPECT_EQ(rows_.worker(1).accepting, 0u);
  EXPECT_EQ(rows_.worker(1).in_flight, 0u);
  EXPECT_EQ(rows_.core(1, 1).in_request, 0u);
  rows_.Spawned(1, 502, 2001);
  EXPECT_EQ(rows_.Requests(1), 1u);
  EXPECT_EQ(rows_.worker(1).requests_at_spawn, 1u);
  EXPECT_EQ(rows_.worker(1).respawn_count, 2u);
  Begin(1, "GET\n/");
  std::string head;
  EXPECT_TRUE(rows_.Head(1, 1, &head)) << "the torn head of the dead is no obstacle";
}

// One worker begins and ends requests on one core while another process reads:
// every head that comes out is one that went in.
TEST_F(AccountingTest, AHeadIsNeverTorn) {
  SharedWord stop;
  const Child worker([&] {
    for (uint64_t i = 0; *stop == 0; i++) {
      Begin(0, std::string(100 + i % 900, static_cast<char>('a' + i % 900 % 26)));
      End(0);
    }
    return 0;
  });
  uint32_t seen = 0;
  std::string head;
  const uint64_t until = BootMs() + 10000;
  while (seen < 2000 && BootMs() < until) {
    if (!rows_.Head(1, 0, &head)) continue;
    seen++;
    EXPECT_EQ(head.find_first_not_of(head[0]), std::string::npos);
    ASSERT_GE(head.size(), 100u);
    EXPECT_EQ(head[0] - 'a', static_cast<int>((head.size() - 100) % 26));
  }
  *stop = 1;
  EXPECT_EQ(seen, 2000u);
}

TEST_F(AccountingTest, CountingTakesNoMemoryForHeadsThatNobodyWrote) {
  Accounting many;
  ASSERT_EQ(many.Create(kInstance, 8, 4096, 77, 1000), Status::kOk);
  for (uint32_t id = 1; id <= 8; id++) EXPECT_EQ(many.Requests(id), 0u);
  struct stat memory;
  ASSERT_EQ(fstat(many.segment().fd(), &memory), 0);
  EXPECT_LT(memory.st_blocks * 512, 4 << 20) << "of " << memory.st_size;
  many.segment().Abandon();
}

TEST_F(AccountingTest, ASegmentOfAnotherGeometryIsRefused) {
  Accounting other;
  uint64_t layout = 0;
  SegmentHeader* header = rows_.segment().At<SegmentHeader>(0);
  header->geometry[1] = 4;
  EXPECT_EQ(other.Attach(rows_.segment().fd(), kInstance, &layout), Status::kForeign);
  header->geometry[1] = 3;
  EXPECT_EQ(other.Attach(dup(rows_.segment().fd()), kInstance, &layout), Status::kOk);
  EXPECT_EQ(other.cores(), 3u);
  EXPECT_EQ(other.group().master, 77u);
  other.segment().Abandon();
}

}  // namespace
}  // namespace uwshm::test
