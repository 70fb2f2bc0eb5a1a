// What concerns many items at once goes stripe by stripe, and takes one item at
// a time off: no lock is held for long, and a death costs nothing.
#include "cache.hpp"

namespace uwshm {

template <class Which>
Status Cache::RemoveWhere(const Caller& caller, uint32_t stripe, Guard::Mode mode, Which which, uint64_t* removed) {
  uint32_t bucket = stripe;
  // At most as many as there are slots: links that a scribbling process has bent
  // to a circle would give victims for ever, and so could busy neighbours.
  for (uint32_t turn = 0;; turn++) {
    Status status = ReturnReserved(caller);
    if (status != Status::kOk) return status;
    if (turn > slots_) return Status::kOk;
    Guard guard(*locks_, StripeLock(stripe), caller, *this, mode);
    if (guard.status() != Status::kOk) return guard.status();
    Place victim{0, 0};
    uint32_t steps = 0;
    for (; bucket < geometry_.hashsize; bucket += stripe_mask_ + 1) {
      victim = {buckets_[bucket].load(std::memory_order_relaxed), bucket};
      for (; victim.slot != 0; steps++) {
        if (!ValidSlot(victim.slot) || steps > slots_) return Corrupt();
        if (which(At(victim.slot))) break;
        victim = {At(victim.slot).chain_next.load(std::memory_order_relaxed), LinkAfter(victim.slot)};
      }
      if (victim.slot != 0) break;
    }
    if (victim.slot == 0) return Status::kOk;
    if (stripes_[stripe].count.load(std::memory_order_relaxed) == 0) return Corrupt();
    Unlink(caller, stripe, victim);
    ++*removed;
  }
}

Status Cache::SweepStripe(const Caller& caller, uint32_t stripe, Guard::Mode mode, uint64_t* removed) {
  const uint64_t now = caller.now();
  auto expired = [now](const Item& item) {
    const uint64_t at = item.expires_at.load(std::memory_order_relaxed);
    return at != 0 && at <= now;
  };
  const uint64_t before = *removed;
  Status status = RemoveWhere(caller, stripe, mode, expired, removed);
  Bump(cells_[caller.thread].expired, *removed - before);
  if (status != Status::kOk) return status;

  // One whole look under one lock tells exactly what expires first; while the
  // lock was let go in between, it could not have been known.
  Guard guard(*locks_, StripeLock(stripe), caller, *this, mode);
  if (guard.status() != Status::kOk) return guard.status();
  uint64_t earliest = 0;
  uint32_t steps = 0;  // of the whole stripe: all its chains together hold no more than there is
  for (uint32_t bucket = stripe; bucket < geometry_.hashsize; bucket += stripe_mask_ + 1) {
    Slot slot = buckets_[bucket].load(std::memory_order_relaxed);
    for (; slot != 0; steps++) {
      if (!ValidSlot(slot) || steps > slots_) return Corrupt();
      const uint64_t at = At(slot).expires_at.load(std::memory_order_relaxed);
      if (at != 0 && (earliest == 0 || at < earliest)) earliest = at;
      slot = At(slot).chain_next.load(std::memory_order_relaxed);
    }
  }
  stripes_[stripe].earliest.store(earliest, std::memory_order_relaxed);
  return Status::kOk;
}

uint64_t Cache::SweepForRoom(const Caller& caller) {
  const uint64_t hint = header_->expiry_hint.load(std::memory_order_relaxed);
  const uint64_t now = caller.now();
  uint64_t removed = 0, first = 0;
  for (uint32_t stripe = 0; stripe <= stripe_mask_ && removed == 0; stripe++) {
    const uint64_t earliest = stripes_[stripe].earliest.load(std::memory_order_relaxed);
    if (earliest != 0 && earliest <= now) SweepStripe(caller, stripe, Guard::kWait, &removed);
    const uint64_t left = stripes_[stripe].earliest.load(std::memory_order_relaxed);
    if (left != 0 && (first == 0 || left < first)) first = left;
  }
  // Unless somebody has lowered it meanwhile.
  if (removed == 0 && geometry_.policy != kRefuse && hint != 0) {
    uint64_t seen = hint;
    header_->expiry_hint.compare_exchange_strong(seen, first, std::memory_order_relaxed);
  }
  return removed;
}

bool Cache::MayHaveExpired(const Caller& caller) const {
  const uint64_t hint = header_->expiry_hint.load(std::memory_order_relaxed);
  return hint != 0 && hint <= caller.now();
}

void Cache::LowerExpiryHint(uint64_t expires_at) {
  uint64_t hint = header_->expiry_hint.load(std::memory_order_relaxed);
  while ((hint == 0 || expires_at < hint) &&
         !header_->expiry_hint.compare_exchange_weak(hint, expires_at, std::memory_order_relaxed)) {
  }
}

uint64_t Cache::Sweep(const Caller& caller, uint64_t most) {
  uint64_t removed = 0;
  if ((rules_.ways & kNotSwept) != 0) return 0;
  for (uint32_t stripe = 0; stripe <= stripe_mask_ && removed < most; stripe++) {
    // A pool whose owner does not go on is waited for once, not once a stripe.
    if (ReturnReserved(caller) != Status::kOk) break;
    const uint64_t earliest = stripes_[stripe].earliest.load(std::memory_order_relaxed);
    if (earliest != 0 && earliest <= caller.now()) SweepStripe(caller, stripe, Guard::kTry, &removed);
  }
  return removed;
}

Status Cache::ClearStripe(const Caller& caller, uint32_t stripe, uint64_t* removed) {
  Status status = RemoveWhere(caller, stripe, Guard::kWait, [](const Item&) { return true; }, removed);
  if (status != Status::kOk || stripes_[stripe].count.load(std::memory_order_relaxed) == 0) return status;
  // Others have stored something meanwhile; or it is not on its chain any more.
  Guard guard(*locks_, StripeLock(stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  uint32_t steps = 0;
  for (uint32_t bucket = stripe; bucket < geometry_.hashsize; bucket += stripe_mask_ + 1)
    for (Slot slot = buckets_[bucket].load(std::memory_order_relaxed); slot != 0; steps++) {
      if (!ValidSlot(slot) || steps > slots_) return Corrupt();
      slot = At(slot).chain_next.load(std::memory_order_relaxed);
    }
  return steps == stripes_[stripe].count.load(std::memory_order_relaxed) ? Status::kOk : Corrupt();
}

Status Cache::Clear(const Caller& caller, uint64_t* removed) {
  *removed = 0;
  Status status = Status::kOk;
  for (uint32_t stripe = 0; stripe <= stripe_mask_ && status == Status::kOk; stripe++)
    status = ClearStripe(caller, stripe, removed);
  if (status == Status::kOk) status = ReturnReserved(caller);
  if (status != Status::kOk && status != Status::kCorrupt) return status;
  const bool is_whole = header_->torn.load(std::memory_order_relaxed) == 0 && Accounted();
  return is_whole ? Status::kOk : Rebuild(caller);
}

}  // namespace uwshm
