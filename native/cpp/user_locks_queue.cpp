// The queue of a user lock, and what death does to it. Everything here is done
// under the lock's guard; user_locks_layout.hpp says what a death leaves.
#include <algorithm>

#include "user_locks.hpp"

namespace uwshm {

using namespace lock_word;

namespace {

// Whoever was woken and has not looked for so long is not coming soon: stopped,
// or waiting for a processor behind many. The next one is woken as well.
constexpr uint64_t kOnItsWayUs = 5000;

}  // namespace

void UserLocks::Append(UserLock& row, RecordIndex index) {
  WaitRecord& record = records_[index - 1];
  const RecordIndex last = row.last.load();
  record.next.store(0);
  record.previous.store(last);
  if (WaitRecord* before = RecordAt(last)) before->next.store(index);
  else row.first.store(index);
  row.last.store(index);
}

void UserLocks::Unqueue(UserLock& row, RecordIndex index) {
  WaitRecord& record = records_[index - 1];
  const RecordIndex next = record.next.load(), previous = record.previous.load();
  if (WaitRecord* before = RecordAt(previous)) before->next.store(next);
  else row.first.store(next);
  if (WaitRecord* after = RecordAt(next)) after->previous.store(previous);
  else row.last.store(previous);
}

void UserLocks::UnqueueSharer(UserLock& row, RecordIndex index) {
  WaitRecord& record = records_[index - 1];
  const RecordIndex next = record.next.load(), previous = record.previous.load();
  if (WaitRecord* before = RecordAt(previous)) before->next.store(next);
  else row.sharers.store(next);
  if (WaitRecord* after = RecordAt(next)) after->previous.store(previous);
}

void UserLocks::SetWaiters(UserLock& row) {
  if (row.first.load() != 0) row.word.fetch_or(kWaiters);
  else row.word.fetch_and(~kWaiters);
}

void UserLocks::LetSharersGo(UserLock& row) {
  if (row.sharers.load() == 0) row.word.fetch_and(~kShared);
}

// False: somebody has it alone.
bool UserLocks::EnterShared(UserLock& row, WaitRecord& record, RecordIndex index) {
  uint64_t word = row.word.load();
  do
    if (!IsFree(word) && !(word & kShared)) return false;
  while (!row.word.compare_exchange_weak(word, word | kShared));
  if (record.state.load() == WaitRecord::kWaiting) Unqueue(row, index);
  row.acquisitions.store(row.acquisitions.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const RecordIndex first = row.sharers.load();
  record.next.store(first);
  record.previous.store(0);
  record.state.store(WaitRecord::kHolding, std::memory_order_release);
  if (WaitRecord* other = RecordAt(first)) other->previous.store(index);
  row.sharers.store(index);
  return true;
}

// Also behind somebody who waits and does not go on: they would use up all records.
void UserLocks::DropDone(UserLock& row) {
  uint32_t steps = 0;
  for (RecordIndex index = row.first.load(); WaitRecord* record = RecordAt(index);) {
    if (steps++ > records_count_) return;
    const RecordIndex next = record->next.load();
    if (record->state.load(std::memory_order_acquire) != WaitRecord::kWaiting) {
      Unqueue(row, index);
      FreeRecord(*record);
    }
    index = next;
  }
}

// Gives the lock to whom it is due, as far as it can be given.
void UserLocks::Serve(UserLock& row) {
  DropDone(row);
  for (uint32_t steps = 0; steps <= 2 * records_count_; steps++) {
    const RecordIndex index = row.first.load();
    if (RecordAt(index) == nullptr || !ServeFirst(row, index)) break;
  }
  SetWaiters(row);
}

// True: the queue has moved on.
bool UserLocks::ServeFirst(UserLock& row, RecordIndex index) {
  WaitRecord& record = records_[index - 1];
  const bool shared = record.flags.load(std::memory_order_relaxed) & WaitRecord::kWantsShared;
  uint64_t word = row.word.load();
  if (!IsFree(word) && !(shared && (word & kShared))) return false;
  if (!IsDirect(row)) return WakeOne(row), false;

  const uint64_t owner = record.owner.load();
  if (Gone(owner)) {
    Unqueue(row, index);
    FreeRecord(record);
    return true;
  }
  if (shared) {
    if (!EnterShared(row, record, index)) return false;
    RingFor(record);
    return true;
  }
  while (IsFree(word) && !row.word.compare_exchange_weak(word, word | owner)) {
  }
  if (!IsFree(word)) return false;
  // From here on it has the lock, whether we live to tell it or not.
  Unqueue(row, index);
  uint32_t waiting = WaitRecord::kWaiting;
  if (!record.state.compare_exchange_strong(waiting, WaitRecord::kGranted)) FreeRecord(record);  // it has seen it
  else RingFor(record);
  return false;
}

void UserLocks::WakeOne(UserLock& row) {
  const uint64_t now = now_us_();
  uint32_t steps = 0;
  for (RecordIndex index = row.first.load(); WaitRecord* record = RecordAt(index);) {
    if (steps++ > records_count_) return;
    const RecordIndex next = record->next.load();
    const uint64_t woken = record->woken_us.load(std::memory_order_relaxed);
    if (record->state.load() == WaitRecord::kWaiting) {
      if (woken == 0) {
        record->woken_us.store(now, std::memory_order_relaxed);
        return RingFor(*record);
      }
      if (now - woken < kOnItsWayUs) return;
    }
    index = next;
  }
}

void UserLocks::Repair(uint32_t guard, uint32_t, const Caller&) {
  if (guard == NamesGuard()) return;
  const uint32_t stripe = guard - geometry_.first_lock, stripes = geometry_.guards(), locks = used();
  for (uint32_t lock = stripe; lock < locks; lock += stripes)
    locks_[lock].first.store(0), locks_[lock].last.store(0), locks_[lock].sharers.store(0);

  std::vector<std::pair<uint64_t, RecordIndex>> listed;
  for (uint32_t i = 0; i < records_used(); i++) {
    const uint32_t lock = records_[i].lock.load(), state = records_[i].state.load();
    if (records_[i].owner.load() != 0 && lock < locks && lock % stripes == stripe &&
        (state == WaitRecord::kWaiting || state == WaitRecord::kDone || state == WaitRecord::kHolding))
      listed.emplace_back(records_[i].ticket.load(), i + 1);
  }
  std::sort(listed.begin(), listed.end());
  for (const auto& [ticket, index] : listed) {
    WaitRecord& record = records_[index - 1];
    UserLock& row = locks_[record.lock.load()];
    const uint64_t word = row.word.load(), owner = record.owner.load();
    uint32_t waiting = WaitRecord::kWaiting;
    if (record.state.load() == WaitRecord::kHolding) {
      const RecordIndex first = row.sharers.load();
      record.next.store(first), record.previous.store(0);
      if (WaitRecord* other = RecordAt(first)) other->previous.store(index);
      row.sharers.store(index);
    } else if (OwnerOf(word) == owner && !(word & kShared) && IsDirect(row)) {
      // It was given the lock, and is told by nobody: it will look.
      if (!record.state.compare_exchange_strong(waiting, WaitRecord::kGranted)) FreeRecord(record);
    } else {
      Append(row, index);
    }
  }
  for (uint32_t lock = stripe; lock < locks; lock += stripes) {
    UserLock& row = locks_[lock];
    if (row.sharers.load() != 0 && OwnerOf(row.word.load()) == 0) row.word.fetch_or(kShared);
    LetSharersGo(row);
    Serve(row);
  }
}

// A repair or another who buries may have dropped it already, and somebody alive have
// claimed it: it goes only while it is `owner`'s, who being dead claims none any more.
bool UserLocks::DropRecord(RecordIndex index, uint64_t owner, const Caller& caller) {
  WaitRecord& record = records_[index - 1];
  const uint32_t lock = record.lock.load();
  // Claimed, and never queued.
  if (lock >= used()) return record.owner.compare_exchange_strong(owner, 0), true;
  Guard guard(*guards_, GuardOf(lock), caller, *this);
  if (guard.status() != Status::kOk) return false;
  if (record.owner.load() != owner) return true;
  UserLock& row = locks_[lock];
  switch (record.state.load()) {
    case WaitRecord::kWaiting:
    case WaitRecord::kDone: Unqueue(row, index), SetWaiters(row); break;
    case WaitRecord::kHolding:
      UnqueueSharer(row, index);
      NoteDeath(row, owner, 0);
      LetSharersGo(row);
      break;
    default: break;
  }
  FreeRecord(record);
  return true;
}

// `mine` tells by owner and thread what is to go. First the records, so that
// nothing is given to whoever they belong to; then the words.
template <class Mine>
bool UserLocks::ReleaseAll(Mine mine, const Caller& caller) {
  bool settled = true, ended = false;
  for (uint32_t i = 0; i < leases_used(); i++) {
    const uint64_t owner = leases_[i].owner.load(std::memory_order_acquire);
    if (owner != 0 && mine(owner, leases_[i].thread.load(std::memory_order_relaxed)))
      ended = DropLease(leases_[i], owner) || ended;
  }
  if (ended) RingForLeases();
  for (uint32_t i = 0; i < records_used(); i++) {
    const uint64_t owner = records_[i].owner.load(std::memory_order_acquire);
    if (owner == 0 || !mine(owner, records_[i].thread.load(std::memory_order_relaxed))) continue;
    settled = DropRecord(i + 1, owner, caller) && settled;
  }
  for (uint32_t lock = 0; lock < used(); lock++) {
    UserLock& row = locks_[lock];
    const bool is_noted = row.note_token.load(std::memory_order_acquire) == TokenOf(row.word.load());
    auto is_mine = [&](uint64_t word) {
      return OwnerOf(word) != 0 && !(word & kShared) &&
             mine(OwnerOf(word), is_noted ? row.note_thread.load(std::memory_order_relaxed) : UINT32_MAX);
    };
    uint64_t word = row.word.load(std::memory_order_acquire);
    if (!is_mine(word) && (!(word & kWaiters) || (OwnerOf(word) != 0 && !(word & kShared)))) continue;
    Guard guard(*guards_, GuardOf(lock), caller, *this);
    if (guard.status() != Status::kOk) {
      settled = false;
      continue;
    }
    word = row.word.load();
    if (is_mine(word)) {
      NoteDeath(row, word, is_noted ? row.since_us.load() : 0);
      row.note_token.store(0);
      while (is_mine(word) && !row.word.compare_exchange_weak(word, (word & kWaiters) | kAbandoned)) {
      }
    }
    Serve(row);
  }
  return settled;
}

void UserLocks::NoteDeath(UserLock& row, uint64_t owner, uint64_t since_us) {
  if (const uint32_t slot = SlotOf(owner); slot < geometry_.processes) {
    row.dead_pid.store(processes_->process(slot).pid);
    row.dead_worker.store(processes_->process(slot).worker);
  }
  row.dead_since_us.store(since_us);
  row.recoveries.fetch_add(1);
}

bool UserLocks::Bury(uint64_t process, const Caller& caller) {
  return ReleaseAll([process](uint64_t owner, uint32_t) { return ProcessOf(owner) == process; }, caller);
}

bool UserLocks::BuryGone(const Caller& caller) {
  return ReleaseAll([this](uint64_t owner, uint32_t) { return Gone(owner); }, caller);
}

bool UserLocks::BurySlot(uint32_t slot, const Caller& caller) {
  return ReleaseAll([slot](uint64_t owner, uint32_t) { return SlotOf(owner) == slot; }, caller);
}

bool UserLocks::LeaveThread(const Caller& caller) {
  auto mine = [this, &caller](uint64_t owner, uint32_t thread) {
    return ProcessOf(owner) == ProcessOf(own_process_) &&
           (thread == caller.thread || owner == ThreadOwner(caller).word);
  };
  return ReleaseAll(mine, caller);
}

bool UserLocks::BuryHolders(uint32_t lock, const Caller& caller) {
  std::vector<uint64_t> dead;
  {
    Guard guard(*guards_, GuardOf(lock), caller, *this);
    if (guard.status() != Status::kOk) return false;
    uint32_t steps = 0;
    RecordIndex index = locks_[lock].sharers.load();
    for (WaitRecord* record; (record = RecordAt(index)) != nullptr && steps++ < records_count_;
         index = record->next.load())
      if (Gone(record->owner.load())) dead.push_back(ProcessOf(record->owner.load()));
  }
  bool settled = true;
  for (uint64_t process : dead) settled = Bury(process, caller) && settled;
  return settled;
}

bool UserLocks::WaitsForItself(const UserLock& row, const LockOwner& owner, bool blocks) const {
  auto itself = [&](uint64_t word, uint32_t thread) {
    return OwnerOf(word) == owner.word ||
           (blocks && ProcessOf(word) == ProcessOf(owner.word) && thread == owner.thread);
  };
  const uint64_t word = row.word.load();
  if (!(word & kShared)) {
    if (OwnerOf(word) == 0) return false;
    return itself(word, row.note_token.load() == TokenOf(word) ? row.note_thread.load() : UINT32_MAX);
  }
  uint32_t steps = 0;
  RecordIndex index = row.sharers.load();
  for (WaitRecord* record; (record = RecordAt(index)) != nullptr && steps++ < records_count_;
       index = record->next.load())
    if (itself(record->owner.load(), record->thread.load())) return true;
  return false;
}

}  // namespace uwshm
