// Who is here: processes and their threads.
//
// The root segment, as every process maps it:
//
//   0 ──────────────┬───────────────────────────────────────────────┐
//     SegmentHeader │ geometry: processes, threads, pid namespace   │
//   128 ────────────┼───────────────────────────────────────────────┤
//     RootHeader    │ how far the thread slots were ever used  64 B │
//   ────────────────┼───────────────────────────────────────────────┤
//     ProcessSlot × │ pid, start time, generation, life mutex 128 B │
//     the door      │ one more, for who comes to a full house 128 B │
//     ThreadSlot ×  │ its process, generation                  16 B │
//   ────────────────┴───────────────────────────────────────────────┘
//
// A *life mutex* is robust, and a native thread of its process holds it from
// attach to exit. Whoever can take it knows that the owner is gone: no clocks,
// no reused pids. A thread slot names the cells of every cache that this
// thread writes to (cache_layout.hpp), so it is freed only after what its dead
// owner left half done has been finished.
//
// A process has a *name*, its slot and the slot's generation, under which it
// holds locks (locks/owner_word.hpp). Generations only go up, under the life
// mutex, at an arrival and when a death is certain: a name with an older one is
// that of a dead process.
//
// Slots are claimed by compare-and-swap, for who arrives holds no lock and has
// no name to hold one under. If nothing is free but some slots are those of the
// dead, it stands in the *door*, with the door's name, while it frees them.
//
// True at every moment:
//   P1  A process slot is free, or its life mutex is held, or its owner is dead
//       or has just claimed it and looks dead: then whoever frees the slot under
//       the life mutex makes the claimant notice when it gets that, and begin anew.
//   P2  A thread slot is free or names a process slot that is not free.
//
// Each transition is one store, so a dead owner of the table lock, which
// reclaimers hold, leaves nothing to repair.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "lock.hpp"
#include "segment.hpp"

namespace uwshm {

struct RootHeader {
  alignas(64) std::atomic<uint32_t> threads_used;  // thread slots ever used: readers stop there
  uint32_t spare[15];
};

struct ProcessSlot {
  alignas(64) std::atomic<uint32_t> claimed;  // the pid of who has it; 0 = free
  std::atomic<uint32_t> generation;
  uint32_t pid;         // this and the rest are written under the life mutex
  uint32_t worker;      // worker id, 0 = none
  uint64_t start_time;  // clock ticks since boot, as in /proc/PID/stat
  uint64_t spare;
  pthread_mutex_t life;
};
static_assert(sizeof(ProcessSlot) == 128);

struct ThreadSlot {
  std::atomic<uint32_t> process;  // process slot + 1, 0 = free
  uint32_t generation;
  uint64_t spare;
};
static_assert(sizeof(ThreadSlot) == 16);

struct RootGeometry {
  uint32_t processes;
  uint32_t threads;
  uint64_t pid_namespace;  // inode; equal thread ids in two namespaces would pass for one owner
};

// Has the last thread of that process ended? A life mutex may be free a few
// microseconds before: the kernel ends threads one by one. nullptr: not asked.
using Ended = bool (*)(uint32_t pid, uint64_t start_time);

class ProcessTable final : public Repairable, public Lives {
 public:
  static constexpr uint64_t kLayout =
      LayoutNumber(3, {sizeof(SegmentHeader), sizeof(RootHeader), sizeof(ProcessSlot), sizeof(ThreadSlot)});
  static constexpr uint32_t kTableLock = 0;
  static uint64_t SizeFor(const RootGeometry& geometry);

  Status Create(InstanceId instance, const RootGeometry& geometry);
  // kPidNamespace: the master lives in another one.
  Status Attach(int fd, InstanceId instance, uint64_t pid_namespace, uint64_t* layout);

  // How death is made certain, by whoever asks in this process.
  void SetEnded(Ended ended) { ended_ = ended; }

  // Takes a process slot and starts the thread that holds its life mutex.
  // kNoProcessSlot.
  Status EnterProcess(uint32_t pid, uint32_t worker, uint64_t start_time);
  // Likewise, without a slot: enough to hold locks while one is freed. One
  // process at a time; for the next: kNoProcessSlot.
  Status EnterDoor(uint32_t pid, uint64_t start_time);
  // Its life is given up by the next EnterProcess, or by LeaveProcess.
  void LeaveDoor();
  // Lets go of the life mutex, as if this process had died. For tests and close().
  void LeaveProcess();

  // A slot for one thread of this process. kNoThreadSlot.
  Status EnterThread(uint32_t* thread);
  void LeaveThread(uint32_t thread) { threads_[thread].process.store(0, std::memory_order_release); }

  // Calls `bury(slot)` for every dead process and `finish(thread)` for every
  // thread of it, and then frees its slots. False: something is busy, and that
  // process waits for the next call. The number of processes freed.
  // REQUIRES: the table lock.
  template <class Bury, class Finish>
  uint32_t Reclaim(Bury bury, Finish finish);

  // Is the process in `slot` alive? False also for a free slot, and a few
  // microseconds before the last thread has ended: good for telling, not for acting on.
  bool Alive(uint32_t slot);
  // Has whoever was in `slot` ended, to the last thread? All its names are dead ones then.
  bool HasEnded(uint32_t slot);

  // Under which name this process holds locks. REQUIRES: it has entered.
  uint64_t OwnName() const { return NameOf(own_slot_, processes_[own_slot_].generation); }
  bool IsDead(uint64_t name) override;

  const RootGeometry& geometry() const { return geometry_; }
  Segment& segment() { return segment_; }
  uint32_t own_slot() const { return own_slot_; }
  ProcessSlot& process(uint32_t slot) { return processes_[slot]; }
  uint32_t threads_used() const;

  void Repair(uint32_t, uint32_t, const Caller&) override {}

 private:
  // The lowest bit stays 0.
  static uint64_t NameOf(uint32_t slot, uint32_t generation) {
    return uint64_t{generation} << 32 | (uint64_t{slot} + 1) << 1;
  }
  uint32_t door() const { return geometry_.processes; }

  void Place();
  Status Enter(uint32_t slot, uint32_t pid, uint32_t worker, uint64_t start_time);
  bool TakeLife(ProcessSlot& slot);
  // Took the life mutex, and no thread of its process runs any more: its name is
  // a dead one from now on, whoever holds the mutex.
  bool TakeEndedLife(ProcessSlot& slot);

  Segment segment_;
  RootGeometry geometry_{};
  RootHeader* header_ = nullptr;
  ProcessSlot* processes_ = nullptr;
  ThreadSlot* threads_ = nullptr;
  uint32_t own_slot_ = UINT32_MAX;
  Ended ended_ = nullptr;
};

template <class Bury, class Finish>
uint32_t ProcessTable::Reclaim(Bury bury, Finish finish) {
  uint32_t freed = 0;
  for (uint32_t slot = 0; slot < geometry_.processes; slot++) {
    ProcessSlot& process = processes_[slot];
    if (slot == own_slot_ || process.claimed.load(std::memory_order_acquire) == 0 || !TakeEndedLife(process)) continue;
    bool finished = bury(slot);
    for (uint32_t thread = 0; finished && thread < threads_used(); thread++) {
      if (threads_[thread].process.load(std::memory_order_relaxed) != slot + 1) continue;
      if (finish(thread)) threads_[thread].process.store(0, std::memory_order_release);
      else finished = false;
    }
    if (finished) process.claimed.store(0, std::memory_order_release), freed++;
    pthread_mutex_unlock(&process.life);
  }
  return freed;
}

}  // namespace uwshm
