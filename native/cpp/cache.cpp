// Making a cache, finding a key, and the operations on one item.
#include "cache.hpp"

#include <algorithm>
#include <iterator>

namespace uwshm {
namespace {

// False: there is no result. (To a processor that is a signal: uWSGI dies of it, with the lock held.)
bool Compute(Math math, uint64_t a, uint64_t b, uint64_t* result) {
  constexpr uint64_t kLeast = uint64_t{1} << 63, kMinusOne = ~uint64_t{0};
  switch (math) {
    case Math::kAdd: *result = a + b; break;
    case Math::kMultiply: *result = a * b; break;
    case Math::kDivide:
      if (b == 0 || (a == kLeast && b == kMinusOne)) return false;
      *result = static_cast<uint64_t>(static_cast<int64_t>(a) / static_cast<int64_t>(b));
  }
  return true;
}

}  // namespace

Status Cache::Validate(const CacheGeometry& geometry) {
  constexpr uint64_t kMost = uint64_t{1} << 30;  // links number buckets and slots in 32 bits
  if (geometry.slots() > kMost || geometry.hashsize > kMost || geometry.blocksize > kMost || geometry.blocks > kMost)
    return Status::kTooLarge;
  const bool sound = geometry.max_items > 0 && geometry.blocksize > 0 && geometry.keysize > 0 &&
                     geometry.keysize < 65536 && geometry.hashsize > 0 && geometry.threads > 0 &&
                     (geometry.hashsize & (geometry.hashsize - 1)) == 0 && geometry.policy < kPolicies;
  return sound ? Status::kOk : Status::kForeign;
}

Status Cache::Create(InstanceId instance, uint32_t ordinal, const char* name, const CacheGeometry& geometry,
                     const CacheRules& rules, HashSeed seed, LockTable* locks) {
  Status status = Validate(geometry);
  if (status != Status::kOk) return status;
  const CachePlaces at = CachePlaces::Of(geometry);
  SegmentSpec spec{"uwshm:cache",
                   SegmentKind::kCache,
                   ordinal,
                   kCacheLayout,
                   instance,
                   at.size,
                   {geometry.max_items, geometry.blocksize, geometry.keysize, geometry.hashsize, geometry.threads,
                    geometry.first_lock, geometry.policy, geometry.blocks}};
  status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  CacheHeader* header = segment_.At<CacheHeader>(sizeof(SegmentHeader));
  header->seed[0] = seed.a;
  header->seed[1] = seed.b;
  header->rules = rules;
  strncpy(header->name, name, sizeof header->name - 1);
  geometry_ = geometry;
  locks_ = locks;
  Lay(at);
  return Status::kOk;
}

Status Cache::Attach(int fd, InstanceId instance, uint32_t ordinal, uint32_t threads, LockTable* locks,
                     uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kCache, ordinal, kCacheLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  for (uint64_t value : spec.geometry)
    if (value > UINT32_MAX) return Status::kForeign;
  auto word = [&](int i) { return static_cast<uint32_t>(spec.geometry[i]); };
  geometry_ = {word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7)};
  if (Validate(geometry_) != Status::kOk || CachePlaces::Of(geometry_).size != spec.size ||
      geometry_.threads != threads || uint64_t{geometry_.first_lock} + geometry_.locks() > locks->count())
    return Status::kForeign;
  locks_ = locks;
  Lay(CachePlaces::Of(geometry_));
  return rules_.hash < kHashKinds ? Status::kOk : Status::kForeign;
}

void Cache::Lay(const CachePlaces& at) {
  header_ = segment_.At<CacheHeader>(sizeof(SegmentHeader));
  rules_ = header_->rules;
  seed_ = {header_->seed[0], header_->seed[1]};
  name_.assign(header_->name, strnlen(header_->name, sizeof header_->name));
  began_at_ = header_->store.clock.began_at;
  sealed_ = began_at_ != 0 || (rules_.ways & kSealed) != 0;
  slots_ = static_cast<uint32_t>(geometry_.slots());
  stripe_mask_ = geometry_.stripes() - 1;
  longest_chain_ = geometry_.longest_chain();
  long_key_stride_ = at.long_key_stride;
  block_stride_ = geometry_.block_stride();
  bitmap_ = geometry_.blocks != 0;
  largest_value_ = geometry_.largest_value();
  data_size_ = geometry_.blocks * block_stride_;
  pool_ = segment_.At<Pool>(at.pool);
  stripes_ = segment_.At<Stripe>(at.stripes);
  cells_ = segment_.At<Cell>(at.cells);
  buckets_ = segment_.At<std::atomic<uint32_t>>(at.buckets);
  items_ = segment_.At<Item>(at.items);
  keys_ = segment_.base() + at.keys;
  long_keys_ = segment_.base() + at.long_keys;
  map_ = segment_.At<std::atomic<uint64_t>>(at.map);
  owners_ = segment_.At<std::atomic<Slot>>(at.owners);
  blocks_ = segment_.base() + at.blocks;
  if (geometry_.policy == kRefuse) return;
  order_ = segment_.At<Order>(at.order);
  ranks_ = segment_.At<Rank>(at.ranks);
  listed_ = segment_.At<std::atomic<uint8_t>>(at.listed);
  notes_ = segment_.At<Note>(at.notes);
}

Status Cache::KeyOf(const uint8_t* bytes, size_t size, Key* key) const {
  if (size == 0) return Status::kKeyEmpty;
  if (size > geometry_.keysize) return Status::kKeyTooLong;
  key->bytes = bytes;
  key->size = static_cast<uint32_t>(size);
  uint32_t bucket;
  switch (static_cast<HashKind>(rules_.hash)) {
    case HashKind::kDjb33x: bucket = key->hash = Djb33x(bytes, size); break;
    case HashKind::kMurmur2: bucket = key->hash = Murmur2(bytes, size); break;
    default: {
      const uint64_t hash = HashOf(seed_, bytes, size);
      key->hash = static_cast<uint32_t>(hash >> 32);
      bucket = static_cast<uint32_t>(hash);
    }
  }
  key->bucket = bucket & (geometry_.hashsize - 1);
  key->stripe = key->bucket & stripe_mask_;
  return Status::kOk;
}

bool Cache::Find(const Key& key, uint32_t sequence, Place* place) const {
  place->link = key.bucket;
  Slot slot = buckets_[key.bucket].load(std::memory_order_acquire);
  uint32_t steps = 0;
  for (; slot != 0; steps++) {
    if (!ValidSlot(slot) || steps > slots_) return false;
    // A torn chain may be a circle: look up from the page now and then.
    if ((steps & 63) == 63 && stripes_[key.stripe].sequence.load(std::memory_order_acquire) != sequence) return false;
    // Reads want the value next, and an update's next write goes there: it may
    // come while the key is compared.
    __builtin_prefetch(ValueOf(slot));
    __builtin_prefetch(ValueOf(slot) + 64);
    const Item& item = At(slot);
    if (item.hash.load(std::memory_order_relaxed) == key.hash &&
        item.key_size.load(std::memory_order_relaxed) == key.size &&
        SameBytes(KeyBytesOf(slot, key.size), key.bytes, key.size))
      break;
    place->link = LinkAfter(slot);
    slot = item.chain_next.load(std::memory_order_acquire);
  }
  place->slot = slot;
  place->before = steps;
  return true;
}

uint8_t* Cache::Begin(const Caller& caller, uint32_t blocks) {
  const Slot spare = SpareOf(caller.thread);
  if (!ValidSlot(spare)) return nullptr;
  if (!bitmap_) return ValueOf(spare);
  const Run run = cells_[caller.thread].fresh.load(std::memory_order_relaxed);
  return ValidRun(run) && LengthOf(run) >= blocks ? blocks_ + FirstOf(run) * block_stride_ : nullptr;
}

Status Cache::Store(const Caller& caller, const Key& key, How how, const void* value, size_t size, uint32_t flags,
                    uint64_t expires_at, const Expected* expected) {
  if (size > largest_value_) return Status::kValueTooLarge;
  const auto length = static_cast<uint32_t>(size);
  uint32_t blocks = 0;
  if (bitmap_) {
    blocks = BlocksFor(length);
    const Status status = Freshen(caller, key, how, blocks, expected);
    if (status != Status::kOk) return status;
  }
  uint8_t* room = Begin(caller, blocks);
  if (room == nullptr) return Corrupt();
  CopyIn(room, static_cast<const uint8_t*>(value), size);
  return Publish(caller, key, how, length, flags, expires_at, expected, static_cast<const uint8_t*>(value));
}

Status Cache::Objection(const Caller& caller, How how, const Place& place, const Expected* expected) const {
  const bool present = place.slot != 0 && !Expired(At(place.slot), caller);
  if (how == How::kAdd) return present ? Status::kExists : Status::kOk;
  if (!present) return Status::kNotFound;
  // Nobody changes the value meanwhile: that takes the lock.
  if (At(place.slot).value_size.load(std::memory_order_relaxed) != expected->size) return Status::kChanged;
  const uint8_t* now = ValueAt(place.slot, static_cast<uint32_t>(expected->size));
  if (now == nullptr) return Corrupt();
  const bool same = SameBytes(now, static_cast<const uint8_t*>(expected->bytes), expected->size);
  return same ? Status::kOk : Status::kChanged;
}

void Cache::Announce(uint32_t stripe, uint64_t expires_at) {
  if (expires_at == 0) return;
  std::atomic<uint64_t>& earliest = stripes_[stripe].earliest;
  const uint64_t said = earliest.load(std::memory_order_relaxed);
  if (said == 0 || expires_at < said) earliest.store(expires_at, std::memory_order_relaxed);
  if (geometry_.policy != kRefuse) LowerExpiryHint(expires_at);
}

Status Cache::Publish(const Caller& caller, const Key& key, How how, uint32_t size, uint32_t flags, uint64_t expires_at,
                      const Expected* expected, const uint8_t* bytes) {
  Cell& cell = cells_[caller.thread];
  const Slot fresh = SpareOf(caller.thread);
  if (!ValidSlot(fresh)) return Corrupt();
  Item& item = At(fresh);
  item.hash.store(key.hash, std::memory_order_relaxed);
  item.key_size.store(key.size, std::memory_order_relaxed);
  item.flags.store(flags, std::memory_order_relaxed);
  item.value_size.store(size, std::memory_order_relaxed);
  Slot first = fresh;
  if (bitmap_) {
    const Run run = cell.fresh.load(std::memory_order_relaxed);
    Own(run, fresh);
    first = FirstOf(run);
  } else {
    item.first_block.store(fresh, std::memory_order_relaxed);
  }
  item.expires_at.store(expires_at, std::memory_order_relaxed);
  CopyIn(KeyBytesOf(fresh, key.size), key.bytes, key.size);
  const uint64_t content = !sealed_ ? 0 : bytes != nullptr ? ContentOf(key, bytes, size) : ContentOf(fresh);
  // The pool's slots are in the order since they were first taken.
  if (geometry_.policy != kRefuse && fresh > geometry_.max_items &&
      listed_[fresh].load(std::memory_order_relaxed) == 0) {
    Status status = EnlistSpare(caller);
    if (status != Status::kOk) return status;
  }

  Stripe& stripe = stripes_[key.stripe];
  uint32_t drops = 0;
  for (;;) {
    Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
    if (guard.status() != Status::kOk) return guard.status();
    Place place;
    if (!Find(key, stripe.sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
    const bool present = place.slot != 0;
    if (how != How::kReplace && Damaged(place)) {
      guard.Release();
      const Status status = drops++ < kDrops ? DropDamaged(caller, key) : Corrupt();
      if (status != Status::kOk) return status;
      continue;
    }
    if (how != How::kReplace) {
      const Status objection = Objection(caller, how, place, expected);
      if (objection != Status::kOk) {
        guard.Release();
        Forgo(caller);
        return objection;
      }
    }
    if (!present && place.before >= longest_chain_) {
      // What leaves the chain becomes the thread's reserved slot, so it must have none.
      const bool has_room = cell.reserved.load(std::memory_order_relaxed) != 0 ||
                            (bitmap_ && cell.old.load(std::memory_order_relaxed) != 0);
      const Status status = has_room ? Status::kOk : Thin(caller, key);
      if (has_room || status != Status::kOk) {
        guard.Release();
        if (status != Status::kOk) return Forgo(caller), status;
        const Status returned = ReturnReserved(caller);
        if (returned != Status::kOk) return returned;
        continue;
      }
      if (!Find(key, stripe.sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
    }
    // Of an eviction, for a key that somebody has stored meanwhile.
    if (bitmap_ && present && cell.old.load(std::memory_order_relaxed) != 0) {
      guard.Release();
      const Status status = ReturnReserved(caller);
      if (status != Status::kOk) return status;
      continue;
    }
    const Slot reserved = cell.reserved.load(std::memory_order_relaxed);
    if (!present && reserved == 0) {
      guard.Release();
      Status status = Reserve(caller);
      if (status != Status::kOk) return Forgo(caller), status;
      continue;  // somebody may have stored the key meanwhile: look again
    }
    Announce(key.stripe, expires_at);
    Modify(caller);
    if (geometry_.policy != kRefuse) {
      const uint64_t now = geometry_.policy == kLruStrict ? NextTick() : Moment(caller);
      // An update is a use of what it replaces.
      const bool visited = geometry_.policy == kSieve && present;
      item.used.store(visited ? now | kVisited : now, std::memory_order_relaxed);
    }
    const uint32_t count = stripe.count.load(std::memory_order_relaxed);
    uint32_t seal = 0;
    if (sealed_) {
      // As it was meant: what somebody has changed of it since it was filled stays found.
      const uint32_t version = stripe.sequence.load(std::memory_order_relaxed) + 1;
      item.version.store(version, std::memory_order_relaxed);
      seal = SealOf({key.size, key.hash, size, flags, first, version}, content, expires_at, began_at_);
    }
    Run old = 0;
    if (bitmap_) old = present ? RunLeftBy(place.slot) : cell.old.load(std::memory_order_relaxed);
    if (present) {
      if (how == How::kAdd) Bump(cell.expired);  // otherwise it would be in the way
      item.chain_next.store(At(place.slot).chain_next.load(std::memory_order_relaxed), std::memory_order_relaxed);
      Apply(cell, StripeLock(key.stripe), {place.link, place.slot, fresh, place.slot, reserved, count, 0, old, seal});
    } else {
      item.chain_next.store(0, std::memory_order_relaxed);
      if (place.before >= stripe.longest.load(std::memory_order_relaxed))
        stripe.longest.store(place.before + 1, std::memory_order_relaxed);
      Apply(cell, StripeLock(key.stripe), {place.link, 0, fresh, reserved, 0, count + 1, 0, old, seal});
    }
    guard.Release();
    Forgo(caller);
    return Status::kOk;
  }
}

Status Cache::Calculate(const Caller& caller, const Key& key, Math math, uint64_t n, uint64_t expires_at,
                        uint64_t* result) {
  if (largest_value_ < sizeof n) return Status::kValueTooLarge;
  for (uint32_t turn = 0;; turn++) {
    bool damaged;
    {
      Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
      if (guard.status() != Status::kOk) return guard.status();
      Place place;
      if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
      uint8_t* word = place.slot != 0 ? ValueAt(place.slot, sizeof n) : nullptr;
      const uint64_t now = word != nullptr ? LoadWord(word) : 0;
      damaged = Damaged(place);
      if (!damaged && place.slot != 0 && !Expired(At(place.slot), caller)) {
        const Item& item = At(place.slot);
        if (item.value_size.load(std::memory_order_relaxed) != sizeof n ||
            (item.flags.load(std::memory_order_relaxed) & kText) != 0)
          return Status::kNotANumber;
        if (word == nullptr) return Corrupt();
        if (!Compute(math, now, n, result)) return Status::kDivision;
        Modify(caller);
        uint32_t seal = 0;
        if (sealed_) {
          const uint64_t content = ContentOf(key, reinterpret_cast<const uint8_t*>(result), sizeof n);
          seal = SealOf(WordsOf(item), content, item.expires_at.load(std::memory_order_relaxed), began_at_);
        }
        InPlace(cells_[caller.thread], StripeLock(key.stripe), place.slot, seal, [&] { StoreWord(word, *result); });
        return Status::kOk;
      }
    }
    if (damaged) {
      const Status status = turn < kDrops ? DropDamaged(caller, key) : Corrupt();
      if (status != Status::kOk) return status;
    }
    if (!Compute(math, static_cast<uint64_t>(rules_.math_initial), n, result)) return Status::kDivision;
    Status status = Store(caller, key, How::kAdd, result, sizeof *result, 0, expires_at);
    if (status != Status::kExists) return status;
  }
}

Status Cache::Touch(const Caller& caller, const Key& key, uint64_t expires_at) {
  Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  Place place;
  if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
  if (place.slot == 0 || Expired(At(place.slot), caller)) return Status::kNotFound;
  Item& item = At(place.slot);
  uint32_t seal = 0;
  if (sealed_) {
    const Words words = WordsOf(item);
    const uint64_t content = ContentOf(place.slot);
    const uint32_t is = SealOf(words, content, item.expires_at.load(std::memory_order_relaxed), began_at_);
    if (!Sound(place.slot) || is != item.checksum.load(std::memory_order_relaxed)) {
      guard.Release();
      const Status status = DropDamaged(caller, key);
      return status == Status::kOk ? Status::kNotFound : status;
    }
    seal = SealOf(words, content, expires_at, began_at_);
  }
  Announce(key.stripe, expires_at);
  Modify(caller);
  // A death before this store leaves the stripe expecting something too early: I5 allows that.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  InPlace(cells_[caller.thread], StripeLock(key.stripe), place.slot, seal,
          [&] { item.expires_at.store(expires_at, std::memory_order_relaxed); });
  return Status::kOk;
}

Status Cache::Remove(const Caller& caller, const Key& key) {
  Status status = ReturnReserved(caller);
  if (status != Status::kOk) return status;
  Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  Place place;
  if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
  if (place.slot == 0) return Status::kNotFound;
  const bool expired = Expired(At(place.slot), caller);
  if (expired) Bump(cells_[caller.thread].expired);
  Unlink(caller, key.stripe, place);
  guard.Release();
  ReturnReserved(caller);
  return expired ? Status::kNotFound : Status::kOk;
}

Status Cache::Pop(const Caller& caller, const Key& key, uint8_t* to, size_t most, Found* found) {
  Cell& cell = cells_[caller.thread];
  Status status = ReturnReserved(caller);
  if (status != Status::kOk) return status;
  Place place;
  const uint8_t* value;
  uint32_t seal = 0;
  {
    Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
    if (guard.status() != Status::kOk) return guard.status();
    if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
    if (Damaged(place)) {
      guard.Release();
      status = DropDamaged(caller, key);
      if (status != Status::kOk) return status;
      place.slot = 0;
    }
    if (place.slot == 0 || Expired(At(place.slot), caller)) {
      Bump(cell.misses);
      return Status::kNotFound;
    }
    const Item& item = At(place.slot);
    *found = {item.value_size.load(std::memory_order_relaxed), item.flags.load(std::memory_order_relaxed),
              item.expires_at.load(std::memory_order_relaxed)};
    value = ValueAt(place.slot, found->size);
    if (value == nullptr) return Corrupt();
    if (found->size > most) return Status::kValueTooLarge;
    seal = item.checksum.load(std::memory_order_relaxed);
    Unlink(caller, key.stripe, place);
  }
  // Slot and run are this thread's alone until they are given back: no lock is needed to copy.
  CopyOut(to, value, found->size);
  const bool is_intact = !sealed_ || SealOf(place.slot) == seal;
  if (!is_intact) header_->damaged.fetch_add(1, std::memory_order_relaxed);
  Bump(is_intact ? cell.hits : cell.misses);
  ReturnReserved(caller);
  return is_intact ? Status::kOk : Status::kNotFound;
}

CacheFigures Cache::Figures(uint32_t threads_used) const {
  CacheFigures figures{};
  for (uint32_t i = 0; i < geometry_.stripes(); i++) {
    figures.items += stripes_[i].count.load(std::memory_order_relaxed);
    figures.longest_chain =
        std::max<uint64_t>(figures.longest_chain, stripes_[i].longest.load(std::memory_order_relaxed));
  }
  if (bitmap_) figures.blocks_taken = pool_->taken.load(std::memory_order_relaxed);
  figures.damaged = header_->damaged.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < threads_used; i++) {
    const Cell& cell = cells_[i];
    // Idle ones are as good as free.
    const Run old = cell.old.load(std::memory_order_relaxed);
    if ((old & kIdle) != 0) figures.blocks_taken -= std::min<uint64_t>(figures.blocks_taken, LengthOf(old));
    figures.moves += cell.moves.load(std::memory_order_relaxed);
    figures.hits += cell.hits.load(std::memory_order_relaxed);
    figures.misses += cell.misses.load(std::memory_order_relaxed);
    figures.full += cell.full.load(std::memory_order_relaxed);
    figures.repairs += cell.repairs.load(std::memory_order_relaxed);
    figures.evictions += cell.evictions.load(std::memory_order_relaxed);
    figures.expired += cell.expired.load(std::memory_order_relaxed);
    figures.modified_at = std::max(figures.modified_at, cell.modified_at.load(std::memory_order_relaxed));
    for (size_t status = 0; status < std::size(figures.refused); status++)
      figures.refused[status] += cell.refused[status].load(std::memory_order_relaxed);
  }
  return figures;
}

uint32_t Cache::HolderPid() const {
  for (uint32_t i = 0; i < geometry_.locks(); i++)
    if (uint32_t pid = locks_->HolderOf(geometry_.first_lock + i)) return pid;
  return 0;
}

LockCounts Cache::CountsOfLocks() const { return locks_->CountsOf(geometry_.first_lock, geometry_.locks()); }

}  // namespace uwshm
