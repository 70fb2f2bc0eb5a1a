// The one way a chain or the pool changes, and its repair.
//
//   1  the intent says: this link, from expected to desired; then these slots
//   2  armed          ── a death before here: nothing has happened
//      sealed: the checksum of what the link will lead to
//   3  the link       ── the commit: a single store
//   4  sealed: no checksum for what the link led to; spare, reserved, count, sequence;
//      in bitmap mode the thread's runs
//   5  disarmed       ── a death before here: step 4 is done again
//
// Steps 3 and 4 are told apart by looking at the link: under the lock nobody
// else stores it, and `expected` never equals `desired`. Each value in step 4
// is said absolutely, so doing it twice is doing it once.
//
// cache_change.pml is a model of this, with deaths in every place.
//
// A store's next start goes by checksums, not by links: between 2 and 4 it finds the
// old item, the new one, or both, and each is an outcome that this call may have.
#include "cache.hpp"

namespace uwshm {

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
  if (bitmap_) {
    cell.then_fresh.store(change.fresh, std::memory_order_relaxed);
    cell.then_old.store(change.old, std::memory_order_relaxed);
  }
  InThisOrder();
  intent.armed.store(lock + 1, std::memory_order_relaxed);
  InThisOrder();
  if (change.seal != 0) {
    At(change.desired).checksum.store(change.seal, std::memory_order_relaxed);
    InThisOrder();
  }
  // Release: who follows the link finds the item filled.
  LinkAt(change.link)->store(change.desired, std::memory_order_release);
  InThisOrder();
  Finish(cell, lock);
}

void Cache::Finish(Cell& cell, uint32_t lock) {
  Intent& intent = cell.intent;
  const Slot left = intent.expected.load(std::memory_order_relaxed);
  if (sealed_ && lock != PoolLock() && ValidSlot(left)) At(left).checksum.store(0, std::memory_order_relaxed);
  InThisOrder();
  cell.spare.store(intent.spare.load(std::memory_order_relaxed), std::memory_order_relaxed);
  cell.reserved.store(intent.reserved.load(std::memory_order_relaxed), std::memory_order_relaxed);
  CountBehind(lock).store(intent.count.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (lock != PoolLock()) {
    if (bitmap_) {
      cell.fresh.store(cell.then_fresh.load(std::memory_order_relaxed), std::memory_order_relaxed);
      cell.old.store(cell.then_old.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
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
  if (lock == PoolLock() && geometry_.policy != kRefuse) RepairOrder();
  if (lock == PoolLock() && bitmap_) RepairRuns(dead_thread);
  if (dead_thread >= geometry_.threads) return;
  // The slot may belong to somebody new already, at work under another lock;
  // an intent for this lock can only be the dead owner's.
  Cell& cell = cells_[dead_thread];
  if (cell.intent.armed.load(std::memory_order_acquire) != lock + 1) return;
  const uint32_t number = cell.intent.link.load(std::memory_order_relaxed);
  const uint32_t desired = cell.intent.desired.load(std::memory_order_relaxed);
  std::atomic<uint32_t>* link = LinkAt(number);
  if (link != nullptr && link->load(std::memory_order_relaxed) == desired) return Finish(cell, lock);
  if (sealed_ && lock != PoolLock()) {
    const Slot changed = number - SealLink(0);
    if (link == nullptr && ValidSlot(changed)) {
      // It has changed or it has not; whatever else it may be is damage, and stays found.
      const uint32_t seal = SealOf(changed);
      if (seal == desired || seal == cell.intent.expected.load(std::memory_order_relaxed))
        At(changed).checksum.store(seal, std::memory_order_relaxed);
    } else if (desired == SpareOf(dead_thread) && ValidSlot(desired)) {
      At(desired).checksum.store(0, std::memory_order_relaxed);  // it was not published
    }
    InThisOrder();
  }
  cell.intent.armed.store(0, std::memory_order_release);
}

void Cache::Unlink(const Caller& caller, uint32_t stripe, const Place& place) {
  Cell& cell = cells_[caller.thread];
  Modify(caller);
  Slot next = At(place.slot).chain_next.load(std::memory_order_relaxed);
  if (next == place.slot) Corrupt(), next = 0;  // it would never go
  Change change{place.link, place.slot,
                next,       SpareOf(caller.thread),
                place.slot, stripes_[stripe].count.load(std::memory_order_relaxed) - 1};
  if (bitmap_) {
    change.fresh = cell.fresh.load(std::memory_order_relaxed);
    change.old = RunLeftBy(place.slot);
  }
  Apply(cell, StripeLock(stripe), change);
}

Slot Cache::SpareOf(uint32_t thread) const {
  const Slot spare = cells_[thread].spare.load(std::memory_order_relaxed);
  return spare != 0 ? spare : geometry_.max_items + 1 + thread;
}

Status Cache::TakeSlot(const Caller& caller) {
  Cell& cell = cells_[caller.thread];
  const Slot spare = SpareOf(caller.thread);
  const uint32_t count = pool_->count.load(std::memory_order_relaxed);
  const uint32_t mark = pool_->mark.load(std::memory_order_relaxed);
  const Slot head = pool_->head.load(std::memory_order_relaxed);
  if ((head == 0) != (count == 0) || mark > geometry_.max_items) return Corrupt();
  if (head != 0) {
    if (!ValidSlot(head) || At(head).key_size.load(std::memory_order_relaxed) != 0) return Corrupt();
    if (geometry_.policy != kRefuse) NextTick();
    const Slot next = At(head).chain_next.load(std::memory_order_relaxed);
    if (next == head) return Corrupt();
    Apply(cell, PoolLock(), {PoolHeadLink(), head, next, spare, head, count - 1});
    At(head).key_size.store(kInHand, std::memory_order_relaxed);
    return Status::kOk;
  }
  if (mark >= geometry_.max_items) return Status::kFull;
  if (At(mark + 1).key_size.load(std::memory_order_relaxed) != 0) return Corrupt();
  if (geometry_.policy != kRefuse) Enlist(mark + 1);
  Apply(cell, PoolLock(), {PoolMarkLink(), mark, mark + 1, spare, mark + 1, count});
  At(mark + 1).key_size.store(kInHand, std::memory_order_relaxed);
  return Status::kOk;
}

Status Cache::Reserve(const Caller& caller, uint32_t blocks) {
  // What all the others hold back may be all there is, and what they evict may
  // be what we wanted to: try until it cannot be bad luck. A long run may take many victims.
  const uint64_t turns = 4 * (geometry_.threads + 16) + (blocks != 0 ? 4 * uint64_t{slots_} : 0);
  // A cache of which every item was read since somebody last needed room would be
  // looked at as a whole: exact up to so many, and then whoever is on top goes.
  uint32_t looks = 1 << 16;
  // A stripe that is held does not hold up a writer who can evict from others.
  constexpr uint32_t kVictimPatienceMs = 10;
  uint32_t waited_ms = 0;
  // Free blocks may be joined, and lost to others who are quicker.
  uint32_t gathers = 8;
  // More victims without an item in a row than there are usually spare slots to meet.
  constexpr uint32_t kManyEmpty = 16;
  uint32_t empty = 0;
  const bool may_evict = geometry_.policy != kRefuse;
  bool swept = false, cleared = (rules_.ways & kCleared) == 0;
  Cell& cell = cells_[caller.thread];
  for (uint64_t turn = 0; turn < turns;) {
    if (blocks == 0 && cell.reserved.load(std::memory_order_relaxed) != 0) return Status::kOk;
    const bool sweeps = !swept && (!may_evict || MayHaveExpired(caller));
    bool scattered = false;
    Rank victim{};
    {
      Guard guard(*locks_, PoolLock(), caller, *this);
      if (guard.status() != Status::kOk) return guard.status();
      Status status = blocks == 0 ? TakeSlot(caller) : TakeBlocks(caller, blocks, &scattered);
      if (status != Status::kFull) return status;
      scattered = scattered && gathers > 0;
      if (may_evict && !sweeps && !scattered) {
        const uint32_t before = looks;
        status = NextToGo(&looks, empty > kManyEmpty, &victim);
        if (status == Status::kFull) break;
        if (status != Status::kOk) return status;
        if (victim.slot == 0) {
          // There may be no item: it was a number of slots that was looked at.
          if (blocks != 0) turn += kLooks;
          else if (looks == before) turn++;
          continue;
        }
      }
    }
    turn++;
    if (sweeps) {
      if (SweepForRoom(caller) != 0) continue;
      swept = true;  // nothing has expired that was not swept yet
      if (may_evict) continue;
    }
    if (scattered) {
      gathers--;
      if (!Gather(caller, blocks)) gathers = 0;
    } else if (may_evict) {
      Caller hasty = caller;
      if (hasty.patience_ms > kVictimPatienceMs) hasty.patience_ms = kVictimPatienceMs;
      Status status = EvictVictim(hasty, victim);
      empty = status == Status::kNotFound ? empty + 1 : 0;
      if (status == Status::kBusy) waited_ms += kVictimPatienceMs;
      if (status == Status::kCorrupt || waited_ms > caller.patience_ms) return status;
    } else {
      if (cleared) break;
      uint64_t gone = 0;
      Status status = Clear(caller, &gone);
      Bump(cell.evictions, gone);
      if (status != Status::kOk) return status;
      cleared = true;
    }
  }
  // What is torn may have lost its room.
  if (header_->torn.load(std::memory_order_relaxed) != 0) return Status::kCorrupt;
  Bump(cell.full);
  return Status::kFull;
}

// REQUIRES: the pool's lock, and a slot.
void Cache::PushReserved(const Caller& caller, Slot slot) {
  Cell& cell = cells_[caller.thread];
  const Slot head = pool_->head.load(std::memory_order_relaxed);
  At(slot).key_size.store(0, std::memory_order_relaxed);
  At(slot).chain_next.store(head, std::memory_order_relaxed);
  Apply(cell, PoolLock(),
        {PoolHeadLink(), head, slot, SpareOf(caller.thread), 0, pool_->count.load(std::memory_order_relaxed) + 1});
}

Status Cache::GiveBack(const Caller& caller, bool fresh_too) {
  Cell& cell = cells_[caller.thread];
  const Slot slot = cell.reserved.load(std::memory_order_relaxed);
  const bool has_runs = bitmap_ && (cell.old.load(std::memory_order_relaxed) != 0 ||
                                    (fresh_too && cell.fresh.load(std::memory_order_relaxed) != 0));
  if (slot == 0 && !has_runs) return Status::kOk;
  if (slot != 0 && !ValidSlot(slot)) return Corrupt();
  Guard guard(*locks_, PoolLock(), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  if (has_runs) FreeRuns(cell, fresh_too);
  // Who has made all anew meanwhile may have found that it is not ours.
  if (slot != 0 && cell.reserved.load(std::memory_order_relaxed) == slot) PushReserved(caller, slot);
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
  return GiveBack(dead, true) == Status::kOk;
}

}  // namespace uwshm
