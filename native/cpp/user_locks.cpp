#include "user_locks.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <ctime>

namespace uwshm {

using namespace lock_word;

namespace {

// About a microsecond: as long as it takes another processor to finish a short hold.
constexpr int kSpins = 40;

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void UserLocks::Place() {
  header_ = segment_.At<UserLocksHeader>(sizeof(SegmentHeader));
  bells_ = reinterpret_cast<Bell*>(header_ + 1);
  locks_ = reinterpret_cast<UserLock*>(bells_ + geometry_.processes);
  records_ = reinterpret_cast<WaitRecord*>(locks_ + geometry_.most);
  records_count_ = geometry_.records();
  leases_ = reinterpret_cast<Lease*>(records_ + records_count_);
}

Status UserLocks::Create(InstanceId instance, const UserLocksGeometry& geometry, LockTable* guards,
                         ProcessTable* processes, Clock now_us) {
  SegmentSpec spec{"uwshm:user locks",
                   SegmentKind::kUserLocks,
                   0,
                   kUserLocksLayout,
                   instance,
                   geometry.size(),
                   {geometry.numbered, geometry.most, geometry.processes, geometry.first_lock}};
  Status status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  geometry_ = geometry, guards_ = guards, processes_ = processes, now_us_ = now_us;
  Place();
  header_->locks_used.store(geometry.numbered, std::memory_order_release);
  return Status::kOk;
}

Status UserLocks::Attach(int fd, InstanceId instance, LockTable* guards, ProcessTable* processes, Clock now_us,
                         uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kUserLocks, 0, kUserLocksLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  for (int i = 0; i < 4; i++)
    if (spec.geometry[i] > UINT32_MAX / 2) return Status::kForeign;
  geometry_ = {static_cast<uint32_t>(spec.geometry[0]), static_cast<uint32_t>(spec.geometry[1]),
               static_cast<uint32_t>(spec.geometry[2]), static_cast<uint32_t>(spec.geometry[3])};
  if (geometry_.most == 0 || geometry_.numbered > geometry_.most || geometry_.size() != spec.size ||
      geometry_.processes != processes->geometry().processes ||
      uint64_t{geometry_.first_lock} + geometry_.engine_locks() > guards->count())
    return Status::kForeign;
  guards_ = guards, processes_ = processes, now_us_ = now_us;
  Place();
  return Status::kOk;
}

uint32_t UserLocks::used() const {
  const uint32_t used = header_->locks_used.load(std::memory_order_acquire);
  return used < geometry_.most ? used : geometry_.most;
}

uint32_t UserLocks::records_used() const {
  const uint32_t used = header_->records_used.load(std::memory_order_acquire);
  return used < records_count_ ? used : records_count_;
}

LockOwner UserLocks::NewOwner(const Caller& caller, uint32_t parent) {
  // Above the tokens of threads.
  constexpr uint32_t kFirst = 1u << 18;
  const uint32_t token = kFirst + tokens_.fetch_add(1, std::memory_order_relaxed) % (UINT32_MAX - kFirst);
  return {OwnerWith(token), caller.thread, parent};
}

Status UserLocks::TakeUnusual(UserLock& row, uint64_t& word, const LockOwner& owner, bool again) {
  for (;;) {
    if (OwnerOf(word) == owner.word && !(word & kShared)) {
      if (!again) return Status::kHeld;
      row.note_depth.store(row.note_depth.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return Status::kOk;
    }
    // With W on a free lock somebody is about to serve the queue.
    if (!IsFree(word) || ((word & kWaiters) && IsDirect(row))) return Status::kBusy;
    if (row.word.compare_exchange_weak(word, word | owner.word, std::memory_order_acquire)) return Status::kOk;
  }
}

Status UserLocks::TryShare(uint32_t lock, const LockOwner& owner, const Caller& caller) {
  UserLock& row = locks_[lock];
  const RecordIndex index = ClaimRecord(owner);
  if (index == 0) return Status::kFull;
  WaitRecord& record = records_[index - 1];
  record.lock.store(lock, std::memory_order_relaxed);
  record.flags.store(WaitRecord::kWantsShared, std::memory_order_relaxed);
  Guard guard(*guards_, GuardOf(lock), caller, *this);
  Status status = guard.status();
  if (status == Status::kOk && WaitsForItself(row, owner, false)) status = Status::kHeld;
  // Nobody overtakes those who wait.
  if (status == Status::kOk && (row.first.load() != 0 || !EnterShared(row, record, index))) status = Status::kBusy;
  if (status != Status::kOk) FreeRecord(record);
  return status;
}

Status UserLocks::Lock(uint32_t lock, const LockOwner& owner, Share share, uint64_t timeout_us, const Caller& caller,
                       bool again) {
  UserLock& row = locks_[lock];
  auto attempt = [&] { return share == Share::kYes ? TryShare(lock, owner, caller) : TryLock(lock, owner, again); };
  Status status = attempt();
  for (int i = 0; i < kSpins && status == Status::kBusy && !IsDirect(row); i++) {
    Relax();
    if (IsFree(row.word.load(std::memory_order_relaxed))) status = attempt();
  }
  if (status != Status::kBusy || timeout_us == 0) return status;

  const uint64_t begun = now_us_(), end = timeout_us > UINT64_MAX - begun ? UINT64_MAX : begun + timeout_us;
  RecordIndex index = 0;
  while (index == 0) {
    status = Enqueue(lock, owner, share, false, caller, &index);
    if (status != Status::kBusy) return status;
    if (index == 0 && now_us_() >= end) return status;  // a guard's owner stands still
  }
  bool doubtful = false;
  for (;;) {
    status = Look(index, caller, doubtful);
    if (status != Status::kBusy) return status;
    const uint64_t now = now_us_();
    if (now >= end) {
      status = Leave(index, caller);
      if (status != Status::kBusy) return status == Status::kNotFound ? Status::kBusy : status;
    }
    const uint64_t left = now < end ? end - now : uint64_t{kLookAgainMs} * 1000;
    Sleep(records_[index - 1].bell, 0, left < kLookAgainMs * 1000 ? left : kLookAgainMs * 1000);
    doubtful = !Rung(index);
  }
}

Status UserLocks::Enqueue(uint32_t lock, const LockOwner& owner, Share share, bool async, const Caller& caller,
                          RecordIndex* out) {
  *out = 0;
  UserLock& row = locks_[lock];
  const RecordIndex index = ClaimRecord(owner);
  if (index == 0) return Status::kFull;
  WaitRecord& record = records_[index - 1];
  record.lock.store(lock, std::memory_order_relaxed);
  const uint32_t wants = share == Share::kYes ? WaitRecord::kWantsShared : 0u;
  record.flags.store(wants | (async ? WaitRecord::kAsync : 0u), std::memory_order_relaxed);
  record.since_us.store(now_us_(), std::memory_order_relaxed);

  Guard guard(*guards_, GuardOf(lock), caller, *this);
  if (guard.status() != Status::kOk || WaitsForItself(row, owner, !async)) {
    FreeRecord(record);
    return guard.status() != Status::kOk ? guard.status() : Status::kHeld;
  }
  if (share == Share::kYes && row.first.load() == 0 && EnterShared(row, record, index)) return Status::kOk;
  record.ticket.store(header_->tickets.fetch_add(1) + 1, std::memory_order_relaxed);
  record.state.store(WaitRecord::kWaiting, std::memory_order_release);
  Append(row, index);
  SetWaiters(row);
  if (IsDirect(row)) Serve(row);  // it may have become free before W was there
  *out = index;
  return Status::kBusy;
}

Status UserLocks::Look(RecordIndex index, const Caller& caller, bool doubtful) {
  WaitRecord& record = records_[index - 1];
  UserLock& row = locks_[record.lock.load(std::memory_order_relaxed)];
  const bool gives_way = record.bell.fetch_and(~uint32_t{WaitRecord::kRung}) & WaitRecord::kDeadlock;
  record.woken_us.store(0, std::memory_order_relaxed);
  if (record.state.load(std::memory_order_acquire) == WaitRecord::kHolding) return NoteWait(row, record), Status::kOk;
  const bool shared = record.flags.load(std::memory_order_relaxed) & WaitRecord::kWantsShared;
  const uint64_t owner = record.owner.load(std::memory_order_relaxed);
  uint64_t word = row.word.load(std::memory_order_acquire);
  while (!shared && !IsDirect(row) && IsFree(word))
    if (row.word.compare_exchange_weak(word, word | owner, std::memory_order_acquire)) word |= owner;
  if (!shared && OwnerOf(word) == owner && !(word & kShared)) return Obtain(row, record);
  if (gives_way) {
    const Status status = Leave(index, caller);
    return status == Status::kNotFound ? Status::kDeadlock : status;
  }
  if (!doubtful) return Status::kBusy;

  const uint32_t lock = record.lock.load(std::memory_order_relaxed);
  if (word & kShared) BuryHolders(lock, caller);
  else if (OwnerOf(word) != 0 && Gone(word)) Bury(ProcessOf(word), caller);
  else if (Guard guard(*guards_, GuardOf(lock), caller, *this, Guard::kTry); guard.status() == Status::kOk)
    Serve(row);  // whoever let go may have died before it did
  return Look(index, caller, false);
}

// The word names us. The record stays queued until somebody who has the guard drops it.
Status UserLocks::Obtain(UserLock& row, WaitRecord& record) {
  const LockOwner owner{record.owner.load(std::memory_order_relaxed), record.thread.load(std::memory_order_relaxed),
                        record.parent.load(std::memory_order_relaxed)};
  NoteOwner(row, owner);
  NoteWait(row, record);
  if (record.state.exchange(WaitRecord::kDone) == WaitRecord::kGranted) FreeRecord(record);
  return Status::kOk;
}

void UserLocks::NoteWait(UserLock& row, const WaitRecord& record) {
  row.contended.fetch_add(1, std::memory_order_relaxed);
  row.waited_us.fetch_add(now_us_() - record.since_us.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

Status UserLocks::Leave(RecordIndex index, const Caller& caller) {
  WaitRecord& record = records_[index - 1];
  const uint32_t lock = record.lock.load(std::memory_order_relaxed);
  UserLock& row = locks_[lock];
  Guard guard(*guards_, GuardOf(lock), caller, *this);
  if (guard.status() != Status::kOk) return Status::kBusy;
  if (record.state.load(std::memory_order_acquire) == WaitRecord::kHolding) return NoteWait(row, record), Status::kOk;
  const uint64_t word = row.word.load(std::memory_order_acquire);
  if (OwnerOf(word) == record.owner.load(std::memory_order_relaxed) && !(word & kShared)) return Obtain(row, record);
  Unqueue(row, index);
  FreeRecord(record);
  Serve(row);  // it may have been woken for nothing, or have stood in the way of readers
  return Status::kNotFound;
}

Status UserLocks::UnlockUnusual(uint32_t lock, uint64_t owner, const Caller& caller) {
  UserLock& row = locks_[lock];
  uint64_t word = row.word.load(std::memory_order_relaxed);
  if (OwnerOf(word) != owner || (word & kShared)) return Status::kNotOwner;
  if (const uint32_t depth = row.note_depth.load(std::memory_order_relaxed); depth > 1) {
    row.note_depth.store(depth - 1, std::memory_order_relaxed);
    return Status::kOk;
  }
  NoteEnd(row);
  while (!row.word.compare_exchange_weak(word, word & kWaiters, std::memory_order_release)) {
  }
  if (!(word & kWaiters)) return Status::kOk;
  // Dying here, or finding the guard taken by somebody who stands still: see Look.
  Guard guard(*guards_, GuardOf(lock), caller, *this);
  if (guard.status() == Status::kOk) Serve(row);
  return Status::kOk;
}

Status UserLocks::Unshare(uint32_t lock, uint64_t owner, const Caller& caller) {
  UserLock& row = locks_[lock];
  Guard guard(*guards_, GuardOf(lock), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  uint32_t steps = 0;
  for (RecordIndex index = row.sharers.load(); WaitRecord* record = RecordAt(index); index = record->next.load()) {
    if (steps++ > records_count_) break;
    if (record->owner.load() != owner) continue;
    UnqueueSharer(row, index);
    FreeRecord(*record);
    LetSharersGo(row);
    Serve(row);
    return Status::kOk;
  }
  return Status::kNotOwner;
}

bool UserLocks::IsLocked(uint32_t lock, const Caller& caller) {
  UserLock& row = locks_[lock];
  const uint64_t word = row.word.load(std::memory_order_acquire);
  if (IsFree(word)) return false;
  if (word & kShared) BuryHolders(lock, caller);
  else if (Gone(word)) Bury(ProcessOf(word), caller);
  else return true;
  return !IsFree(row.word.load(std::memory_order_acquire));
}

bool UserLocks::Inherited(uint32_t lock, uint64_t owner) const {
  const uint64_t word = locks_[lock].word.load(std::memory_order_acquire);
  return (word & kAbandoned) && ((word & kShared) || OwnerOf(word) == owner);
}

Status UserLocks::Named(const std::string& name, uint32_t kind, const Caller& caller, uint32_t* lock) {
  if (name.empty()) return Status::kKeyEmpty;
  if (name.size() > kLongestName) return Status::kKeyTooLong;
  auto find = [&] {
    for (uint32_t i = geometry_.numbered; i < used(); i++)
      if (strncmp(locks_[i].name, name.c_str(), sizeof locks_[i].name) == 0) {
        *lock = i;
        return locks_[i].kind.load(std::memory_order_relaxed) == kind ? Status::kOk : Status::kExists;
      }
    return Status::kNotFound;
  };
  if (Status status = find(); status != Status::kNotFound) return status;
  Guard guard(*guards_, NamesGuard(), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  if (Status status = find(); status != Status::kNotFound) return status;
  const uint32_t index = used();
  if (index == geometry_.most) return Status::kFull;
  memcpy(locks_[index].name, name.c_str(), name.size() + 1);
  locks_[index].kind.store(kind, std::memory_order_relaxed);
  header_->locks_used.store(index + 1, std::memory_order_release);
  *lock = index;
  return Status::kOk;
}

std::string UserLocks::NameOf(uint32_t lock) const {
  if (lock < geometry_.numbered) return "user " + std::to_string(lock);
  return "user " + std::string(locks_[lock].name, strnlen(locks_[lock].name, sizeof locks_[lock].name));
}

uint32_t UserLocks::HolderOf(uint32_t lock) const {
  uint64_t word = locks_[lock].word.load(std::memory_order_acquire);
  if (word & kShared) {
    const WaitRecord* record = RecordAt(locks_[lock].sharers.load(std::memory_order_acquire));
    word = record ? record->owner.load(std::memory_order_relaxed) : 0;
  }
  if (OwnerOf(word) == 0 || SlotOf(word) >= geometry_.processes) return 0;
  return processes_->process(SlotOf(word)).pid;
}

std::vector<LockFigures> UserLocks::Figures() const {
  std::vector<LockFigures> all;
  for (uint32_t lock = 0; lock < used(); lock++) {
    const UserLock& row = locks_[lock];
    all.push_back({NameOf(lock), row.kind.load(), HolderOf(lock), 0, row.acquisitions.load(), row.contended.load(),
                   row.waited_us.load(), row.longest_hold_us.load(), row.recoveries.load()});
  }
  for (uint32_t i = 0; i < records_used(); i++) {
    const uint32_t lock = records_[i].lock.load(std::memory_order_relaxed);
    if (records_[i].state.load(std::memory_order_acquire) == WaitRecord::kWaiting && lock < all.size())
      all[lock].waiters++;
  }
  return all;
}

uint32_t UserLocks::GuardHolder() const {
  for (uint32_t i = 0; i < geometry_.engine_locks(); i++)
    if (const uint32_t pid = guards_->HolderOf(geometry_.first_lock + i)) return pid;
  return 0;
}

RecordIndex UserLocks::ClaimRecord(const LockOwner& owner) {
  for (uint32_t i = 0; i < records_count_; i++) {
    WaitRecord& record = records_[i];
    if (record.owner.load(std::memory_order_relaxed) != 0) continue;
    // First the mark, then the claim: who dies in between leaves a free record,
    // not one that no walk finds.
    uint32_t used = header_->records_used.load();
    while (used <= i && !header_->records_used.compare_exchange_weak(used, i + 1)) {
    }
    uint64_t nobody = 0;
    if (!record.owner.compare_exchange_strong(nobody, owner.word, std::memory_order_acquire)) continue;
    record.bell.store(0, std::memory_order_relaxed);
    record.woken_us.store(0, std::memory_order_relaxed);
    record.thread.store(owner.thread, std::memory_order_relaxed);
    record.parent.store(owner.parent, std::memory_order_relaxed);
    return i + 1;
  }
  return 0;
}

void UserLocks::FreeRecord(WaitRecord& record) {
  record.state.store(WaitRecord::kUnqueued, std::memory_order_relaxed);
  record.owner.store(0, std::memory_order_release);
}

bool UserLocks::Gone(uint64_t owner) const {
  const uint32_t slot = SlotOf(owner);
  if (slot >= geometry_.processes) return true;  // nobody can be there
  ProcessSlot& process = processes_->process(slot);
  if (Generation(process.generation.load(std::memory_order_acquire)) != GenerationOf(owner)) return true;
  return slot != processes_->own_slot() && processes_->HasEnded(slot);
}

void UserLocks::Sleep(std::atomic<uint32_t>& bell, uint32_t seen, uint64_t at_most_us) {
  const timespec most{static_cast<time_t>(at_most_us / 1000000), static_cast<long>(at_most_us % 1000000) * 1000};
  syscall(SYS_futex, &bell, FUTEX_WAIT, seen, &most, nullptr, 0);
}

void UserLocks::Ring(std::atomic<uint32_t>& bell) {
  syscall(SYS_futex, &bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void UserLocks::RingFor(WaitRecord& record) {
  record.bell.fetch_or(WaitRecord::kRung, std::memory_order_release);
  const uint32_t slot = SlotOf(record.owner.load(std::memory_order_relaxed));
  if (!(record.flags.load(std::memory_order_relaxed) & WaitRecord::kAsync)) return Ring(record.bell);
  if (slot >= geometry_.processes) return;
  bells_[slot].rings.fetch_add(1, std::memory_order_release);
  Ring(bells_[slot].rings);
}

}  // namespace uwshm
