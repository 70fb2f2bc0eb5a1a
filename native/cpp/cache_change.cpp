// The one way a chain or the pool changes, and its repair.
//
//   1  the intent says: this link, from expected to desired; then these slots
//   2  armed          ── a death before here: nothing has happened
//   3  the link       ── the commit: a single store
//   4  spare, reserved, count, sequence
//   5  disarmed       ── a death before here: step 4 is done again
//
// Steps 3 and 4 are told apart by looking at the link: under the lock nobody
// else stores it, and `expected` never equals `desired`. Each value in step 4
// is said absolutely, so doing it twice is doing it once.
#include "cache.hpp"

namespace uwshm {
namespace {

// A death is seen in program order: it is enough that the compiler keeps it.
void InThisOrder() { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace

std::atomic<uint32_t>* Cache::LinkAt(uint32_t link) const {
  if (link < geometry_.hashsize) return &buckets_[link];
  const uint32_t slot = link - geometry_.hashsize;
  if (ValidSlot(slot)) return &items_[slot].chain_next;
  if (link == PoolHeadLink()) return &pool_->head;
  if (link == PoolMarkLink()) return &pool_->mark;
  return nullptr;
}

std::atomic<uint32_t>& Cache::CountBehind(uint32_t lock) const {
  return lock == PoolLock() ? pool_->count : stripes_[lock - geometry_.first_lock].count;
}

void Cache::Apply(Cell& cell, uint32_t lock, const Change& change) {
  Intent& intent = cell.intent;
  intent.link.store(change.link, std::memory_order_relaxed);
  intent.expected.store(change.expected, std::memory_order_relaxed);
  intent.desired.store(change.desired, std::memory_order_relaxed);
  intent.spare.store(change.spare, std::memory_order_relaxed);
  intent.reserved.store(change.reserved, std::memory_order_relaxed);
  intent.count.store(change.count, std::memory_order_relaxed);
  InThisOrder();
  intent.armed.store(lock + 1, std::memory_order_relaxed);
  InThisOrder();
  // Release: who follows the link finds the item filled.
  LinkAt(change.link)->store(change.desired, std::memory_order_release);
  InThisOrder();
  Finish(cell, lock);
}

void Cache::Finish(Cell& cell, uint32_t lock) {
  Intent& intent = cell.intent;
  cell.spare.store(intent.spare.load(std::memory_order_relaxed), std::memory_order_relaxed);
  cell.reserved.store(intent.reserved.load(std::memory_order_relaxed), std::memory_order_relaxed);
  CountBehind(lock).store(intent.count.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (lock != PoolLock()) {
    std::atomic<uint32_t>& sequence = stripes_[lock - geometry_.first_lock].sequence;
    sequence.store(sequence.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    // Whoever sees a byte of the slot's next life sees the new sequence too.
    std::atomic_thread_fence(std::memory_order_release);
  }
  InThisOrder();
  intent.armed.store(0, std::memory_order_release);
  InThisOrder();
}

void Cache::Repair(uint32_t lock, uint32_t dead_thread, const Caller& caller) {
  Bump(cells_[caller.thread].repairs);
  if (dead_thread >= geometry_.threads) return;
  // The slot may belong to somebody new already, at work under another lock;
  // an intent for this lock can only be the dead owner's.
  Cell& cell = cells_[dead_thread];
  if (cell.intent.armed.load(std::memory_order_acquire) != lock + 1) return;
  std::atomic<uint32_t>* link = LinkAt(cell.intent.link.load(std::memory_order_relaxed));
  if (link != nullptr && link->load(std::memory_order_relaxed) == cell.intent.desired.load(std::memory_order_relaxed)) {
    Finish(cell, lock);
  } else {
    cell.intent.armed.store(0, std::memory_order_release);
  }
}

void Cache::Unlink(const Caller& caller, uint32_t stripe, const Place& place) {
  Cell& cell = cells_[caller.thread];
  Modify(caller);
  Apply(cell, StripeLock(stripe),
        {place.link, place.slot, At(place.slot).chain_next.load(std::memory_order_relaxed), SpareOf(caller.thread),
         place.slot, stripes_[stripe].count.load(std::memory_order_relaxed) - 1});
}

Slot Cache::SpareOf(uint32_t thread) const {
  const Slot spare = cells_[thread].spare.load(std::memory_order_relaxed);
  return spare != 0 ? spare : geometry_.max_items + 1 + thread;
}

Status Cache::Reserve(const Caller& caller) {
  Cell& cell = cells_[caller.thread];
  for (;;) {
    if (cell.reserved.load(std::memory_order_relaxed) != 0) return Status::kOk;
    {
      Guard guard(*locks_, PoolLock(), caller, *this);
      if (guard.status() != Status::kOk) return guard.status();
      const Slot spare = SpareOf(caller.thread);
      const uint32_t count = pool_->count.load(std::memory_order_relaxed);
      const uint32_t mark = pool_->mark.load(std::memory_order_relaxed);
      if (const Slot head = pool_->head.load(std::memory_order_relaxed)) {
        if (!ValidSlot(head)) return Status::kCorrupt;
        const Slot next = At(head).chain_next.load(std::memory_order_relaxed);
        Apply(cell, PoolLock(), {PoolHeadLink(), head, next, spare, head, count - 1});
        return Status::kOk;
      }
      if (mark < geometry_.max_items) {
        Apply(cell, PoolLock(), {PoolMarkLink(), mark, mark + 1, spare, mark + 1, count});
        return Status::kOk;
      }
    }
    // Full, unless something has expired and was not swept yet.
    uint64_t removed = 0;
    const uint64_t now = caller.now();
    for (uint32_t stripe = 0; stripe <= stripe_mask_ && removed == 0; stripe++) {
      const uint64_t earliest = stripes_[stripe].earliest.load(std::memory_order_relaxed);
      if (earliest != 0 && earliest <= now) SweepStripe(caller, stripe, Guard::kWait, &removed);
    }
    if (removed == 0) {
      Bump(cell.full);
      return Status::kFull;
    }
  }
}

Status Cache::ReturnReserved(const Caller& caller) {
  Cell& cell = cells_[caller.thread];
  const Slot slot = cell.reserved.load(std::memory_order_relaxed);
  if (slot == 0) return Status::kOk;
  if (!ValidSlot(slot)) return Status::kCorrupt;
  Guard guard(*locks_, PoolLock(), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  const Slot head = pool_->head.load(std::memory_order_relaxed);
  At(slot).chain_next.store(head, std::memory_order_relaxed);
  Apply(cell, PoolLock(),
        {PoolHeadLink(), head, slot, SpareOf(caller.thread), 0, pool_->count.load(std::memory_order_relaxed) + 1});
  return Status::kOk;
}

bool Cache::Settle(const Caller& dead) {
  // Taking a lock that the dead thread held repairs what is behind it.
  for (uint32_t i = 0; i < geometry_.locks(); i++) {
    const uint32_t lock = geometry_.first_lock + i;
    if (locks_->OwnerThreadOf(lock) != dead.thread) continue;
    Guard guard(*locks_, lock, dead, *this);
    if (guard.status() != Status::kOk) return false;
  }
  return ReturnReserved(dead) == Status::kOk;
}

}  // namespace uwshm
