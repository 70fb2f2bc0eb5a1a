// Metrics: cells that one thread writes, bases that everybody may change, a list
// that only grows; and deaths in the middle of all that.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "child.hpp"

namespace uwshm::test {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kCounts = 20000;
#else
constexpr uint32_t kCounts = 200000;
#endif

MetricSpec Counted(const char* name, int64_t initial = 0) {
  return {name, "", MetricType::kCounter, MetricSource::kCounted, 0, 0, 0, initial};
}

// What JavaScript does: `cells[i] += 1`, one plain load and one plain store.
void Count(int64_t* cell) { __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED); }

class MetricsTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kProcesses = 8;

  void SetUp() override {
    CreateOrEnd(instance_, {}, kProcesses, BootMs, LockTable::Engines()[0], {40, 20});
    ASSERT_EQ(instance_.EnterThread(&caller_), Status::kOk);
  }
  void TearDown() override {
    EXPECT_EQ(metrics().Check(instance_), "");
    instance_.Leave();
  }

  Metrics& metrics() { return instance_.metrics(); }
  uint32_t Define(const std::vector<MetricSpec>& specs) {
    uint32_t first = 0;
    EXPECT_EQ(instance_.DefineMetrics(specs, Metrics::kNone, 0, &first), Status::kOk);
    return first;
  }
  int64_t Value(uint32_t index) {
    std::vector<int64_t> all;
    metrics().Values(instance_, &all);
    EXPECT_EQ(all[index], metrics().Value(index, instance_)) << "one by one and all at once";
    return all[index];
  }
  int64_t* Cell(const Caller& caller, uint32_t index) { return metrics().Row(caller.thread) + metrics().CellOf(index); }

  Instance instance_;
  Caller caller_{};
};

TEST_F(MetricsTest, AValueIsTheBaseAndWhatEveryThreadCounted) {
  Define({Counted("first")});
  const uint32_t hits = Define({Counted("hits", 5)});
  *Cell(caller_, hits) = 3;
  Caller other{};
  ASSERT_EQ(instance_.EnterThread(&other), Status::kOk);
  *Cell(other, hits) = -10;
  EXPECT_EQ(Value(hits), -2);
  EXPECT_EQ(Value(0), 0);
  EXPECT_EQ(metrics().Change(hits, MetricChange::kAdd, 4), Status::kOk);
  EXPECT_EQ(Value(hits), 2);
}

TEST_F(MetricsTest, EachOperationSeesTheWholeValueAndWrapsAt64Bits) {
  const uint32_t it = Define({Counted("it")});
  const struct {
    int64_t before;
    MetricChange change;
    int64_t n, after;
  } rows[] = {
      {5, MetricChange::kSet, -7, -7},
      {INT64_MAX, MetricChange::kAdd, 1, INT64_MIN},
      {INT64_MIN, MetricChange::kAdd, -1, INT64_MAX},
      {int64_t{1} << 62, MetricChange::kMul, 4, 0},
      {-6, MetricChange::kMul, 7, -42},
      {52, MetricChange::kDiv, -7, -7},
      {INT64_MIN, MetricChange::kDiv, -1, INT64_MIN},
      {7, MetricChange::kMax, 6, 7},
      {7, MetricChange::kMax, 8, 8},
      {7, MetricChange::kMin, 8, 7},
      {7, MetricChange::kMin, -1, -1},
  };
  for (const auto& row : rows)
    for (const int64_t cell : {int64_t{0}, int64_t{1000}, INT64_MIN}) {
      *Cell(caller_, it) = cell;
      ASSERT_EQ(metrics().Change(it, MetricChange::kSet, row.before), Status::kOk);
      ASSERT_EQ(metrics().Change(it, row.change, row.n), Status::kOk);
      EXPECT_EQ(Value(it), row.after) << row.before << " op " << static_cast<int>(row.change) << " " << row.n;
      EXPECT_EQ(*Cell(caller_, it), cell) << "only its thread writes a cell";
    }
  metrics().Change(it, MetricChange::kSet, 9);
  EXPECT_EQ(metrics().Change(it, MetricChange::kDiv, 0), Status::kDivision);
  EXPECT_EQ(Value(it), 9);
  EXPECT_EQ(metrics().Change(77, MetricChange::kSet, 9), Status::kNotFound);
}

TEST_F(MetricsTest, WhatIsNotCountedCannotBeChanged) {
  const uint32_t stored = Define({{"stored", "", MetricType::kGauge, MetricSource::kStored}});
  const uint32_t alias = Define({{"alias", "", MetricType::kAlias, MetricSource::kAlias, 0, stored, 0}});
  EXPECT_EQ(metrics().Change(stored, MetricChange::kSet, 1), Status::kReadOnly);
  EXPECT_EQ(metrics().Change(alias, MetricChange::kAdd, 1), Status::kReadOnly);
  EXPECT_EQ(metrics().Store(stored, -4), Status::kOk);
  EXPECT_EQ(Value(alias), -4);
}

TEST_F(MetricsTest, ABucketShowsThoseBeforeItToo) {
  const auto bucket = [](const char* name, uint32_t before) {
    return MetricSpec{name, "", MetricType::kCounter, MetricSource::kBucket, 0, before, 0, 0};
  };
  Define({Counted("not one of them", 1000)});
  const uint32_t first = Define({bucket("b1", 0), bucket("b2", 1), bucket("b3", 2), Counted("sum")});
  *Cell(caller_, first) = 1;
  *Cell(caller_, first + 1) = 10;
  *Cell(caller_, first + 2) = 100;
  EXPECT_EQ(Value(first), 1);
  EXPECT_EQ(Value(first + 1), 11);
  EXPECT_EQ(Value(first + 2), 111);
  EXPECT_EQ(Value(first + 3), 0);
}

TEST_F(MetricsTest, AFigureIsReadWhereItStands) {
  const uint32_t tx = Instance::FigureNamed("tx"), mean = Instance::FigureNamed("avg_rt");
  ASSERT_LT(tx, instance_.FigureCount());
  EXPECT_EQ(Instance::FigureNamed("nonsense"), instance_.FigureCount());
  const auto figure = [](const char* name, uint32_t of, uint32_t worker) {
    return MetricSpec{name, "", MetricType::kCounter, MetricSource::kFigure, of, worker, 0, 0};
  };
  const uint32_t first =
      Define({figure("tx.1", tx, 1), figure("tx", tx, 0), figure("mean", mean, 0), figure("nobody's", tx, 99)});
  instance_.accounting().worker(1).tx = 30;
  instance_.accounting().worker(2).tx = 12;
  instance_.accounting().worker(2).avg_rt = 80;
  EXPECT_EQ(Value(first), 30);
  EXPECT_EQ(Value(first + 1), 42);
  EXPECT_EQ(Value(first + 2), 10) << "of 8 workers";
  EXPECT_EQ(Value(first + 3), 0);
  metrics().Store(first, 1000);
  EXPECT_EQ(Value(first), 1030) << "it goes on from before the restart";
  const uint32_t faults = Define({figure("write errors", Instance::FigureNamed("core_write_errors"), 1),
                                  figure("read errors", Instance::FigureNamed("core_read_errors"), 1)});
  instance_.accounting().core(1, 0).write_errors = 3;
  instance_.accounting().core(1, 0).read_errors = 5;
  EXPECT_EQ(Value(faults), 3);
  EXPECT_EQ(Value(faults + 1), 5);
}

TEST_F(MetricsTest, DefiningIsAllOrNothingAndNamesAreTheirOwn) {
  uint32_t first = 0;
  const uint32_t hits = Define({Counted("hits")});
  EXPECT_EQ(instance_.DefineMetrics({Counted("new"), Counted("hits")}, Metrics::kNone, 0, &first), Status::kExists);
  EXPECT_EQ(first, hits);
  EXPECT_EQ(metrics().Count(), 1u);
  std::vector<MetricSpec> many;
  for (int i = 0; i < 20; i++) many.push_back(Counted(("m" + std::to_string(i)).c_str()));
  EXPECT_EQ(instance_.DefineMetrics(many, Metrics::kNone, 0, &first), Status::kFull) << "20 cells, one is taken";
  EXPECT_EQ(metrics().Count(), 1u);
  many.pop_back();
  EXPECT_EQ(Define(many), 1u);
  EXPECT_EQ(instance_.DefineMetrics({Counted("one more")}, Metrics::kNone, 0, &first), Status::kFull);
}

TEST_F(MetricsTest, AFamilyHasAsManyChildrenAsItMay) {
  const uint32_t family = Define({{"requests", "", MetricType::kCounter, MetricSource::kStored}});
  uint32_t first = 0;
  EXPECT_EQ(instance_.DefineMetrics({Counted("requests{a}")}, family, 2, &first), Status::kOk);
  EXPECT_EQ(instance_.DefineMetrics({Counted("requests{b}")}, family, 2, &first), Status::kOk);
  EXPECT_EQ(instance_.DefineMetrics({Counted("requests{c}")}, family, 2, &first), Status::kTooLarge);
  EXPECT_EQ(instance_.DefineMetrics({Counted("requests{a}")}, family, 2, &first), Status::kExists);
}

// Counting takes no lock, and yet nothing is lost when others change the base meanwhile.
TEST_F(MetricsTest, ThreadsThatCountAndThreadsThatChangeLoseNothing) {
  const uint32_t it = Define({Counted("it")});
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  for (int i = 0; i < 3; i++)
    threads.emplace_back([&] {
      Caller caller{};
      ASSERT_EQ(instance_.EnterThread(&caller), Status::kOk);
      int64_t* cell = Cell(caller, it);
      for (uint32_t n = 0; n < kCounts; n++) Count(cell);
    });
  // It must neither lose what is counted nor what is added to the base.
  std::thread changes([&] {
    while (!stop) {
      metrics().Change(it, MetricChange::kMul, 1);
      metrics().Change(it, MetricChange::kMax, INT64_MIN);
    }
  });
  threads.emplace_back([&] {
    for (uint32_t n = 0; n < kCounts; n++) metrics().Change(it, MetricChange::kAdd, 1);
  });
  for (auto& thread : threads) thread.join();
  stop = true;
  changes.join();
  EXPECT_EQ(Value(it), 4 * int64_t{kCounts});
}

TEST_F(MetricsTest, ThreadsThatDefineTheSameNamesAgree) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&] {
      for (int n = 0; n < 15; n++) {
        uint32_t first = 0;
        const std::string name = "same-" + std::to_string(n);
        const Status status = instance_.DefineMetrics({Counted(name.c_str())}, Metrics::kNone, 0, &first);
        EXPECT_TRUE(status == Status::kOk || status == Status::kExists);
        EXPECT_EQ(metrics().SpecOf(first).name, name);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(metrics().Count(), 15u);
}

// Counters are killed in the middle, again and again; the next gets the dead one's row.
TEST_F(MetricsTest, AKillCostsAtMostTheCountInFlight) {
  const uint32_t by_cell = Define({Counted("by cell"), Counted("by base")});
  struct Done {
    std::atomic<int64_t> cell, base;
  };
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  Done& done = *static_cast<Done*>(page);
  constexpr int kRounds = 40, kAtOnce = 3;
  for (int round = 0; round < kRounds; round++) {
    std::vector<std::unique_ptr<Child>> children;
    const int64_t before = done.cell;
    for (int i = 0; i < kAtOnce; i++)
      children.push_back(std::make_unique<Child>([&]() -> int {
        auto* other = new Instance;
        Caller caller{};
        AttachOrEnd(*other, instance_.Descriptors(), &caller);
        int64_t* cell = other->metrics().Row(caller.thread) + other->metrics().CellOf(by_cell);
        for (;;) {
          Count(cell);
          done.cell++;
          other->metrics().Change(by_cell + 1, MetricChange::kAdd, 1);
          done.base++;
        }
      }));
    ASSERT_TRUE(Eventually([&] { return done.cell > before + 2000; }));
    for (auto& child : children) child->Kill();
    ASSERT_TRUE(Eventually([&] { return instance_.Reclaim() > 0; })) << "their slots go to the next";
  }
  const int64_t cells = Value(by_cell) - done.cell, bases = Value(by_cell + 1) - done.base;
  EXPECT_GE(cells, 0);
  EXPECT_LE(cells, kRounds * kAtOnce) << "counted, and killed before it was noted";
  EXPECT_GE(bases, 0);
  EXPECT_LE(bases, kRounds * kAtOnce);
  munmap(page, 4096);
}

TEST_F(MetricsTest, ASegmentOfAnotherGeometryIsRefused) {
  Metrics other;
  uint64_t layout = 0;
  SegmentHeader* header = metrics().segment().At<SegmentHeader>(0);
  const uint32_t threads = metrics().geometry().threads;
  EXPECT_EQ(other.Attach(metrics().segment().fd(), kInstance, threads + 1, &layout), Status::kForeign);
  header->geometry[1] = 5000;
  EXPECT_EQ(other.Attach(metrics().segment().fd(), kInstance, threads, &layout), Status::kForeign);
  header->geometry[1] = 20;
  EXPECT_EQ(other.Attach(dup(metrics().segment().fd()), kInstance, threads, &layout), Status::kOk);
  other.segment().Abandon();
}

}  // namespace
}  // namespace uwshm::test
