// Who goes when there is no room: the heap of all slots, and one eviction.
// cache_layout.hpp has the drawing.
//
// Why a heap that is wrong on purpose: an exact list would have to be edited by
// every hit, under a lock. A rank that is only ever too old may be corrected
// when it comes to the top, and that is enough to be exact: once the slot on top
// was not used since its rank says, no slot below it can be older.
//
// The slot on top is ranked as new *before* its item is taken off: the next who
// needs room then looks at another one, and if this one dies on the way the item
// has merely had another lap.
#include <algorithm>
#include <cstdlib>

#include "cache.hpp"

namespace uwshm {

void Cache::Displace(const Caller& caller, Note& note, Slot slot) {
  const Slot was = note.slot.load(std::memory_order_relaxed);
  if (ValidSlot(was)) {
    UsedAt(was, note.used.load(std::memory_order_relaxed));
  } else {
    // The first note here, perhaps of this thread at all: readers stop at `noters`.
    uint32_t noters = order_->noters.load(std::memory_order_relaxed);
    while (noters <= caller.thread &&
           !order_->noters.compare_exchange_weak(noters, caller.thread + 1, std::memory_order_relaxed)) {
    }
  }
  note.slot.store(slot, std::memory_order_release);
}

uint64_t Cache::LastUseOf(Slot slot) const {
  uint64_t last = At(slot).used.load(std::memory_order_relaxed);
  const uint32_t said = order_->noters.load(std::memory_order_relaxed);
  const uint32_t noters = said < geometry_.threads ? said : geometry_.threads;
  for (uint32_t thread = 0; thread < noters; thread++) {
    const Note& note = notes_[uint64_t{thread} * kNotes + slot % kNotes];
    if (note.slot.load(std::memory_order_acquire) != slot) continue;
    const uint64_t used = note.used.load(std::memory_order_relaxed);
    if (used > last) last = used;
  }
  return last;
}

void Cache::Enlist(Slot slot) {
  const uint32_t listed = order_->listed.load(std::memory_order_relaxed);
  if (listed >= slots_ || !ValidSlot(slot) || listed_[slot].load(std::memory_order_relaxed) != 0) return;
  // Nothing goes after it, so it has its place already.
  const uint32_t lap = geometry_.policy == kSieve ? order_->lap.load(std::memory_order_relaxed) + 1 : 0;
  ranks_[listed] = {NextTick(), slot, lap};
  InThisOrder();
  order_->listed.store(listed + 1, std::memory_order_relaxed);
  InThisOrder();
  listed_[slot].store(1, std::memory_order_relaxed);
  InThisOrder();
}

Status Cache::EnlistSpare(const Caller& caller) {
  Guard guard(*locks_, PoolLock(), caller, *this);
  if (guard.status() == Status::kOk) Enlist(SpareOf(caller.thread));
  return guard.status();
}

void Cache::ReplaceTop(const Rank& rank) {
  order_->sinking = rank;
  InThisOrder();
  order_->gap.store(1, std::memory_order_relaxed);
  InThisOrder();
  Sink(1);
}

// Four to a node: 16 bytes each, so the siblings lie in one cache line.
void Cache::Sink(uint32_t gap) {
  const uint64_t listed = std::min(order_->listed.load(std::memory_order_relaxed), slots_);
  uint64_t at = gap - 1;
  for (;;) {
    const Rank* least = &order_->sinking;
    for (uint64_t child = 4 * at + 1; child <= 4 * at + 4 && child < listed; child++)
      if (Precedes(ranks_[child], *least)) least = &ranks_[child];
    if (least == &order_->sinking) break;
    ranks_[at] = *least;
    InThisOrder();
    at = static_cast<uint64_t>(least - ranks_);
    order_->gap.store(static_cast<uint32_t>(at + 1), std::memory_order_relaxed);
    InThisOrder();
  }
  ranks_[at] = order_->sinking;
  InThisOrder();
  order_->gap.store(0, std::memory_order_relaxed);
  InThisOrder();
}

void Cache::RepairOrder() {
  const uint32_t listed = order_->listed.load(std::memory_order_relaxed);
  if (listed == 0 || listed > slots_) return;
  const Slot last = ranks_[listed - 1].slot;
  if (ValidSlot(last)) listed_[last].store(1, std::memory_order_relaxed);
  const uint32_t gap = order_->gap.load(std::memory_order_relaxed);
  if (gap != 0 && gap <= listed) Sink(gap);
}

Rank Cache::Reconsidered(const Rank& rank) {
  if (geometry_.policy != kSieve) {
    const uint64_t used = LastUseOf(rank.slot);
    return {used > rank.used ? used : rank.used, rank.slot, rank.lap};
  }
  std::atomic<uint64_t>& word = At(rank.slot).used;
  const uint64_t used = word.load(std::memory_order_relaxed), born = used & ~kVisited;
  const uint32_t lap = order_->lap.load(std::memory_order_relaxed);
  if (used == born) return born > rank.used ? Rank{born, rank.slot, lap} : rank;
  word.store(born, std::memory_order_relaxed);
  return {born, rank.slot, lap + 1};
}

Status Cache::NextToGo(uint32_t* looks, bool is_empty, Rank* victim) {
  // So many under one lock that nobody waits for long.
  for (uint32_t look = 0; look < kLooks; look++) {
    const uint32_t listed = order_->listed.load(std::memory_order_relaxed);
    if (listed == 0 && bitmap_) return Status::kFull;  // what others are filling is no item yet
    const Rank top = ranks_[0];
    // Every slot that was ever used is in the heap.
    if (listed == 0 || listed > slots_ || listed < pool_->mark.load(std::memory_order_relaxed) || !ValidSlot(top.slot))
      return Corrupt();
    const uint32_t lap = order_->lap.load(std::memory_order_relaxed);
    if (static_cast<int32_t>(top.lap - lap) > 0) order_->lap.store(top.lap, std::memory_order_relaxed);
    // In bitmap mode a slot may be free, for it is blocks that are wanted.
    if (bitmap_ && At(top.slot).key_size.load(std::memory_order_relaxed) == 0) {
      ReplaceTop({NextTick(), top.slot, LapOfNext(listed, true)});
      continue;
    }
    const Rank now = Reconsidered(top);
    const bool lives_on = Precedes(top, now) && *looks > 0;
    if (!lives_on) {
      *victim = now;
      ReplaceTop({NextTick(), top.slot, LapOfNext(listed, is_empty)});
      return Status::kOk;
    }
    --*looks;
    ReplaceTop(now);
  }
  return Status::kOk;
}

// What comes now is met by the hand at the end of its way; if it is there already,
// at the end of the next. A slot without an item is met in the next: in this one, two
// of them could take turns for ever.
uint32_t Cache::LapOfNext(uint32_t listed, bool is_empty) const {
  const uint32_t lap = order_->lap.load(std::memory_order_relaxed);
  if (geometry_.policy != kSieve) return lap;
  if (is_empty) return lap + 1;
  for (uint32_t child = 1; child <= 4 && child < listed; child++)
    if (ranks_[child].lap == lap) return lap;
  return lap + 1;
}

bool Cache::BucketOf(Slot slot, uint32_t* bucket) const {
  const uint32_t size = At(slot).key_size.load(std::memory_order_relaxed);
  if (size == 0 || size > geometry_.keysize) return false;
  uint8_t brief[kMiddleKey];
  uint8_t* bytes = size <= sizeof brief ? brief : static_cast<uint8_t*>(malloc(size));
  if (bytes == nullptr) return false;
  CopyOut(bytes, KeyBytesOf(slot, size), size);
  Key key{};
  KeyOf(bytes, size, &key);
  if (bytes != brief) free(bytes);
  *bucket = key.bucket;
  return true;
}

Status Cache::Locate(uint32_t bucket, Slot slot, Place* place) const {
  *place = {buckets_[bucket].load(std::memory_order_relaxed), bucket};
  for (uint32_t steps = 0; place->slot != slot; steps++) {
    if (place->slot == 0) return Status::kNotFound;
    if (!ValidSlot(place->slot) || steps > slots_) return Corrupt();
    *place = {At(place->slot).chain_next.load(std::memory_order_relaxed), LinkAfter(place->slot)};
  }
  return Status::kOk;
}

template <class Goes>
Status Cache::Evict(const Caller& caller, Slot slot, Goes goes) {
  uint32_t bucket = 0;
  if (!BucketOf(slot, &bucket)) return Status::kNotFound;
  const uint32_t stripe = bucket & stripe_mask_;
  Guard guard(*locks_, StripeLock(stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  // The key was read without the lock. If it was another's, the slot is not in this bucket.
  Place place;
  const Status status = Locate(bucket, slot, &place);
  if (status != Status::kOk) return status;
  if (!goes()) return Status::kNotFound;
  Unlink(caller, stripe, place);
  Bump(cells_[caller.thread].evictions);
  return Status::kOk;
}

Status Cache::EvictVictim(const Caller& caller, const Rank& victim) {
  return Evict(caller, victim.slot, [&] { return !Precedes(victim, Reconsidered(victim)); });
}

Status Cache::EvictBlock(const Caller& caller, uint32_t block) {
  const Slot slot = owners_[block].load(std::memory_order_relaxed);
  if (!ValidSlot(slot)) return Status::kNotFound;
  return Evict(caller, slot, [&] { return Has(slot, block); });
}

// A chain is crowded because somebody chose its keys, or a hash is poor: then those
// keys make room for each other, and the rest of the cache is left alone.
Status Cache::Thin(const Caller& caller, const Key& key) {
  // kSieve: whoever was not visited goes before whoever was.
  auto order = [this](uint64_t used) {
    return geometry_.policy == kSieve ? used >> 1 | (used & kVisited) << 63 : used;
  };
  Place first{0, 0}, at{buckets_[key.bucket].load(std::memory_order_relaxed), key.bucket};
  uint64_t least = UINT64_MAX;
  bool expired = false;
  for (uint32_t steps = 0; at.slot != 0 && !expired; steps++) {
    if (!ValidSlot(at.slot) || steps > slots_) return Corrupt();
    const Item& item = At(at.slot);
    expired = Expired(item, caller);
    if (expired) first = at;
    // What the item itself says is never too late: only of those who may be first the notes are looked at.
    if (geometry_.policy != kRefuse && !expired && order(item.used.load(std::memory_order_relaxed)) < least) {
      const uint64_t exact = order(LastUseOf(at.slot));
      if (exact < least) least = exact, first = at;
    }
    at = {item.chain_next.load(std::memory_order_relaxed), LinkAfter(at.slot)};
  }
  if (first.slot == 0) return Status::kCrowded;
  Unlink(caller, key.stripe, first);
  Bump(expired ? cells_[caller.thread].expired : cells_[caller.thread].evictions);
  return Status::kOk;
}

}  // namespace uwshm
