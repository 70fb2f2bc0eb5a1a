// What the workers did, and what they are doing: a row per worker id, a row per
// core. It outlives every worker, and none is asked when somebody looks.
//
//   0 ──────────────┬─────────────────────────────────────────────────────┐
//     SegmentHeader │ geometry: workers, cores of a worker          128 B │
//   128 ────────────┼─────────────────────────────────────────────────────┤
//     GroupHeader   │ the master, its start, paused or not           64 B │
//     WorkerRow ×   │ figures of one worker id                      192 B │
//     CoreRow ×     │ workers × cores: counters                      64 B │
//     heads         │ workers × cores: of the request on a core,          │
//                   │ 4,096 B each; whoever only counts touches none      │
//   ────────────────┴─────────────────────────────────────────────────────┘
//
// A *core* is a place for one request in flight. Node serves many at a time: a
// request that finds every core taken is served all the same, it just cannot be
// looked at; it is counted on the worker's last core.
//
// There is no lock, since every word has one writer: the master writes `pid`
// and what begins with a spawn, the worker's main thread the rest. The master
// clears what a dead worker was doing, and only when it is dead.
//
// What every request writes is written by JavaScript (src/metrics/row.ts): a call
// from there into here costs more than the stores do. It counts in doubles, exact to
// 2^53; what it may touch are its own rows, lent to it as they stand here.
//
// True at any moment, also right after a death:
//   A1  A worker's requests are the sum over its cores: the one store that
//       counts a request is the last that it makes. Who dies before it has not
//       served the request. Its exceptions are such a sum, too.
//   A2  A head is whole if `sequence` was even and the same before and after it
//       was read. A worker that died in the middle leaves it odd until `Gone`.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "segment.hpp"

namespace uwshm {

struct GroupHeader {
  alignas(64) std::atomic<uint32_t> master;  // pid
  std::atomic<uint32_t> paused;
  std::atomic<uint64_t> started_on;  // epoch seconds
  uint64_t spare[6];
};
static_assert(sizeof(GroupHeader) == 64);

using SharedCount = std::atomic<double>;
static_assert(sizeof(SharedCount) == 8 && SharedCount::is_always_lock_free);
// What was scribbled over must not overflow whoever reads it.
inline uint64_t Whole(double number) { return number > 0 && number < 0x1p63 ? static_cast<uint64_t>(number) : 0; }

struct WorkerRow {
  // The master's.
  alignas(64) std::atomic<uint32_t> pid;  // 0 = no process
  std::atomic<uint32_t> respawn_count;
  std::atomic<uint64_t> last_spawn;         // epoch seconds
  std::atomic<uint64_t> requests_at_spawn;  // what its predecessors had served
  uint64_t spare[5];
  // The worker's.
  alignas(64) std::atomic<uint32_t> accepting;
  std::atomic<uint32_t> in_flight;
  std::atomic<uint64_t> startup_time;  // whole seconds that the application took to load
  SharedCount overflows;               // requests that found every core taken
  uint64_t spare_here;
  SharedCount tx;            // bytes
  SharedCount running_time;  // microseconds, the sum over requests
  SharedCount avg_rt;        // microseconds, as uWSGI's: (old + last) / 2
  // How late the event loop's timers were in the second before `beat_at`, microseconds.
  alignas(64) std::atomic<uint64_t> delay_p50;
  std::atomic<uint64_t> delay_p99;
  std::atomic<uint64_t> delay_max;
  std::atomic<uint64_t> beat_at;  // boot-time milliseconds; 0 = never
  uint64_t spare_too[4];
};
static_assert(sizeof(WorkerRow) == 192);

struct CoreRow {
  static constexpr uint32_t kHead = 4096;  // longer heads are cut

  alignas(64) std::atomic<uint32_t> in_request;
  std::atomic<uint32_t> sequence;  // odd while the head is written
  SharedCount started_at;          // boot-time microseconds
  SharedCount requests;
  SharedCount read_errors;   // the client left before its request was there
  SharedCount write_errors;  // the client left before the answer was out
  std::atomic<uint32_t> head_size;
  uint32_t spare;
  SharedCount exceptions;
};
static_assert(sizeof(CoreRow) == 64);

class Accounting {
 public:
  static constexpr uint64_t kLayout =
      LayoutNumber(4, {sizeof(SegmentHeader), sizeof(GroupHeader), sizeof(WorkerRow), sizeof(CoreRow), CoreRow::kHead});
  static constexpr uint32_t kNoCore = UINT32_MAX;
  static uint64_t SizeFor(uint32_t workers, uint32_t cores);

  // `cores` of each worker, at least 1.
  Status Create(InstanceId instance, uint32_t workers, uint32_t cores, uint32_t master, uint64_t started_on);
  Status Attach(int fd, InstanceId instance, uint64_t* layout);

  // The master's part. `Gone` only when the process is: it writes to the worker's words.
  void Spawned(uint32_t worker, uint32_t pid, uint64_t epoch_seconds);
  void Gone(uint32_t worker);

  // The worker's part; its main thread only.
  void Accepting(uint32_t worker, uint64_t startup_seconds);
  // Another head for the request on that core.
  void Describe(uint32_t worker, uint32_t core, const uint8_t* head, uint32_t size);
  // kNoCore: in a request that nobody knows; counted on the worker's last core.
  void Exception(uint32_t worker, uint32_t core);
  void Beat(uint32_t worker, uint64_t p50, uint64_t p99, uint64_t max, uint64_t now_ms);

  // Served since the instance began.
  uint64_t Requests(uint32_t worker) const;
  uint64_t Exceptions(uint32_t worker) const;
  // The head of the request on that core; false: there is none, or it changed meanwhile.
  bool Head(uint32_t worker, uint32_t core, std::string* head) const;

  GroupHeader& group() const { return *group_; }
  // REQUIRES: 1 <= worker <= workers(), core < cores().
  WorkerRow& worker(uint32_t id) const { return rows_[id - 1]; }
  CoreRow& core(uint32_t worker, uint32_t core) const { return cores_rows_[Index(worker, core)]; }
  // Lines; what they are is the worker's and the reader's affair. A worker's heads follow each other.
  uint8_t* head(uint32_t worker, uint32_t core) const { return heads_ + Index(worker, core) * CoreRow::kHead; }
  uint32_t workers() const { return workers_; }
  uint32_t cores() const { return cores_; }
  Segment& segment() { return segment_; }

 private:
  void Place();
  uint64_t SumOfCores(uint32_t worker, const SharedCount CoreRow::* word) const;
  uint64_t Index(uint32_t worker, uint32_t core) const { return uint64_t{worker - 1} * cores_ + core; }

  Segment segment_;
  GroupHeader* group_ = nullptr;
  WorkerRow* rows_ = nullptr;
  CoreRow* cores_rows_ = nullptr;
  uint8_t* heads_ = nullptr;
  uint32_t workers_ = 0, cores_ = 0;
};

}  // namespace uwshm
