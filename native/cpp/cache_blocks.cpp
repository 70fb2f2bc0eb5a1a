// Bitmap mode: which blocks are taken, and how a thread comes to a run of them.
// cache_layout.hpp has the drawing.
//
// The usual update never comes here for more than one exchange of a word: the
// run of the item that it replaced last is as long as the one that it needs.
// All else is done under the pool's lock. A search goes on where the last one
// ended, to the end of the map and once more from its beginning until behind the
// place where it began: a run that lies across that place is found as any other.
#include <algorithm>

#include "cache.hpp"

namespace uwshm {

uint32_t Cache::Next(Use use, uint32_t from, uint32_t end) const {
  for (uint32_t at = from; at < end; at = (at / 64 + 1) * 64) {
    uint64_t word = map_[at / 64].load(std::memory_order_relaxed);
    if (use == kFree) word = ~word;
    word >>= at % 64;
    if (word != 0) return std::min(end, at + static_cast<uint32_t>(__builtin_ctzll(word)));
  }
  return end;
}

uint32_t Cache::CountTaken(uint32_t from, uint32_t end) const {
  uint32_t taken = 0;
  for (uint32_t at = from; at < end;) {
    const uint32_t bits = std::min(64 - at % 64, end - at);
    const uint64_t word = map_[at / 64].load(std::memory_order_relaxed) >> at % 64;
    taken += static_cast<uint32_t>(__builtin_popcountll(bits == 64 ? word : word & ((uint64_t{1} << bits) - 1)));
    at += bits;
  }
  return taken;
}

void Cache::Mark(Run run, bool taken) {
  const uint32_t end = EndOf(run);
  for (uint32_t at = FirstOf(run); at < end;) {
    const uint32_t bits = std::min(64 - at % 64, end - at);
    const uint64_t mask = (bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1) << at % 64;
    const uint64_t word = map_[at / 64].load(std::memory_order_relaxed);
    map_[at / 64].store(taken ? word | mask : word & ~mask, std::memory_order_relaxed);
    at += bits;
  }
}

bool Cache::TakeRun(Cell& cell, uint32_t from, uint32_t end, uint32_t blocks) {
  uint32_t first = Next(kFree, from, end);
  while (end - first >= blocks) {
    const uint32_t taken = Next(kTaken, first, first + blocks);
    if (taken != first + blocks) {
      first = Next(kFree, taken, end);
      continue;
    }
    const Run run = RunOf(first, blocks);
    cell.fresh.store(run, std::memory_order_relaxed);
    InThisOrder();  // a death from here on: RepairRuns sets the bits
    Mark(run, true);
    InThisOrder();
    pool_->taken.store(pool_->taken.load(std::memory_order_relaxed) + blocks, std::memory_order_relaxed);
    return true;
  }
  return false;
}

// A death on the way leaves some of the bits: the one who repairs counts anew.
void Cache::Free(Run run) {
  Mark(run, false);
  InThisOrder();
  pool_->taken.store(pool_->taken.load(std::memory_order_relaxed) - LengthOf(run), std::memory_order_relaxed);
}

void Cache::FreeRuns(Cell& cell, bool fresh_too) {
  const Run old = Plain(cell.old.load(std::memory_order_relaxed)), fresh = cell.fresh.load(std::memory_order_relaxed);
  // A thread has died making one of the other: it is one run.
  if (old != 0 && old != fresh && ValidRun(old)) Free(old);
  InThisOrder();
  cell.old.store(0, std::memory_order_relaxed);
  InThisOrder();
  if (!fresh_too || fresh == 0) return;
  if (ValidRun(fresh)) Free(fresh);
  InThisOrder();
  cell.fresh.store(0, std::memory_order_relaxed);
  InThisOrder();
}

bool Cache::TakeIdle() {
  bool some = false;
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    std::atomic<Run>& old = cells_[thread].old;
    Run run = old.load(std::memory_order_relaxed);
    if ((run & kIdle) == 0 || !ValidRun(run)) continue;
    // The thread itself may be quicker.
    if (!old.compare_exchange_strong(run, Plain(run) | kGoing, std::memory_order_acq_rel)) continue;
    InThisOrder();
    Free(run);
    InThisOrder();
    old.store(0, std::memory_order_relaxed);
    some = true;
  }
  return some;
}

void Cache::RepairRuns(uint32_t dead_thread) {
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    Cell& cell = cells_[thread];
    const Run old = cell.old.load(std::memory_order_relaxed), fresh = cell.fresh.load(std::memory_order_relaxed);
    if ((old & kGoing) != 0) {
      if (ValidRun(old)) Mark(old, false);
      InThisOrder();
      cell.old.store(0, std::memory_order_relaxed);
    } else if (thread == dead_thread) {
      if (ValidRun(old)) Mark(old, true);
    }
    if (thread == dead_thread && ValidRun(fresh)) Mark(fresh, true);
  }
  InThisOrder();
  pool_->taken.store(CountTaken(0, geometry_.blocks), std::memory_order_relaxed);
}

Status Cache::TakeBlocks(const Caller& caller, uint32_t blocks, bool* scattered) {
  Cell& cell = cells_[caller.thread];
  FreeRuns(cell, true);
  if (blocks == 0) return Status::kOk;
  const uint32_t all = geometry_.blocks;
  for (bool again = false;; again = true) {
    const uint32_t taken = pool_->taken.load(std::memory_order_relaxed);
    const uint32_t hint = pool_->start.load(std::memory_order_relaxed), start = hint < all ? hint : 0;
    *scattered = taken <= all && all - taken >= blocks;
    if (*scattered && (TakeRun(cell, start, all, blocks) ||
                       TakeRun(cell, 0, std::min<uint64_t>(all, uint64_t{start} + blocks - 1), blocks))) {
      pool_->start.store(EndOf(cell.fresh.load(std::memory_order_relaxed)), std::memory_order_relaxed);
      return Status::kOk;
    }
    if (again || !TakeIdle()) break;
  }
  const Slot reserved = cell.reserved.load(std::memory_order_relaxed);
  if (ValidSlot(reserved)) PushReserved(caller, reserved);  // the next victim's comes
  return Status::kFull;
}

Status Cache::Freshen(const Caller& caller, const Key& key, How how, uint32_t blocks, const Expected* expected) {
  Cell& cell = cells_[caller.thread];
  Run old = cell.old.load(std::memory_order_relaxed);
  const Run fresh = cell.fresh.load(std::memory_order_relaxed);
  if (old == 0 && LengthOf(fresh) == blocks && ValidRun(fresh))
    return Status::kOk;  // left by a write that met a busy lock
  if (fresh == 0 && LengthOf(old) == blocks && (old & kIdle) != 0 && ValidRun(old) &&
      cell.old.compare_exchange_strong(old, Plain(old), std::memory_order_acquire)) {
    cell.fresh.store(Plain(old), std::memory_order_relaxed);
    InThisOrder();
    cell.old.store(0, std::memory_order_relaxed);
    return Status::kOk;
  }
  {
    Guard guard(*locks_, PoolLock(), caller, *this);
    if (guard.status() != Status::kOk) return guard.status();
    bool scattered;
    const Status status = TakeBlocks(caller, blocks, &scattered);
    if (status != Status::kFull) return status;
  }
  const Status objection = Foresee(caller, key, how, expected);
  return objection == Status::kOk ? Reserve(caller, blocks) : objection;
}

Status Cache::Renounce(const Caller& caller) {
  Cell& cell = cells_[caller.thread];
  const Run old = cell.old.load(std::memory_order_relaxed), fresh = cell.fresh.load(std::memory_order_relaxed);
  if (cell.reserved.load(std::memory_order_relaxed) != 0 || (old != 0 && fresh != 0)) return GiveBack(caller, true);
  if (fresh != 0) {
    cell.old.store(fresh, std::memory_order_relaxed);
    InThisOrder();
    cell.fresh.store(0, std::memory_order_relaxed);
  }
  if (old != 0 || fresh != 0) cell.old.store((old | fresh) | kIdle, std::memory_order_release);
  return Status::kOk;
}

Status Cache::Foresee(const Caller& caller, const Key& key, How how, const Expected* expected) {
  Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  Place place;
  if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
  if (Damaged(place)) {
    guard.Release();
    return DropDamaged(caller, key);
  }
  if (how != How::kReplace) {
    const Status objection = Objection(caller, how, place, expected);
    if (objection != Status::kOk) return objection;
  }
  if (place.slot == 0) return place.before >= longest_chain_ ? Status::kCrowded : Status::kOk;
  // It is being used: others go first.
  if (geometry_.policy == kLruStrict) UsedAt(place.slot, NextTick());
  else NoteUse(caller, place.slot);
  return Status::kOk;
}

}  // namespace uwshm
