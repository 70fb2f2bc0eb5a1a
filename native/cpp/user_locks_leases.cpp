// Leases: who computes what a key of a cache shall hold, so that the others wait for him.
//
// No lock, for nobody inherits what is done: a lease ends for all who wait at once, and each
// then finds the value or takes a lease of his own. So a process that was told and does
// not go on holds nobody up. Who is to be told is not recorded by lease: computations end
// seldom, and a process that was rung for nothing looks at a word and sleeps on.
#include "user_locks.hpp"

namespace uwshm {

uint32_t UserLocks::leases_used() const {
  const uint32_t used = header_->leases_used.load(std::memory_order_acquire);
  return used < geometry_.leases() ? used : geometry_.leases();
}

Status UserLocks::TakeLease(const LeaseSubject& subject, const LockOwner& owner, const Caller& caller,
                            LeaseWait* wait) {
  *wait = {0, 0};
  Guard guard(*guards_, NamesGuard(), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  const uint32_t used = leases_used();
  uint32_t place = used;
  for (uint32_t i = 0; i < used; i++) {
    Lease& lease = leases_[i];
    const uint64_t had = lease.owner.load();
    if (had == 0) {
      if (i < place) place = i;
      continue;
    }
    if (lease.subject[0].load() != subject.a || lease.subject[1].load() != subject.b) continue;
    // From here on its end is told to us; what ended just before is seen here.
    bells_[processes_->own_slot()].awaits.store(1);
    lease.awaited.store(1);
    if (lease.owner.load() != 0 && !Gone(had)) {
      *wait = {i, lease.turn.load()};
      return Status::kBusy;
    }
    DropLease(lease, had);
    if (i < place) place = i;
    break;
  }
  if (place == geometry_.leases()) return Status::kFull;
  Lease& lease = leases_[place];
  lease.subject[0].store(subject.a), lease.subject[1].store(subject.b);
  lease.turn.store(header_->tickets.fetch_add(1) + 1);
  lease.thread.store(owner.thread);
  // Whoever ended the last turn may not have looked at this yet, and may be dead.
  if (lease.awaited.exchange(0) != 0) RingForLeases();
  if (place == used) header_->leases_used.store(used + 1, std::memory_order_release);
  lease.owner.store(owner.word);
  return Status::kOk;
}

// False: it is another's by now, or nobody's.
bool UserLocks::DropLease(Lease& lease, uint64_t owner) { return lease.owner.compare_exchange_strong(owner, 0); }

void UserLocks::EndLease(uint64_t owner) {
  for (uint32_t i = 0; i < leases_used(); i++) {
    if (leases_[i].owner.load(std::memory_order_relaxed) != owner) continue;
    DropLease(leases_[i], owner);
    if (leases_[i].awaited.load() != 0) RingForLeases();
    return;
  }
}

bool UserLocks::LeaseIsOver(const LeaseWait& wait, bool doubtful) {
  Lease& lease = leases_[wait.lease];
  const uint64_t owner = lease.owner.load();
  if (owner == 0 || lease.turn.load() != wait.turn) return true;
  if (!doubtful || !Gone(owner)) return false;
  if (DropLease(lease, owner)) RingForLeases();
  return true;
}

void UserLocks::RingForLeases() {
  for (uint32_t slot = 0; slot < geometry_.processes; slot++) {
    if (bells_[slot].awaits.load() == 0) continue;
    bells_[slot].rings.fetch_add(1, std::memory_order_release);
    Ring(bells_[slot].rings);
  }
}

}  // namespace uwshm
