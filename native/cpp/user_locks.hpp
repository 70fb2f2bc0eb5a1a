// The locks that applications take: numbered ones and named ones, exclusive or
// shared, that may be held across an `await` and are free when their owner dies.
//
// The uncontended way is one compare-and-swap to take and one to let go. Who
// does not get a lock queues a record, and sleeps on a futex: its own when a
// thread blocks, the one of its process when something asynchronous waits, for
// there one thread watches for many. Every sleep is short enough that a
// wake-up lost with its sender is noticed within 250 ms, and so is a dead owner.
//
// Three ways to hand on. Plain: the lock is free, the longest waiting is woken,
// and whoever comes first has it; a lock that is passed on costs a switch of
// processes, one that is snatched does not. Fair: it goes to whoever has waited
// longest. Read-write: likewise, where readers next to each other in the queue go in
// together, and none overtakes a writer: so writers do not starve.
#pragma once

#include <string>
#include <vector>

#include "lock.hpp"
#include "process_table.hpp"
#include "user_locks_layout.hpp"

namespace uwshm {

// Who wants a lock: a token of this process (UserLocks::ThreadOwner, NewOwner).
struct LockOwner {
  uint64_t word;
  uint32_t thread;  // thread slot: when it blocks, all that it holds is blocked
  uint32_t parent;  // the hold (its token) within which this one is wanted, 0 = none
};

// What is computed: hashed, twice, with seeds that each instance has of its own.
struct LeaseSubject {
  uint64_t a, b;
};

// A lease that somebody else has, at one turn.
struct LeaseWait {
  uint32_t lease;
  uint64_t turn;
};

enum class Share : uint8_t { kNo, kYes };

struct LockFigures {
  std::string name;
  uint32_t kind, pid, waiters;
  uint64_t acquisitions, contended, waited_us, longest_hold_us, recoveries;
};

// One who waits, in a circle of those who wait for each other.
struct CircleLink {
  RecordIndex record;
  uint64_t ticket;
  uint32_t lock, pid, worker;
};
using Circle = std::vector<CircleLink>;

class UserLocks final : public Repairable {
 public:
  static constexpr uint32_t kLookAgainMs = 200;
  static constexpr size_t kLongestName = 127;

  using Clock = uint64_t (*)();  // microseconds, monotonic

  Status Create(InstanceId instance, const UserLocksGeometry& geometry, LockTable* guards, ProcessTable* processes,
                Clock now_us);
  Status Attach(int fd, InstanceId instance, LockTable* guards, ProcessTable* processes, Clock now_us,
                uint64_t* layout);

  LockOwner ThreadOwner(const Caller& caller) const {
    const bool is_main = caller.thread == main_thread_.load(std::memory_order_relaxed);
    return {OwnerWith(is_main ? lock_word::kMainToken : caller.thread + 2), caller.thread, 0};
  }
  uint64_t OwnerWith(uint32_t token) const { return lock_word::WithToken(own_process_, token); }
  // From here on this thread is the one whose JavaScript may take locks without a call.
  // REQUIRES: it holds none, and no other thread of this process is or was it.
  void ActAsMain(const Caller& caller) { main_thread_.store(caller.thread, std::memory_order_relaxed); }
  // A token that no other hold of this process has.
  LockOwner NewOwner(const Caller& caller, uint32_t parent);

  // Takes the lock if that needs no waiting: kOk, kBusy, kHeld. `again`: a
  // thread that has it may take it once more.
  Status TryLock(uint32_t lock, const LockOwner& owner, bool again = false) {
    UserLock& row = locks_[lock];
    uint64_t word = 0;
    if (!row.word.compare_exchange_strong(word, owner.word, std::memory_order_acquire)) {
      if (Status status = TakeUnusual(row, word, owner, again); status != Status::kOk) return status;
      if (lock_word::OwnerOf(word) == owner.word) return Status::kOk;  // once more: the note is there
    }
    NoteOwner(row, owner);
    return Status::kOk;
  }
  Status TryShare(uint32_t lock, const LockOwner& owner, const Caller& caller);

  // Blocks the calling thread for at most `timeout_us`. kOk, kBusy (the time
  // is over), kHeld, kDeadlock, kFull (too many wait).
  Status Lock(uint32_t lock, const LockOwner& owner, Share share, uint64_t timeout_us, const Caller& caller,
              bool again = false);

  // Queues for it without blocking. kOk: it was free, and is ours. kBusy:
  // `*record` waits; Look at it from time to time. kFull, kHeld.
  Status Enqueue(uint32_t lock, const LockOwner& owner, Share share, bool async, const Caller& caller,
                 RecordIndex* record);
  // kOk: ours, and the record is done with. kBusy: not yet. kDeadlock: not any
  // more. `doubtful`: see to it that the present holder lives.
  Status Look(RecordIndex record, const Caller& caller, bool doubtful);
  // Gives up: kOk if it was ours already, kNotFound if it is not, kBusy if
  // somebody stands in the way: try again.
  Status Leave(RecordIndex record, const Caller& caller);
  bool Rung(RecordIndex record) const { return records_[record - 1].bell.load(std::memory_order_acquire) != 0; }

  // kOk, kNotOwner.
  Status Unlock(uint32_t lock, uint64_t owner, const Caller& caller) {
    UserLock& row = locks_[lock];
    uint64_t word = owner;
    if (row.word.load(std::memory_order_relaxed) != owner || row.note_depth.load(std::memory_order_relaxed) != 1)
      return UnlockUnusual(lock, owner, caller);
    NoteEnd(row);
    if (row.word.compare_exchange_strong(word, 0, std::memory_order_release)) return Status::kOk;
    return UnlockUnusual(lock, owner, caller);
  }
  Status Unshare(uint32_t lock, uint64_t owner, const Caller& caller);

  // Held by anybody alive?
  bool IsLocked(uint32_t lock, const Caller& caller);
  // Held by `owner`, who got it from a dead one?
  bool Inherited(uint32_t lock, uint64_t owner) const;

  // The lock of that name, made if there is none. kFull, kKeyTooLong, kKeyEmpty;
  // kExists: there is one, of another kind.
  Status Named(const std::string& name, uint32_t kind, const Caller& caller, uint32_t* lock);

  // The right to compute something, until it is ended or its owner dies; nobody takes it from
  // a process that is stopped. kOk; kBusy: somebody has it, and `*wait` tells whom to wait for
  // (turn 0: the lock of the names is stuck); kFull: there are as many already as can be.
  Status TakeLease(const LeaseSubject& subject, const LockOwner& owner, const Caller& caller, LeaseWait* wait);
  void EndLease(uint64_t owner);
  // `doubtful`: see to it that its owner lives.
  bool LeaseIsOver(const LeaseWait& wait, bool doubtful);

  // Releases all that `process`, which is dead, held and waited for. It goes by
  // slot and generation: somebody new may be in the slot by the time this gets
  // there. False: something is busy; call again. Idempotent.
  bool Bury(uint64_t process, const Caller& caller);
  // The same for everybody who is dead by now.
  bool BuryGone(const Caller& caller);
  // The same for whoever was in `slot`. REQUIRES: its life mutex, and that the slot
  // is not free yet, so that nobody new can be there.
  bool BurySlot(uint32_t slot, const Caller& caller);
  // The same for one thread of this process, which ends.
  bool LeaveThread(const Caller& caller);

  // What JavaScript may see (src/locks/lent.ts): all from the header to the last lock.
  struct Lent {
    void* bytes;
    size_t size, locks_at, tick_at;
  };
  Lent Lend() const {
    auto at = [this](const void* what) {
      return static_cast<size_t>(static_cast<const char*>(what) - reinterpret_cast<const char*>(header_));
    };
    return {header_, at(locks_ + geometry_.most), at(locks_), at(&header_->tick_us)};
  }

  // Where the waiter thread of this process sleeps.
  std::atomic<uint32_t>& OwnBell() { return bells_[processes_->own_slot()].rings; }
  static void Sleep(std::atomic<uint32_t>& bell, uint32_t seen, uint64_t at_most_us);
  void Ring(std::atomic<uint32_t>& bell);

  // Those who wait for each other and will for ever, the waits older than `old_us` only.
  std::vector<Circle> Circles(uint64_t old_us) const;
  // Makes the youngest of a circle fail. False: it has moved on.
  bool Break(const CircleLink& youngest, const Caller& caller);

  void Tick() { header_->tick_us.store(now_us_(), std::memory_order_relaxed); }
  uint32_t used() const;
  const UserLocksGeometry& geometry() const { return geometry_; }
  const UserLock& row(uint32_t lock) const { return locks_[lock]; }
  std::string NameOf(uint32_t lock) const;
  // The pid that has it (one of those that share it), or 0.
  uint32_t HolderOf(uint32_t lock) const;
  std::vector<LockFigures> Figures() const;
  // Of the locks of the engine that guard their queues and their names.
  uint32_t GuardHolder() const;
  LockCounts CountsOfGuards() const { return guards_->CountsOf(geometry_.first_lock, geometry_.engine_locks()); }
  Segment& segment() { return segment_; }

  // The first invariant that does not hold, or nothing. Nobody may be at work.
  std::string Check() const;

  void Repair(uint32_t guard, uint32_t, const Caller& caller) override;

 private:
  friend class UserLocksCheck;
  friend class WaitGraph;

  void Place();
  uint32_t GuardOf(uint32_t lock) const { return geometry_.first_lock + lock % geometry_.guards(); }
  uint32_t NamesGuard() const { return geometry_.first_lock + geometry_.guards(); }

  // For an owner that took it more than once, and where others wait.
  Status UnlockUnusual(uint32_t lock, uint64_t owner, const Caller& caller);
  // Takes a word that is not plainly free, if it may be taken; leaves it in `word`.
  Status TakeUnusual(UserLock& row, uint64_t& word, const LockOwner& owner, bool again);
  void NoteOwner(UserLock& row, const LockOwner& owner) {
    row.note_thread.store(owner.thread, std::memory_order_relaxed);
    row.note_parent.store(owner.parent, std::memory_order_relaxed);
    row.note_depth.store(1, std::memory_order_relaxed);
    row.since_us.store(header_->tick_us.load(std::memory_order_relaxed), std::memory_order_relaxed);
    row.acquisitions.store(row.acquisitions.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    row.note_token.store(lock_word::TokenOf(owner.word), std::memory_order_release);
  }
  void NoteEnd(UserLock& row) {
    const uint64_t since = row.since_us.load(std::memory_order_relaxed);
    const uint64_t now = header_->tick_us.load(std::memory_order_relaxed);
    if (__builtin_expect(now != since, 0) && since != 0 && now > since &&
        now - since > row.longest_hold_us.load(std::memory_order_relaxed))
      row.longest_hold_us.store(now - since, std::memory_order_relaxed);
    row.note_token.store(0, std::memory_order_relaxed);
  }
  void NoteWait(UserLock& row, const WaitRecord& record);

  // True if waiting would be for itself.
  bool WaitsForItself(const UserLock& row, const LockOwner& owner, bool blocks) const;
  RecordIndex ClaimRecord(const LockOwner& owner);
  void FreeRecord(WaitRecord& record);
  Status Obtain(UserLock& row, WaitRecord& record);

  // All of these: REQUIRES the lock's guard (user_locks_queue.cpp).
  void Append(UserLock& row, RecordIndex index);
  void Unqueue(UserLock& row, RecordIndex index);
  void UnqueueSharer(UserLock& row, RecordIndex index);
  void SetWaiters(UserLock& row);
  void DropDone(UserLock& row);
  void Serve(UserLock& row);
  bool ServeFirst(UserLock& row, RecordIndex index);
  void WakeOne(UserLock& row);
  bool EnterShared(UserLock& row, WaitRecord& record, RecordIndex index);
  void LetSharersGo(UserLock& row);
  bool DropRecord(RecordIndex index, uint64_t owner, const Caller& caller);
  template <class Mine>
  bool ReleaseAll(Mine mine, const Caller& caller);
  void NoteDeath(UserLock& row, uint64_t owner, uint64_t since_us);

  bool DropLease(Lease& lease, uint64_t owner);
  void RingForLeases();
  uint32_t leases_used() const;

  bool Gone(uint64_t owner) const;
  bool BuryHolders(uint32_t lock, const Caller& caller);
  void RingFor(WaitRecord& record);

  // nullptr: no such record.
  WaitRecord* RecordAt(RecordIndex index) const {
    return index == 0 || index > records_count_ ? nullptr : &records_[index - 1];
  }
  uint32_t records_used() const;
  bool IsDirect(const UserLock& row) const { return row.kind.load(std::memory_order_relaxed) != 0; }

  Segment segment_;
  UserLocksGeometry geometry_{};
  LockTable* guards_ = nullptr;
  ProcessTable* processes_ = nullptr;
  Clock now_us_ = nullptr;
  UserLocksHeader* header_ = nullptr;
  Bell* bells_ = nullptr;
  UserLock* locks_ = nullptr;
  WaitRecord* records_ = nullptr;
  Lease* leases_ = nullptr;
  uint32_t records_count_ = 0;
  uint64_t own_process_ = 0;  // slot and generation, as in a word
  std::atomic<uint32_t> main_thread_{UINT32_MAX};
  std::atomic<uint32_t> tokens_{0};

 public:
  // Once this process has its slot.
  void Enter() {
    const uint32_t slot = processes_->own_slot();
    own_process_ = lock_word::Make(slot, processes_->process(slot).generation.load(), 0);
  }
};

}  // namespace uwshm
