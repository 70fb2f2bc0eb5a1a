// Making a cache anew while its processes go on: what `clear` does once damage was met.
//
// Somebody has written where he should not, so no link, list or count is believed any
// more. All locks are taken, in the order of their numbers; nobody else holds two, so
// nobody waits for us while we wait for him. What threads have in hand (a spare, a reserved slot,
// runs) stays theirs, for they fill it without a lock; unless two claim the same.
//
// First the chains and the pool are emptied, and the pool is filled last: who dies in
// here leaves a cache that has lost slots, and no worse. `torn` still says so, and the
// next clear does it again.
#include "cache.hpp"
#include "zeroed.hpp"

namespace uwshm {

namespace {

// Most words are right already, and pages that nobody has touched stay so.
template <class T>
void Put(std::atomic<T>& word, T value) {
  if (word.load(std::memory_order_relaxed) != value) word.store(value, std::memory_order_relaxed);
}

// A damaged one would run over soon.
constexpr uint64_t kLastTick = uint64_t{1} << 40;

}  // namespace

bool Cache::Accounted() const {
  const uint32_t mark = pool_->mark.load(std::memory_order_relaxed);
  uint64_t slots = pool_->count.load(std::memory_order_relaxed), blocks = 0, items = 0;
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    const Cell& cell = cells_[thread];
    slots += cell.reserved.load(std::memory_order_relaxed) != 0;
    const Run old = Plain(cell.old.load(std::memory_order_relaxed)), fresh = cell.fresh.load(std::memory_order_relaxed);
    blocks += LengthOf(fresh) + (old == fresh ? 0 : LengthOf(old));
  }
  for (uint32_t stripe = 0; stripe <= stripe_mask_; stripe++)
    items += stripes_[stripe].count.load(std::memory_order_relaxed);
  if (mark > geometry_.max_items || slots + items != mark) return false;
  return !bitmap_ || items != 0 || pool_->taken.load(std::memory_order_relaxed) == blocks;
}

Status Cache::Rebuild(const Caller& caller) {
  Zeroed<uint8_t> kept(uint64_t{slots_} + 1);
  return kept ? RebuildUnder(0, caller, &kept[0]) : Status::kNoMemory;
}

Status Cache::RebuildUnder(uint32_t lock, const Caller& caller, uint8_t* kept) {
  if (lock < geometry_.locks()) {
    Guard guard(*locks_, geometry_.first_lock + lock, caller, *this);
    return guard.status() == Status::kOk ? RebuildUnder(lock + 1, caller, kept) : guard.status();
  }
  if (header_->torn.load(std::memory_order_relaxed) == 0 && Accounted()) return Status::kOk;
  header_->torn.store(1, std::memory_order_relaxed);
  InThisOrder();
  pool_->head.store(0, std::memory_order_relaxed);
  pool_->count.store(0, std::memory_order_relaxed);
  pool_->mark.store(geometry_.max_items, std::memory_order_relaxed);
  InThisOrder();
  EmptyChains();
  InThisOrder();
  if (bitmap_) KeepRuns();
  KeepSlots(kept);
  InThisOrder();
  if (geometry_.policy != kRefuse) RankAnew();
  InThisOrder();
  header_->torn.store(0, std::memory_order_relaxed);
  return Status::kOk;
}

void Cache::EmptyChains() {
  for (uint32_t bucket = 0; bucket < geometry_.hashsize; bucket++) Put(buckets_[bucket], Slot{0});
  for (uint32_t i = 0; i <= stripe_mask_; i++) {
    Stripe& stripe = stripes_[i];
    Put(stripe.count, uint32_t{0});
    Put(stripe.earliest, uint64_t{0});
    Put(stripe.longest, uint32_t{0});
    // Who is reading begins again.
    stripe.sequence.store(stripe.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  std::atomic_thread_fence(std::memory_order_release);
  for (Slot slot = 1; slot <= slots_ && sealed_; slot++) Put(At(slot).checksum, uint32_t{0});
  header_->expiry_hint.store(0, std::memory_order_relaxed);
}

void Cache::KeepSlots(uint8_t* kept) {
  auto keep = [&](Slot slot) {
    if (!ValidSlot(slot) || kept[slot] != 0) return false;
    kept[slot] = 1;
    return true;
  };
  constexpr Slot kNone = UINT32_MAX;
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    Put(cells_[thread].intent.armed, uint32_t{0});
    if (!keep(SpareOf(thread))) cells_[thread].spare.store(kNone, std::memory_order_relaxed);
  }
  uint32_t reserved = 0;
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    std::atomic<Slot>& slot = cells_[thread].reserved;
    if (slot.load(std::memory_order_relaxed) == 0) continue;
    if (reserved < geometry_.max_items && keep(slot.load(std::memory_order_relaxed))) reserved++;
    else slot.store(0, std::memory_order_relaxed);
  }
  Slot free = slots_;
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    if (SpareOf(thread) != kNone) continue;
    while (!keep(free)) free--;
    cells_[thread].spare.store(free, std::memory_order_relaxed);
  }
  // All others to the pool; those behind the last that is kept were never used, for all it matters.
  uint32_t mark = geometry_.max_items, count = 0;
  while (mark > 0 && kept[mark] == 0) mark--;
  Slot head = 0;
  for (Slot slot = slots_; slot > 0; slot--) {
    if (kept[slot] != 0) continue;
    Put(At(slot).key_size, uint32_t{0});
    if (slot > mark && slot <= geometry_.max_items) continue;
    Put(At(slot).chain_next, head);
    head = slot;
    count++;
  }
  InThisOrder();
  pool_->count.store(count, std::memory_order_relaxed);
  pool_->head.store(head, std::memory_order_relaxed);
  pool_->mark.store(mark, std::memory_order_relaxed);
}

void Cache::KeepRuns() {
  for (uint32_t at = 0; at < (geometry_.blocks + 63) / 64; at++) Put(map_[at], uint64_t{0});
  for (uint32_t block = 0; block < geometry_.blocks; block++) Put(owners_[block], Slot{0});
  auto keep = [&](Run run) {
    if (!ValidRun(run) || Next(kTaken, FirstOf(run), EndOf(run)) != EndOf(run)) return false;
    Mark(run, true);
    return true;
  };
  for (uint32_t thread = 0; thread < geometry_.threads; thread++) {
    Cell& cell = cells_[thread];
    const Run old = cell.old.load(std::memory_order_relaxed), fresh = cell.fresh.load(std::memory_order_relaxed);
    if (old != 0 && ((old & kGoing) != 0 || !keep(old))) cell.old.store(0, std::memory_order_relaxed);
    // A thread may be making one of the other: it is one run.
    if (fresh != 0 && fresh != Plain(cell.old.load(std::memory_order_relaxed)) && !keep(fresh))
      cell.fresh.store(0, std::memory_order_relaxed);
  }
  pool_->taken.store(CountTaken(0, geometry_.blocks), std::memory_order_relaxed);
  pool_->start.store(0, std::memory_order_relaxed);
}

// Nothing was used before anything else.
void Cache::RankAnew() {
  Order& order = *order_;
  order.listed.store(0, std::memory_order_relaxed);
  order.gap.store(0, std::memory_order_relaxed);
  order.noters.store(0, std::memory_order_relaxed);
  if (order.tick.load(std::memory_order_relaxed) >= kLastTick) order.tick.store(0, std::memory_order_relaxed);
  const uint64_t latest = NextTick();
  for (uint32_t thread = 0; thread < geometry_.threads; thread++)
    if (cells_[thread].clock.load(std::memory_order_relaxed) > latest)
      cells_[thread].clock.store(0, std::memory_order_relaxed);
  for (uint64_t at = 0; at < uint64_t{geometry_.threads} * kNotes; at++) Put(notes_[at].slot, Slot{0});
  const uint32_t mark = pool_->mark.load(std::memory_order_relaxed), lap = order.lap.load(std::memory_order_relaxed);
  uint32_t listed = 0;
  for (Slot slot = 1; slot <= slots_; slot++) {
    const bool is_known = slot <= mark || slot > geometry_.max_items;
    Put(listed_[slot], static_cast<uint8_t>(is_known));
    if (!is_known) continue;
    Put(At(slot).used, uint64_t{0});
    ranks_[listed++] = {0, slot, lap};
  }
  InThisOrder();
  order.listed.store(listed, std::memory_order_relaxed);
}

}  // namespace uwshm
