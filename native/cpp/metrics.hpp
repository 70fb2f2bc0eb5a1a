// Numbers that belong to the whole group: metrics_layout.hpp has the drawing
// and the rules. Nothing here takes a lock, waits, or has to be repaired.
//
// Thread rules: any number of threads and processes call anything at any time,
// but for Define, whose caller holds the table lock. A cell is written by the
// thread that owns its row only.
#pragma once

#include <string>
#include <vector>

#include "metrics_layout.hpp"

namespace uwshm {

// Numbers that other segments hold. REQUIRES nothing of the arguments: they
// come from shared memory.
class FigureSource {
 public:
  virtual int64_t Figure(uint32_t figure, uint32_t first, uint32_t second) const = 0;
  virtual uint32_t FigureCount() const = 0;

 protected:
  ~FigureSource() = default;
};

struct MetricSpec {
  std::string name, oid;
  MetricType type;
  MetricSource source;
  uint32_t figure = 0, first = 0, second = 0;
  int64_t initial = 0;
};

enum class MetricChange : uint32_t { kAdd, kSet, kMul, kDiv, kMax, kMin };

class Metrics {
 public:
  static constexpr uint64_t kLayout =
      LayoutNumber(1, {sizeof(SegmentHeader), sizeof(MetricsHeader), sizeof(MetricSlot), sizeof(int64_t)});

  Status Create(InstanceId instance, const MetricsGeometry& geometry);
  Status Attach(int fd, InstanceId instance, uint32_t threads, uint64_t* layout);

  // Appends them all, or none; `first` is where. kExists: one of the names is
  // taken, by slot `first`. kFull: no room. With `family`, a slot: at most
  // `most` of its kin; kTooLarge beyond. REQUIRES: the table lock.
  Status Define(const std::vector<MetricSpec>& specs, uint32_t family, uint32_t most, uint32_t* first);

  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t Count() const;
  // REQUIRES: index < Count().
  MetricSpec SpecOf(uint32_t index) const;

  // The cells of a thread: geometry().cells words. Its cell of a metric is CellOf(metric).
  int64_t* Row(uint32_t thread);
  // kNone: it is not counted.
  uint32_t CellOf(uint32_t index) const;

  int64_t Value(uint32_t index, const FigureSource& figures) const;
  // Of all, in order.
  void Values(const FigureSource& figures, std::vector<int64_t>* values) const;

  // Wraps in two's complement; MIN / -1 is MIN. kNotFound: there is no such
  // metric; kReadOnly: it is not counted; kDivision: a division by 0.
  Status Change(uint32_t index, MetricChange change, int64_t n);
  // For its collector, and for what was before the restart. kNotFound.
  Status Store(uint32_t index, int64_t base);

  // Walks every invariant; empty when all hold.
  std::string Check(const FigureSource& figures) const;

  const MetricsGeometry& geometry() const { return geometry_; }
  Segment& segment() { return segment_; }

 private:
  void Place();
  MetricSource SourceOf(uint32_t index) const {
    return static_cast<MetricSource>(slots_[index].source.load(std::memory_order_relaxed));
  }
  uint64_t Base(uint32_t index) const { return slots_[index].base.load(std::memory_order_acquire); }
  uint32_t Find(const std::string& name, uint32_t hash, uint32_t count) const;
  const uint64_t* RowAt(uint32_t thread) const {
    return reinterpret_cast<const uint64_t*>(rows_ + thread * geometry_.row_stride());
  }
  template <class See>
  void EachRow(See see) const;
  uint64_t SumOfCells(uint32_t index) const;
  uint64_t Counted(uint32_t index) const { return Base(index) + SumOfCells(index); }

  Segment segment_;
  MetricsGeometry geometry_{};
  MetricsHeader* header_ = nullptr;
  std::atomic<uint64_t>* used_ = nullptr;
  MetricSlot* slots_ = nullptr;
  uint8_t* rows_ = nullptr;
};

}  // namespace uwshm
