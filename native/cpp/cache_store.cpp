// A cache that begins with what a file holds.
//
// Its items are looked at one by one, each by its checksum, and everything else in
// the file is made anew from the good ones: chains, counts, the pool, spares, the
// order. So what a death, a power cut or a bad disk did to links and lists does not
// matter, and an item that was damaged is a miss.
//
// Whoever dies in here leaves items as they were: at worst some are counted from
// another boot already, and their checksum tells. The next start does it all again.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cache.hpp"
#include "zeroed.hpp"

namespace uwshm {

namespace {

// Nobody else has the file.
template <class T>
void Put(std::atomic<T>& word, T value) {
  if (word.load(std::memory_order_relaxed) != value) word.store(value, std::memory_order_relaxed);
}

bool SameBoot(const StoreClock& a, const StoreClock& b) { return a.boot[0] == b.boot[0] && a.boot[1] == b.boot[1]; }

// What `now` of one boot is, counted from the beginning of another.
uint64_t OnClock(int64_t began_at, const StoreClock& clock, uint64_t now) {
  return static_cast<uint64_t>(std::max<int64_t>(clock.began_at + static_cast<int64_t>(now) - began_at, 1));
}

}  // namespace

class CacheRecovery {
 public:
  // Expiries are counted from `from`, or from `to` already; all of them from `to` in the end.
  CacheRecovery(Cache& cache, int64_t from, int64_t to, uint64_t now, StoreFindings* findings)
      : c_(cache),
        from_(from),
        to_(to),
        now_(now),
        findings_(*findings),
        taken_(cache.slots_ + 1),
        heads_(cache.geometry_.hashsize),
        members_(cache.slots_ + 1),
        spare_(cache.slots_ + 1),
        seals_(cache.geometry_.threads) {}

  // False: there is no memory for it.
  bool Run() {
    findings_ = {};
    if (!taken_ || !spare_ || !heads_ || !members_ || !seals_) return false;
    NoteSeals();
    if (c_.geometry_.policy != kRefuse) KeepUses();
    for (uint32_t stripe = 0; stripe <= c_.stripe_mask_; stripe++) {
      c_.stripes_[stripe].count = 0;
      c_.stripes_[stripe].earliest = 0;
      c_.stripes_[stripe].longest = 0;
    }
    for (Slot slot = 1; slot <= c_.slots_; slot++) Consider(slot);
    for (Slot slot = 1; slot <= c_.slots_; slot++) {
      ExpectChain(slot);
      if (taken_[slot]) Admit(slot);
    }
    Link();
    ShareOut();
    if (c_.geometry_.policy != kRefuse) Rank();
    c_.header_->expiry_hint = first_expiry_;
    c_.header_->damaged = findings_.damaged;
    c_.header_->torn = 0;
    return true;
  }

 private:
  // A change in place that nobody finished: its item has the old checksum or the new one.
  struct Seal {
    Slot slot;
    uint32_t before, after;
  };

  void NoteSeals() {
    for (uint32_t thread = 0; thread < c_.geometry_.threads; thread++) {
      const Intent& intent = c_.cells_[thread].intent;
      const Slot slot = intent.link - c_.SealLink(0);
      if (intent.armed != 0 && c_.ValidSlot(slot)) seals_[found_seals_++] = {slot, intent.expected, intent.desired};
    }
  }

  bool HasSeal(Slot slot, uint32_t sum) const {
    if (sum == c_.At(slot).checksum.load(std::memory_order_relaxed)) return true;
    return std::any_of(&seals_[0], &seals_[0] + found_seals_, [&](const Seal& seal) {
      return seal.slot == slot && (seal.before == sum || seal.after == sum);
    });
  }

  // What was read last is said by notes, and the items do not know yet.
  void KeepUses() {
    const uint64_t notes = uint64_t{c_.geometry_.threads} * kNotes;
    for (uint64_t at = 0; at < notes; at++) {
      Note& note = c_.notes_[at];
      const Slot slot = note.slot;
      if (slot == 0) continue;
      if (c_.ValidSlot(slot) && note.used < kLastMoment) c_.UsedAt(slot, note.used);
      note.slot = 0;
    }
  }

  void Consider(Slot slot) {
    Item& item = c_.At(slot);
    if (item.checksum.load(std::memory_order_relaxed) == 0) return;
    if (!c_.Sound(slot)) return Damaged(slot);
    const uint64_t content = c_.ContentOf(slot);
    const uint64_t said = item.expires_at.load(std::memory_order_relaxed);
    uint64_t expires_at = said;
    uint32_t seal = c_.SealOf(Cache::WordsOf(item), content, said, from_);
    if (HasSeal(slot, seal)) {
      // What ended before this boot began has no time in it.
      const auto moved = static_cast<int64_t>(said) + from_ - to_;
      if (said != 0) expires_at = static_cast<uint64_t>(std::max<int64_t>(moved, 1));
    } else {
      seal = c_.SealOf(Cache::WordsOf(item), content, said, to_);
      if (!HasSeal(slot, seal)) return Damaged(slot);
    }
    Key key{};
    const uint32_t key_size = item.key_size.load(std::memory_order_relaxed);
    if (c_.KeyOf(c_.KeyBytesOf(slot, key_size), key_size, &key) != Status::kOk || key.hash != item.hash)
      return Damaged(slot);
    if (expires_at != 0 && expires_at <= now_) {
      findings_.expired++;
      return Discard(slot);
    }
    // The seal is of the moment itself, so it is right before and after.
    Put(item.expires_at, expires_at);
    Put(item.checksum, seal);
    members_[slot] = {0, key.hash, key.bucket};
    taken_[slot] = true;
  }

  // Chains lie all over the memory, so their parts are asked for ahead of time.
  void ExpectChain(Slot slot) {
    constexpr Slot kFar = 24, kNear = 8;
    if (slot + kFar <= c_.slots_) __builtin_prefetch(&heads_[members_[slot + kFar].bucket]);
    if (slot + kNear <= c_.slots_) __builtin_prefetch(&members_[heads_[members_[slot + kNear].bucket]]);
  }

  bool SameKey(Slot a, Slot b) const {
    const uint32_t size = c_.At(a).key_size.load(std::memory_order_relaxed);
    return c_.At(b).key_size.load(std::memory_order_relaxed) == size &&
           memcmp(c_.KeyBytesOf(a, size), c_.KeyBytesOf(b, size), size) == 0;
  }

  // To a chain, unless it is an older version of an item that is on it.
  void Admit(Slot slot) {
    const Item& item = c_.At(slot);
    Member& member = members_[slot];
    Stripe& stripe = c_.stripes_[member.bucket & c_.stripe_mask_];
    const uint32_t version = item.version.load(std::memory_order_relaxed);
    const uint32_t sequence = stripe.sequence.load(std::memory_order_relaxed);
    if (static_cast<int32_t>(version - sequence) > 0) Put(stripe.sequence, version);
    Slot* link = &heads_[member.bucket];
    uint64_t before = 0;
    for (; *link != 0; link = &members_[*link].next, before++)
      if (members_[*link].hash == member.hash && SameKey(*link, slot)) break;
    if (const Slot other = *link) {
      findings_.older++;
      if (static_cast<int32_t>(version - c_.At(other).version.load(std::memory_order_relaxed)) <= 0)
        return Discard(slot);
      member.next = members_[other].next;
      findings_.bytes -= c_.At(other).value_size.load(std::memory_order_relaxed);
      Discard(other);
    } else {
      // More good items than the cache may have: such a file was not written by us.
      if (findings_.good >= c_.geometry_.max_items || before >= c_.longest_chain_) return Damaged(slot);
      findings_.good++;
      Put(stripe.count, stripe.count + 1);
      Put(stripe.longest, std::max(stripe.longest.load(std::memory_order_relaxed), static_cast<uint32_t>(before) + 1));
    }
    *link = slot;
    findings_.bytes += item.value_size.load(std::memory_order_relaxed);
    const uint64_t expires_at = item.expires_at.load(std::memory_order_relaxed);
    if (expires_at == 0) return;
    if (stripe.earliest == 0 || expires_at < stripe.earliest) Put(stripe.earliest, expires_at);
    if (first_expiry_ == 0 || expires_at < first_expiry_) first_expiry_ = expires_at;
  }

  // Mostly they are what they were, and then no page of the file is written.
  void Link() {
    for (uint32_t bucket = 0; bucket < c_.geometry_.hashsize; bucket++) Put(c_.buckets_[bucket], heads_[bucket]);
    for (Slot slot = 1; slot <= c_.slots_; slot++)
      if (taken_[slot]) Put(c_.At(slot).chain_next, members_[slot].next);
  }

  void Discard(Slot slot) {
    taken_[slot] = false;
    c_.At(slot).checksum.store(0, std::memory_order_relaxed);
  }

  void Damaged(Slot slot) {
    if (findings_.first.size() < StoreFindings::kTold) {
      const uint32_t size = c_.At(slot).key_size;
      std::string key;
      if (size <= c_.geometry_.keysize) key.assign(reinterpret_cast<const char*>(c_.KeyBytesOf(slot, size)), size);
      findings_.first.push_back({slot, key});
    }
    findings_.damaged++;
    Discard(slot);
  }

  // Every slot that holds nothing: one to each thread, the others to the pool.
  void ShareOut() {
    const uint32_t most = c_.geometry_.max_items;
    memset(static_cast<void*>(c_.cells_), 0, c_.geometry_.threads * sizeof(Cell));
    for (Slot slot = 1; slot <= most; slot++)
      if (taken_[slot]) mark_ = slot;
    Slot free = 1;
    for (uint32_t thread = 0; thread < c_.geometry_.threads; thread++) {
      if (!taken_[most + 1 + thread]) continue;  // its own is free: that is what 0 says
      while (taken_[free]) free++;
      c_.cells_[thread].spare = free;
      spare_[free++] = 1;
    }
    mark_ = std::max(mark_, free - 1);
    uint32_t count = 0;
    Slot head = 0;
    for (Slot slot = most; slot != 0; slot--) {
      if (taken_[slot] || spare_[slot] != 0) continue;
      Put(c_.At(slot).key_size, uint32_t{0});
      if (slot > mark_) continue;
      Put(c_.At(slot).chain_next, head);
      head = slot;
      count++;
    }
    c_.pool_->head = head;
    c_.pool_->count = count;
    c_.pool_->mark = mark_;
  }

  // As the items say when they were used. That is under no checksum, and may be anything.
  void Rank() {
    Order& order = *c_.order_;
    uint64_t latest = 0;
    uint32_t listed = 0;
    for (Slot slot = 1; slot <= c_.slots_; slot++) {
      const bool is_known = slot <= mark_ || taken_[slot];
      Put(c_.listed_[slot], static_cast<uint8_t>(is_known));
      if (!is_known) continue;
      Item& item = c_.At(slot);
      if (!taken_[slot] || item.used >= kLastMoment) Put(item.used, uint64_t{0});
      const uint64_t used = item.used;
      latest = std::max(latest, used);
      c_.ranks_[listed++] = {c_.geometry_.policy == kSieve ? used & ~kVisited : used, slot, 0};
    }
    order.listed = listed;
    order.noters = 0;
    order.lap = 0;
    order.tick = (latest >> kTickShift) + 1;
    order.gap = 0;
    for (uint32_t at = (listed + 2) / 4; at > 0; at--) {
      order.sinking = c_.ranks_[at - 1];
      order.gap = at;
      c_.Sink(at);
    }
  }

  static constexpr uint64_t kLastMoment = uint64_t{1} << 62;

  Cache& c_;
  const int64_t from_, to_;
  const uint64_t now_;
  StoreFindings& findings_;
  Zeroed<bool> taken_;
  // The chains as they will be, in memory of our own and close together: items lie too far from each other to be
  // looked up by the million.
  struct Member {
    Slot next;
    uint32_t hash, bucket;
  };
  Zeroed<Slot> heads_;
  Zeroed<Member> members_;
  Zeroed<uint8_t> spare_;
  Zeroed<Seal> seals_;
  uint32_t found_seals_ = 0;
  uint32_t mark_ = 0;
  uint64_t first_expiry_ = 0;
};

Status Cache::Open(const StoreSpec& store, InstanceId instance, uint32_t ordinal, const char* name,
                   const CacheGeometry& geometry, const CacheRules& rules, HashSeed seed, LockTable* locks,
                   uint64_t now) {
  Status status = Validate(geometry);
  if (status == Status::kOk && geometry.blocks != 0) status = Status::kForeign;  // a run has no checksum
  if (status != Status::kOk) return status;
  const CachePlaces at = CachePlaces::Of(geometry);
  StoreHead head{};
  if (store.wiped) {
    if (ftruncate(store.fd, 0) != 0) return Status::kNoMemory;
    // A disk that is full tells now, and not by a SIGBUS at somebody's write.
    const int why = posix_fallocate(store.fd, 0, static_cast<off_t>(at.size));
    if (why != 0) {
      if (ftruncate(store.fd, 0) != 0) return Status::kNoMemory;
      errno = why;
      return Status::kNoMemory;
    }
  } else {
    status = head.Read(store.fd);
    if (status != Status::kOk) return status;
    if (!StoreObjection(head, name, geometry, rules).empty()) return Status::kForeign;
  }
  status = segment_.MapFile(store.fd, at.size);
  if (status != Status::kOk) return status;
  geometry_ = geometry;
  locks_ = locks;
  StoreClock clock = store.clock;
  if (!store.wiped) {
    seed = {head.seed[0], head.seed[1]};
    StoreFindings findings;
    Lay(at);
    StoreHeader& kept = head.store;
    if (SameBoot(kept.clock, clock)) clock.began_at = kept.clock.began_at;
    // One move at a time: what a start has left half done is finished first.
    for (bool arrived = false; !arrived;) {
      const int64_t to = kept.moving_to != 0 ? kept.moving_to : clock.began_at;
      arrived = to == clock.began_at;
      if (to != kept.clock.began_at) {
        kept.moving_to = to;
        if (!head.Write(store.fd)) return Status::kNoMemory;
      }
      if (!CacheRecovery(*this, kept.clock.began_at, to, OnClock(to, clock, now), &findings).Run())
        return Status::kNoMemory;
      kept.clock.began_at = to;
      kept.moving_to = 0;
      if (!arrived && !head.Write(store.fd)) return Status::kNoMemory;
    }
  }
  head = {};
  head.segment = {kSegmentMagic,
                  kCacheLayout,
                  instance,
                  at.size,
                  SegmentKind::kCache,
                  ordinal,
                  {geometry.max_items, geometry.blocksize, geometry.keysize, geometry.hashsize, geometry.threads,
                   geometry.first_lock, geometry.policy},
                  1};
  strncpy(head.name, name, sizeof head.name - 1);
  head.seed[0] = seed.a;
  head.seed[1] = seed.b;
  head.rules = rules;
  head.store.clock = clock;
  head.store.owner_pid = store.pid;
  // From here on the file is a store; others may attach.
  if (!head.Write(store.fd) || !LockFile(store.fd, kShareFile)) return Status::kNoMemory;
  Lay(at);
  return Status::kOk;
}

Status Cache::Examine(int fd, const StoreHead& head, const StoreClock& clock, uint64_t now, StoreFindings* findings) {
  Status status = segment_.MapPicture(fd, head.segment.size);
  if (status != Status::kOk) return status;
  geometry_ = head.geometry();
  Lay(CachePlaces::Of(geometry_));
  StoreClock here = clock;
  if (SameBoot(head.store.clock, clock)) here.began_at = head.store.clock.began_at;
  // Items that a start has moved already need not be moved back.
  const int64_t to = head.store.moving_to != 0 ? head.store.moving_to : head.store.clock.began_at;
  began_at_ = to;
  CacheRecovery recovery(*this, head.store.clock.began_at, to, OnClock(to, here, now), findings);
  return recovery.Run() ? Status::kOk : Status::kNoMemory;
}

}  // namespace uwshm
