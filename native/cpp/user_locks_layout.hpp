// The locks that applications take, byte for byte, as every process maps them.
//
//   0 ─────────────┬────────────────────────────────────────────────────┐
//     SegmentHeader│ geometry: numbered, most, processes, first guard   │
//   128 ───────────┼────────────────────────────────────────────────────┤
//     Header       │ locks, records, leases ever used; tickets     64 B │
//   ───────────────┼────────────────────────────────────────────────────┤
//     Bell ×       │ per process: its waiter thread sleeps here    64 B │
//     UserLock ×   │ word, holder's note, queue; figures; name    256 B │
//     WaitRecord × │ who waits for a lock, or shares one           64 B │
//     Lease ×      │ who computes what a key shall hold            64 B │
//   ───────────────┴────────────────────────────────────────────────────┘
//
// A user lock may be held across an `await`, by a process that does other
// things meanwhile; so it is no mutex but a *word*:
//
//   63                   32 31       16 15         3   2   1   0
//   ┌──────────────────────┬───────────┬────────────┬───┬───┬───┐
//   │ token ^ 1            │ process+1 │ generation │ S │ A │ W │
//   └──────────────────────┴───────────┴────────────┴───┴───┴───┘
//
//   W  somebody is queued: whoever lets go serves the queue
//   A  its previous owner died with it; stays while the next one holds it
//   S  shared: no owner above, its holders are the records on `sharers`
//
// The owner is a process slot of one generation (process_table.hpp) and, in it,
// a token: a thread, or one asynchronous hold. Nobody else may unlock.
//
// A process's main thread has token 1, so that its name fits the low half. JavaScript
// takes and lets go by a compare-and-swap of that half (src/locks/lent.ts), which is
// as good as one of the whole word: no owner leaves the low half 0, so where it is 0
// nobody is in the high half; and nobody but the owner changes who is the owner.
//
// True whenever the guard of a lock is free (user_locks_check.cpp walks all):
//   U1  The word is free, owned or shared, and never owned and shared.
//   U2  A record with an owner is unqueued, or on the one list its state says:
//       waiting and done on the queue of its lock, holding on the sharers.
//   U3  The queue is in the order of tickets; W is set while it is not empty.
//   U4  S is set exactly while there are sharers.
//   U5  Names of locks 0..used are set, and no two are equal.
//   U6  No two leases with an owner have one subject.
//
// **The records are the truth, the lists an index.** A lock changes hands by one
// compare-and-swap of its word, mostly with no guard taken. Lists change under
// the guard only. A process may die between any two stores:
//   before the swap    nothing happened: the record of a dead waiter is dropped.
//   after the swap     the word names a dead process. Whoever waits, the watcher
//                      or the reclaimer sets the word to A, and serves the queue.
//   inside the guard   the next to take it builds the lists of its locks anew
//                      from the records; that can be done any number of times.
//   after letting go, before serving   W stands on a free lock: waiters look
//                      again by themselves, at least four times a second.
//   while making a name   `locks_used` was not raised: nothing happened.
// A lease is taken under the lock of the names, and `owner` is stored last: before that
// nothing happened, after it the lease is a dead process's. It is ended by one store, with
// no lock. Whoever waits looks again by himself if nobody is left to ring.
// The note (thread, parent, depth, since) is written by the owner after the
// swap; it is believed only while its token is the word's.
//
// Whatever is read here is checked: an index against its table, a walk against
// the number of records. Changed what a byte means? Raise kUserLocksLayout.
#pragma once

#include <atomic>
#include <cstdint>

#include "segment.hpp"

namespace uwshm {

namespace lock_word {
constexpr uint64_t kWaiters = 1, kAbandoned = 2, kShared = 4;
constexpr uint64_t kFlags = kWaiters | kAbandoned | kShared;
constexpr uint32_t kGenerationBits = 13;
constexpr uint32_t kMainToken = 1;  // 0 is no token

constexpr uint64_t OwnerOf(uint64_t word) { return word & ~kFlags; }
constexpr bool IsFree(uint64_t word) { return (word & ~(kWaiters | kAbandoned)) == 0; }
// Generations are told apart as far as they fit here: a slot has thousands of lives before two are alike.
constexpr uint32_t Generation(uint32_t generation) { return generation & ((1u << kGenerationBits) - 1); }
// The same process under another token.
constexpr uint64_t WithToken(uint64_t word, uint32_t token) {
  return uint64_t{token ^ kMainToken} << 32 | (word & UINT32_MAX & ~kFlags);
}
constexpr uint64_t Make(uint32_t slot, uint32_t generation, uint32_t token) {
  return WithToken(uint64_t{slot + 1} << 16 | Generation(generation) << 3, token);
}
constexpr uint32_t SlotOf(uint64_t word) { return (static_cast<uint32_t>(word) >> 16) - 1; }
constexpr uint32_t GenerationOf(uint64_t word) { return Generation(static_cast<uint32_t>(word) >> 3); }
constexpr uint32_t TokenOf(uint64_t word) { return static_cast<uint32_t>(word >> 32) ^ kMainToken; }
// Slot and generation, without the token.
constexpr uint64_t ProcessOf(uint64_t word) { return static_cast<uint32_t>(word) >> 3; }
}  // namespace lock_word

struct UserLocksHeader {
  alignas(64) std::atomic<uint32_t> locks_used;
  std::atomic<uint32_t> records_used;  // ever: walks stop there
  std::atomic<uint64_t> tickets;       // the last one drawn
  // A clock of 100 ms that the master's watcher moves: reading a real one would
  // cost as much as taking the lock.
  std::atomic<uint64_t> tick_us;
  std::atomic<uint32_t> leases_used;  // ever
  uint32_t unused;
  uint64_t spare[4];
};
static_assert(sizeof(UserLocksHeader) == 64);

struct Bell {
  alignas(64) std::atomic<uint32_t> rings;
  std::atomic<uint32_t> awaits;  // it was ever told of leases: it is rung for when one ends
  uint32_t spare[14];
};
static_assert(sizeof(Bell) == 64);

using RecordIndex = uint32_t;  // index + 1; 0 = none

struct UserLock {
  enum Kind : uint32_t { kFair = 1, kReadWrite = 2 };

  alignas(64) std::atomic<uint64_t> word;
  std::atomic<uint32_t> note_token, note_thread, note_parent, note_depth;
  std::atomic<uint64_t> since_us;  // by the tick; 0 = unknown
  std::atomic<uint64_t> acquisitions;
  std::atomic<RecordIndex> first, last;  // the queue
  std::atomic<RecordIndex> sharers;
  std::atomic<uint32_t> kind;

  alignas(64) std::atomic<uint64_t> contended;
  std::atomic<uint64_t> waited_us;
  std::atomic<uint64_t> longest_hold_us;
  std::atomic<uint64_t> recoveries;
  // Of the last recovery, for the log, whoever found the dead: its pid and
  // worker id, and since when it had the lock.
  std::atomic<uint64_t> dead_since_us;
  std::atomic<uint32_t> dead_pid, dead_worker;
  uint64_t spare[2];

  char name[128];
};
static_assert(sizeof(UserLock) == 256);

struct WaitRecord {
  enum State : uint32_t {
    kUnqueued = 0,
    kWaiting,
    kDone,     // still queued, but it waits no longer: dropped at the next look
    kGranted,  // unqueued, and the word names it
    kHolding,  // shares the lock
  };
  enum Flags : uint32_t { kWantsShared = 1, kAsync = 2 };
  enum Bell : uint32_t { kRung = 1, kDeadlock = 2 };  // it was chosen to give way

  alignas(64) std::atomic<uint64_t> owner;  // as in a word; 0 = the record is free
  std::atomic<uint64_t> ticket;             // order of arrival
  std::atomic<uint64_t> since_us;           // exact
  std::atomic<uint64_t> woken_us;           // when it was last rung for, 0 = it has looked since
  std::atomic<uint32_t> state, lock, flags;
  std::atomic<RecordIndex> next, previous;
  std::atomic<uint32_t> thread, parent;  // as in a note
  std::atomic<uint32_t> bell;            // the futex of whoever blocks: kRung, kDeadlock
};
static_assert(sizeof(WaitRecord) == 64);

struct Lease {
  alignas(64) std::atomic<uint64_t> owner;  // as in a word; 0 = nobody
  std::atomic<uint64_t> subject[2];         // a cache and a key of it, hashed
  std::atomic<uint64_t> turn;               // a ticket: which of all that had this place
  std::atomic<uint32_t> thread;             // as in a note
  std::atomic<uint32_t> awaited;            // somebody wants to know of its end
  uint64_t spare[3];
};
static_assert(sizeof(Lease) == 64);

struct UserLocksGeometry {
  uint32_t numbered;    // locks 0..numbered-1 exist from the start
  uint32_t most;        // numbered and named together
  uint32_t processes;   // process slots
  uint32_t first_lock;  // in the lock table: the guards, then the lock of the names

  static constexpr uint32_t kRecordsPerLock = 16;
  uint32_t guards() const { return most < 64 ? most : 64; }
  uint32_t engine_locks() const { return guards() + 1; }
  uint32_t records() const { return most * kRecordsPerLock; }
  uint32_t leases() const { return most; }
  uint64_t size() const {
    return sizeof(SegmentHeader) + sizeof(UserLocksHeader) + uint64_t{processes} * sizeof(Bell) +
           uint64_t{most} * sizeof(UserLock) + uint64_t{records()} * sizeof(WaitRecord) +
           uint64_t{leases()} * sizeof(Lease);
  }
};

constexpr uint64_t kUserLocksLayout =
    LayoutNumber(2, {sizeof(SegmentHeader), sizeof(UserLocksHeader), sizeof(Bell), sizeof(UserLock), sizeof(WaitRecord),
                     sizeof(Lease), lock_word::kGenerationBits, UserLocksGeometry::kRecordsPerLock});

}  // namespace uwshm
