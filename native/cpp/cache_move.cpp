// Bitmap mode: joining free blocks that are enough, but not in a row.
//
// A window of the wanted length is chosen where little is in the way, and what
// is there is given another run. To move an item is to replace it by a copy of
// itself, as an update does: one link is stored, and whoever dies leaves either
// the item or its copy. The copy is made before the stripe is locked; if the
// stripe's sequence has not gone up since, the bytes were this item's.
//
// Nobody keeps others out of the window. What they take meanwhile is looked at
// by the next try; and there is an end of tries, after which items are evicted
// until there is a run.
#include <algorithm>

#include "cache.hpp"

namespace uwshm {

Run Cache::Window(uint32_t blocks) const {
  // Each look counts the window's bits.
  const uint32_t looks = 1 + std::min<uint32_t>(63, (1 << 20) / blocks);
  const uint32_t all = geometry_.blocks;
  const uint32_t hint = pool_->start.load(std::memory_order_relaxed);
  uint32_t best = 0, least = UINT32_MAX, at = hint < all ? hint : 0;
  bool again = false;
  for (uint32_t look = 0; look < looks; look++) {
    at = Next(kFree, at, all);
    if (at == all) {
      if (again) break;  // once round
      again = true;
      at = Next(kFree, 0, all);
    }
    const uint32_t first = std::min(at, all - blocks);
    const uint32_t taken = CountTaken(first, first + blocks);
    if (taken < least) best = first, least = taken;
    at = Next(kTaken, at, all);
  }
  return RunOf(best, blocks);
}

bool Cache::Gather(const Caller& caller, uint32_t blocks) {
  Run window;
  {
    Guard guard(*locks_, PoolLock(), caller, *this);
    if (guard.status() != Status::kOk) return false;
    window = Window(blocks);
    pool_->start.store(FirstOf(window), std::memory_order_relaxed);
  }
  const uint32_t end = EndOf(window);
  for (uint32_t step = 0; step <= blocks; step++) {
    const uint32_t at = Next(kTaken, FirstOf(window), end);
    if (at == end) return true;
    Status status = MoveAway(caller, at, window);
    if (status == Status::kFull && geometry_.policy != kRefuse) status = EvictBlock(caller, at);
    const Status returned = GiveBack(caller, true);
    if (status != Status::kOk || returned != Status::kOk) return false;
  }
  return false;  // others take what is cleared
}

Status Cache::MoveAway(const Caller& caller, uint32_t block, Run window) {
  Cell& cell = cells_[caller.thread];
  const Slot slot = owners_[block].load(std::memory_order_relaxed), fresh = SpareOf(caller.thread);
  uint32_t bucket = 0;
  if (!ValidSlot(slot) || !BucketOf(slot, &bucket)) return Status::kNotFound;
  if (!ValidSlot(fresh)) return Corrupt();
  const uint32_t stripe = bucket & stripe_mask_;
  const uint32_t sequence = stripes_[stripe].sequence.load(std::memory_order_acquire);
  const Item& item = At(slot);
  Item& copy = At(fresh);
  const uint32_t key_size = item.key_size.load(std::memory_order_relaxed);
  const uint32_t size = item.value_size.load(std::memory_order_relaxed);
  const uint8_t* value = ValueAt(slot, size);
  if (value == nullptr || key_size > geometry_.keysize || !Has(slot, block)) return Status::kNotFound;
  {
    Guard guard(*locks_, PoolLock(), caller, *this);
    if (guard.status() != Status::kOk) return guard.status();
    const uint32_t length = BlocksFor(size);
    if (!TakeRun(cell, 0, FirstOf(window), length) && !TakeRun(cell, EndOf(window), geometry_.blocks, length))
      return Status::kFull;
    if (geometry_.policy != kRefuse) Enlist(fresh);
  }
  const Run run = cell.fresh.load(std::memory_order_relaxed);
  if (!ValidRun(run) || LengthOf(run) != BlocksFor(size)) return Corrupt();
  uint8_t* room = blocks_ + FirstOf(run) * block_stride_;
  Own(run, fresh);
  copy.value_size.store(size, std::memory_order_relaxed);
  copy.key_size.store(key_size, std::memory_order_relaxed);
  CopyWithin(KeyBytesOf(fresh, key_size), KeyBytesOf(slot, key_size), key_size);
  CopyWithin(room, value, size);

  Guard guard(*locks_, StripeLock(stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  Stripe& there = stripes_[stripe];
  if (there.sequence.load(std::memory_order_relaxed) != sequence) return Status::kNotFound;
  Place place;
  const Status status = Locate(bucket, slot, &place);
  if (status != Status::kOk) return status;
  // What may change in place: a counter, the expiry, the last use.
  if (size == sizeof(uint64_t)) StoreWord(room, LoadWord(value));
  copy.hash.store(item.hash.load(std::memory_order_relaxed), std::memory_order_relaxed);
  copy.flags.store(item.flags.load(std::memory_order_relaxed), std::memory_order_relaxed);
  copy.expires_at.store(item.expires_at.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (geometry_.policy != kRefuse) copy.used.store(LastUseOf(slot), std::memory_order_relaxed);
  uint32_t seal = 0;
  if (sealed_) {
    // Not the copy's own: what is damaged, here or on the way, stays so.
    Words words = WordsOf(item);
    const uint64_t content = ContentOf(slot);
    const uint64_t expires_at = copy.expires_at.load(std::memory_order_relaxed);
    const bool is_intact =
        SealOf(words, content, expires_at, began_at_) == item.checksum.load(std::memory_order_relaxed);
    words.first_block = FirstOf(run);
    words.version = sequence + 1;
    copy.version.store(words.version, std::memory_order_relaxed);
    seal = SealOf(words, is_intact ? content : ~content, expires_at, began_at_);
  }
  copy.chain_next.store(item.chain_next.load(std::memory_order_relaxed), std::memory_order_relaxed);
  Apply(cell, StripeLock(stripe),
        {place.link, slot, fresh, slot, cell.reserved.load(std::memory_order_relaxed),
         there.count.load(std::memory_order_relaxed), 0, RunLeftBy(slot), seal});
  Bump(cell.moves);
  return Status::kOk;
}

}  // namespace uwshm
