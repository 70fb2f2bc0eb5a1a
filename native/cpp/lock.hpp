// Structure locks: taken and released within one native call on one thread.
//
// Lock objects live in their own segment, away from the data they protect:
// glibc keeps list pointers inside a held mutex, and a scribbling process must
// not reach them. One record is one cache line:
//
//   0 ──────┬──────────────────────────────────────────┐
//     object│ the engine's own                    48 B │
//   48 ─────┼──────────────────────────────────────────┤
//     owner │ pid << 32 | thread slot + 1, 0 = nobody  │
//   56 ─────┼──────────────────────────────────────────┤
//     spare │                                      8 B │
//   ────────┴──────────────────────────────────────────┘
//
// The owner writes its name after it has the lock and wipes it before it lets
// go. So a name found by whoever takes the lock is that of a dead owner, and
// tells whose intent record to look at; no engine's verdict is needed for that
// (semaphores have none). The name is replaced only after the repair: if the
// repairer dies too, the next one finds the same name and repairs again.
#pragma once

#include <atomic>
#include <cstdint>

#include "segment.hpp"
#include "status.hpp"

namespace uwshm {

// Who calls: one per thread that uses the engine.
struct Caller {
  uint32_t thread;  // thread slot (process_table.hpp)
  uint32_t pid;
  uint64_t (*now)();     // boot-time milliseconds; the engine reads no clock
  uint32_t patience_ms;  // how long to wait for an owner that does not go on

  uint64_t OwnerWord() const { return static_cast<uint64_t>(pid) << 32 | (thread + 1); }
};

enum class Taken : uint8_t { kYes, kNo, kBroken };

struct LockRecord {
  alignas(64) unsigned char object[48];
  std::atomic<uint64_t> owner;
  std::atomic<uint64_t> acquisitions;

  alignas(64) std::atomic<uint64_t> contended;
  std::atomic<uint64_t> waited_ms;  // the clock's milliseconds: right in the sum, not for one short wait
  std::atomic<uint64_t> recoveries;
  uint64_t spare[5];
};
static_assert(sizeof(LockRecord) == 128);

// Of one lock, or of some together.
struct LockCounts {
  uint64_t acquisitions = 0, contended = 0, waited_ms = 0, recoveries = 0;
};

// Tells the dead from the living, for engines whose locks the kernel does not
// free by itself. A process has a *name* (process_table.hpp) that no later one
// will ever bear. The lowest bit of every name is 0.
class Lives {
 public:
  // Dead for certain: no thread of it will ever store anything again.
  virtual bool IsDead(uint64_t name) = 0;

 protected:
  ~Lives() = default;
};

// The calling process, as engines know it.
struct Claimant {
  uint64_t name = ~uint64_t{1};  // until it has one, it cannot be found dead
  Lives* lives = nullptr;

  bool IsDead(uint64_t other) const { return lives != nullptr && lives->IsDead(other); }
};

// What locks are wanted of an engine that must ask the kernel for them.
struct KernelLocksSpec {
  InstanceId instance;
  int32_t first_key = 0;    // as ftok(3) makes it; 0 = drawn from the instance's id
  bool persistent = false;  // they stay when the last process has left
};

// Locks that are objects of the kernel: they outlive their processes, so they
// must be made, entered, left, and found again when all of those were killed.
struct KernelLocks {
  // kInUse: `first_key` leads to objects of a living instance, or of somebody else.
  Status (*make)(LockRecord* records, uint32_t count, const KernelLocksSpec& spec);
  // Each process once: they are not removed before it has left, or died.
  Status (*enter)(const LockRecord* records, uint32_t count);
  // The last to leave removes them.
  void (*leave)(const LockRecord* records, uint32_t count);
  // Removes what instances have left of which nobody lives; how many objects.
  uint32_t (*reap)();
};

// One engine is one file in locks/ and one line in locks/engines.def.
struct LockEngine {
  const char* name;
  const char* title;  // in the log, as uWSGI has it
  bool (*init)(void* object);
  Taken (*try_lock)(void* object, const Claimant& me);
  // After try_lock has said no. Waits at most `wait_ms`; it may return kNo
  // earlier. Takes the lock of a dead owner even with 0.
  Taken (*lock)(void* object, const Claimant& me, uint32_t wait_ms);
  void (*unlock)(void* object, const Claimant& me);
  const KernelLocks* kernel = nullptr;  // then there is no `init`
};

// Which locks a new table gets.
struct LockChoice {
  LockChoice(const LockEngine* engine) : engine(engine) {}
  const LockEngine* engine;
  int32_t first_key = 0;
  bool persistent = false;
};

// What stands behind a lock and can be finished after its owner's death.
class Repairable {
 public:
  // REQUIRES: lock `lock` held by the caller. Idempotent.
  virtual void Repair(uint32_t lock, uint32_t dead_thread, const Caller& caller) = 0;

 protected:
  ~Repairable() = default;
};

class LockTable {
 public:
  static constexpr uint64_t kLayout = LayoutNumber(3, {sizeof(LockRecord), sizeof(SegmentHeader)});
  static uint64_t SizeFor(uint32_t locks) { return sizeof(SegmentHeader) + uint64_t{locks} * sizeof(LockRecord); }

  static const LockEngine* EngineNamed(const char* name);  // nullptr when unknown
  static const LockEngine* const* Engines();               // ends with nullptr

  // kNoMemory, kInUse.
  Status Create(InstanceId instance, uint32_t locks, const LockChoice& choice);
  Status Attach(int fd, InstanceId instance, uint64_t* layout);
  // Tells the engine who this process is. REQUIRES: before the first Guard.
  void ActAs(const Claimant& me) { me_ = me; }
  // No Guard of this process may follow.
  void Leave();

  Segment& segment() { return segment_; }
  const LockEngine& engine() const { return *engine_; }
  uint32_t count() const { return count_; }

  const LockRecord* Record(uint32_t lock) const { return &records_[lock]; }

  LockCounts CountsOf(uint32_t first, uint32_t count) const;

  // The pid that holds `lock`, or 0.
  uint32_t HolderOf(uint32_t lock) const {
    return static_cast<uint32_t>(records_[lock].owner.load(std::memory_order_relaxed) >> 32);
  }
  // Its thread slot, or UINT32_MAX.
  uint32_t OwnerThreadOf(uint32_t lock) const {
    return static_cast<uint32_t>(records_[lock].owner.load(std::memory_order_acquire)) - 1;
  }

 private:
  friend class Guard;

  Segment segment_;
  LockRecord* records_ = nullptr;
  const LockEngine* engine_ = nullptr;
  Claimant me_;
  uint32_t count_ = 0;
};

// Holds one lock for as long as it lives. Never hold two of one structure.
class Guard {
 public:
  enum Mode { kWait, kTry };

  Guard(LockTable& table, uint32_t lock, const Caller& caller, Repairable& behind, Mode mode = kWait)
      : engine_(table.engine_), me_(table.me_), record_(table.records_[lock]) {
    Taken taken = engine_->try_lock(record_.object, me_);
    if (taken != Taken::kYes) taken = Wait(mode == kTry ? 0 : caller.patience_ms, caller);
    if (taken != Taken::kYes) {
      status_ = taken == Taken::kNo ? Status::kBusy : Status::kLockBroken;
      return;
    }
    status_ = Status::kOk;
    const uint64_t dead = record_.owner.load(std::memory_order_acquire);
#ifndef UWSHM_NO_REPAIR
    if (__builtin_expect(dead != 0, 0)) {
      behind.Repair(lock, static_cast<uint32_t>(dead) - 1, caller);
      Add(record_.recoveries, 1);
    }
#else
    (void)dead, (void)behind;
#endif
    record_.owner.store(caller.OwnerWord(), std::memory_order_release);
    Add(record_.acquisitions, 1);
  }

  ~Guard() {
    if (status_ == Status::kOk) Release();
  }

  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  void Release() {
    record_.owner.store(0, std::memory_order_release);
    engine_->unlock(record_.object, me_);
    status_ = Status::kBusy;
  }

  // kOk: held. kBusy: somebody alive has it. kLockBroken.
  Status status() const { return status_; }

 private:
  Taken Wait(uint32_t patience_ms, const Caller& caller);
  // REQUIRES: held, so nobody else writes.
  static void Add(std::atomic<uint64_t>& figure, uint64_t n) {
    figure.store(figure.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  const LockEngine* engine_;
  const Claimant& me_;
  LockRecord& record_;
  Status status_;
};

}  // namespace uwshm
