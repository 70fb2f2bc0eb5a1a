// All segments of one master, and this process's place among their users.
//
// Descriptors are numbered: root, locks, accounting, user locks, metrics, then the caches in
// order. Whoever has them and the instance's id can attach; the engine does not care how they came.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "accounting.hpp"
#include "cache.hpp"
#include "metrics.hpp"
#include "process_table.hpp"
#include "user_locks.hpp"

namespace uwshm {

struct CacheSpec {
  std::string name;
  uint32_t items, blocksize, keysize, hashsize;
  HashSeed seed;
  CacheRules rules{};
  Policy policy = kRefuse;
  uint32_t blocks = 0;  // bitmap mode
  StoreSpec store{};
};

// How many user locks there are from the start, and how many there may be.
struct UserLocksSpec {
  uint32_t numbered = 1, most = 1;
};

// How many metrics there may be, and how many of them are counted.
struct MetricsSpec {
  uint32_t slots, cells;
};

struct InstanceSpec {
  uint32_t processes;   // that may be attached at a time
  uint32_t workers;     // worker ids 1..
  uint32_t cores;       // of each worker: requests in flight that can be looked at
  uint64_t started_on;  // epoch seconds
  LockChoice locks;
  std::vector<CacheSpec> caches;
  UserLocksSpec user_locks{};
  MetricsSpec metrics{};
};

// Who attaches, and the clocks that its calls will use.
struct Self {
  uint32_t pid;
  uint32_t worker;      // worker id, 0 = none
  uint64_t start_time;  // clock ticks since boot
  uint64_t pid_namespace;
  uint64_t (*now)();
  Ended ended = nullptr;
  // Monotonic microseconds, for waits and holds.
  uint64_t (*now_us)() = nullptr;
};

// What stood in the way: for the sentence that the user reads.
struct Trouble {
  std::string segment;
  uint64_t found = 0, expected = 0;
};

class Instance final : public FigureSource {
 public:
  // Threads are counted over all processes: a worker has its main thread and
  // whatever worker_threads it starts.
  static constexpr uint32_t kThreadsPerProcess = 4;
  static constexpr uint32_t kPatienceMs = 1000;
  // The reclaimer works in the master's event loop: what is busy waits for the next round.
  static constexpr uint32_t kReclaimPatienceMs = 20;

  Status Create(InstanceId id, const InstanceSpec& spec, const Self& self, Trouble* trouble);
  Status Attach(InstanceId id, const std::vector<int>& fds, const Self& self, Trouble* trouble);
  // As if this process had died, except that nobody has to find out.
  void Leave();

  // A slot for the calling thread; everything it calls needs the Caller.
  Status EnterThread(Caller* caller);
  // Releases what it holds, and its slot.
  void LeaveThread(const Caller& caller) {
    user_locks_.LeaveThread(caller);
    processes_.LeaveThread(caller.thread);
  }

  // Finishes what dead processes left half done and frees their slots; how
  // many. 0 also when somebody else is at it or something is busy.
  uint32_t Reclaim() { return Reclaim(kReclaimPatienceMs); }

  // Appends metrics, as Metrics::Define; kBusy as well.
  Status DefineMetrics(const std::vector<MetricSpec>& specs, uint32_t family, uint32_t most, uint32_t* first);

  // The numbers that computed metrics show (figures.cpp), by name; FigureCount(): there is none.
  static uint32_t FigureNamed(const std::string& name);
  int64_t Figure(uint32_t figure, uint32_t first, uint32_t second) const override;
  uint32_t FigureCount() const override;

  InstanceId id() const { return id_; }
  std::vector<int> Descriptors();
  ProcessTable& processes() { return processes_; }
  LockTable& locks() { return locks_; }
  Accounting& accounting() { return accounting_; }
  const Accounting& accounting() const { return accounting_; }
  Metrics& metrics() { return metrics_; }
  UserLocks& user_locks() { return user_locks_; }
  // For a native thread that has no slot and needs none.
  Caller Nobody(uint32_t patience_ms) const { return {UINT32_MAX - 1, self_.pid, self_.now, patience_ms}; }
  std::vector<std::unique_ptr<Cache>>& caches() { return caches_; }
  const std::vector<std::unique_ptr<Cache>>& caches() const { return caches_; }

  // Every lock by name, with the pid of its holder or 0.
  std::vector<std::pair<std::string, uint32_t>> Holders() const;

  // What the locks of the engine were used for: those of one structure together.
  struct StructureLocks {
    std::string name;
    uint32_t pid;  // of who has one of them, or 0
    LockCounts counts;
  };
  std::vector<StructureLocks> StructureFigures() const;

 private:
  Status Enter(Trouble* trouble);
  Status EnterProcess();
  uint32_t Reclaim(uint32_t patience_ms);

  InstanceId id_{};
  Self self_{};
  ProcessTable processes_;
  LockTable locks_;
  Accounting accounting_;
  UserLocks user_locks_;
  Metrics metrics_;
  std::vector<std::unique_ptr<Cache>> caches_;
};

}  // namespace uwshm
