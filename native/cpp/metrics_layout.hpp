// The metrics, byte for byte, as every process maps them.
//
//   0 ────────────┬──────────────────────────────────────────────────────┐
//     header      │ SegmentHeader, MetricsHeader: count             192 B│
//   used_at ──────┼──────────────────────────────────────────────────────┤
//     used        │ u64 bitmap: rows that ever had an owner              │
//   slots_at ─────┼──────────────────────────────────────────────────────┤
//     MetricSlot ×│ name, OID, type, where its value comes from    320 B │
//   rows_at ──────┼──────────────────────────────────────────────────────┤
//     row ×       │ per thread slot: i64 × cells, whole pages            │
//   ──────────────┴──────────────────────────────────────────────────────┘
//
// The value of a metric that is counted is *base + the sum of its cells*, all in
// 64 bits, two's complement. A *cell* belongs to one metric and one thread:
// JavaScript adds to it as to any BigInt64Array, one plain store, no call and no
// lock. (Doubles are no faster, and they would have to be carried over at 2^53.)
//
// A cell is never cleared. Whoever gets the thread slot of the dead goes on
// from what it finds there: so nothing has to be folded when a thread ends, and
// nothing can be lost or counted twice on the way.
//
// `base` is one atomic word. Adding to it is one instruction; setting,
// multiplying … replace it by (wanted - the sum of the cells), by compare and
// swap: what cells gain meanwhile counts on top. There is no lock to die with.
//
// The list of metrics only grows, and what a slot says about its metric never
// changes; so each process keeps its own index by name and by OID, and brings
// it up to date when `count` has grown. Who appends holds the table lock,
// fills the slots behind `count`, and then raises it: one store for all that
// belong together. Dead before: nothing has happened.
//
// Every change is one store. Hence there is nothing to repair, ever.
//
// True at any moment, also right after a death (Metrics::Check walks all):
//   M1  Slots below `count` are whole: a name, a type, a source and what the
//       source needs, within bounds. No two have one name.
//   M2  An alias stands behind its target, which is no alias.
//   M3  The n-th metric that is counted has cell n: no two share one.
//   M4  A row is in the bitmap before its owner writes to it. Others are not
//       looked at: that would cost their pages.
//
// Changed what a byte means? Raise the version in kMetricsLayout.
#pragma once

#include <atomic>
#include <cstdint>

#include "segment.hpp"

namespace uwshm {

// uWSGI's numbers.
enum class MetricType : uint32_t { kCounter, kGauge, kAbsolute, kAlias };

enum class MetricSource : uint32_t {
  kCounted,  // base + cells: anybody may write
  kStored,   // base: a collector's, written by one process
  kAlias,    // the value of slot `first`
  kBucket,   // counted, and shown with the `first` buckets before it, as Prometheus wants them
  kFigure,   // base (what was before the restart) + figure `figure` of (`first`, `second`)
};

struct MetricsHeader {
  alignas(64) std::atomic<uint32_t> count;
  uint32_t spare[15];
};
static_assert(sizeof(MetricsHeader) == 64);

struct MetricSlot {
  static constexpr uint32_t kName = 191, kOid = 63;  // bytes, without the NUL

  alignas(64) std::atomic<uint64_t> base;
  std::atomic<uint32_t> type;
  std::atomic<uint32_t> source;
  std::atomic<uint32_t> figure;
  std::atomic<uint32_t> first, second;
  std::atomic<uint32_t> cells;   // of this one and all before it
  std::atomic<uint32_t> family;  // of labels: its slot + 1, 0 = none
  std::atomic<uint32_t> hash;    // of the name
  uint64_t initial;
  uint64_t spare;
  char name[kName + 1];
  char oid[kOid + 1];  // relative to uWSGI's; may be empty
};
static_assert(sizeof(MetricSlot) == 320);

struct MetricsGeometry {
  uint32_t slots;    // 0 = metrics are off
  uint32_t cells;    // of each thread
  uint32_t threads;  // thread slots of the instance

  uint64_t used_words() const { return (uint64_t{threads} + 63) / 64; }
  uint64_t slots_at() const {
    return (sizeof(SegmentHeader) + sizeof(MetricsHeader) + used_words() * sizeof(uint64_t) + 63) & ~uint64_t{63};
  }
  uint64_t rows_at() const { return (slots_at() + uint64_t{slots} * sizeof(MetricSlot) + 4095) & ~uint64_t{4095}; }
  // Whole pages: a thread sees its own row and nothing else of the segment.
  uint64_t row_stride() const { return (uint64_t{cells} * sizeof(int64_t) + 4095) & ~uint64_t{4095}; }
  uint64_t size() const { return rows_at() + threads * row_stride(); }
};

}  // namespace uwshm
