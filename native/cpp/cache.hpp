// One cache: a hash table in a segment, read without locks, written so that
// anybody may die anywhere. cache_layout.hpp has the drawing and the rules.
//
// Thread rules: any number of threads and processes call anything at any time,
// each with its own Caller. Reads take no lock unless writers of the same
// stripe keep overtaking them. A write holds one lock at a time, for a few
// stores. Every call returns: an owner that lives but does not go on makes it
// give up with kBusy after Caller::patience_ms.
//
// Keys and values arrive as private bytes and leave as private copies, with
// one exception: `Begin` lends the caller its own spare slot to fill.
#pragma once

#include <cstdlib>
#include <iterator>
#include <string>
#include <vector>

#include "cache_layout.hpp"
#include "hash.hpp"
#include "lock.hpp"
#include "shared_bytes.hpp"
#include "store.hpp"

namespace uwshm {

struct Key {
  const uint8_t* bytes;
  uint32_t size;
  uint32_t hash;    // high half: compared
  uint32_t bucket;  // from the low half
  uint32_t stripe;
};

// What a read has found, beside the bytes.
struct Found {
  uint32_t size;
  uint32_t flags;
  uint64_t expires_at;  // boot-time milliseconds, 0 = never
};

// uWSGI's set and update; kSwap replaces only a value that is the expected one.
enum class How : uint8_t { kAdd, kReplace, kSwap };

struct Expected {
  const void* bytes;
  size_t size;
};

enum class Math : uint8_t { kAdd, kMultiply, kDivide };

struct CacheFigures {
  uint64_t items, hits, misses, full, repairs, expired, evictions;
  uint64_t modified_at;  // boot-time milliseconds, 0 = never, or not wanted
  uint64_t longest_chain;
  uint64_t blocks_taken, moves;  // bitmap mode
  uint64_t damaged;              // sealed: items that were found damaged, and have gone
  uint64_t refused[16];          // by Status
};
static_assert(static_cast<uint32_t>(Status::kBusy) <= std::size(CacheFigures{}.refused));

class Cache final : public Repairable {
 public:
  // kTooLarge: the geometry exceeds what the layout can number.
  static Status Validate(const CacheGeometry& geometry);

  Status Create(InstanceId instance, uint32_t ordinal, const char* name, const CacheGeometry& geometry,
                const CacheRules& rules, HashSeed seed, LockTable* locks);
  // The same in a file, with what it holds. `now` in boot-time milliseconds. kForeign, kLayout: a file that cannot
  // be had so; kNoMemory: no room for it (errno).
  Status Open(const StoreSpec& store, InstanceId instance, uint32_t ordinal, const char* name,
              const CacheGeometry& geometry, const CacheRules& rules, HashSeed seed, LockTable* locks, uint64_t now);
  // What a start would find in the file of `head`. Nothing is changed in it.
  Status Examine(int fd, const StoreHead& head, const StoreClock& clock, uint64_t now, StoreFindings* findings);
  Status Attach(int fd, InstanceId instance, uint32_t ordinal, uint32_t threads, LockTable* locks, uint64_t* layout);

  const std::string& name() const { return name_; }
  const CacheGeometry& geometry() const { return geometry_; }
  const CacheRules& rules() const { return rules_; }
  uint32_t largest_value() const { return largest_value_; }
  Segment& segment() { return segment_; }

  // kOk, kKeyEmpty or kKeyTooLong; only then may the key be used.
  Status KeyOf(const uint8_t* bytes, size_t size, Key* key) const;

  // The key's item will be written soon: the memory may start coming.
  void Expect(const Key& key) const {
    ExpectWrite(locks_->Record(StripeLock(key.stripe)));
    ExpectWrite(&stripes_[key.stripe]);
    const Slot first = buckets_[key.bucket].load(std::memory_order_relaxed);
    if (!ValidSlot(first)) return;
    // A replaced item's slot is the next to be filled.
    ExpectWrite(&items_[first]);
    ExpectWrite(ValueOf(first));
    ExpectWrite(ValueOf(first) + 64);
  }

  enum Count { kCounted, kUncounted };  // whether hits and misses are told

  // Calls take(bytes, found) with the item's value, and perhaps again: only the
  // last call counts, and only if kOk is returned. `bytes` may be changing
  // under a call that will be repeated: copy them, interpret the copy. No lock
  // is held meanwhile. kOk, kNotFound; kBusy, kLockBroken, kCorrupt from the fallback.
  // In a sealed cache a damaged item is none, here and for all calls below.
  template <class Take>
  Status Read(const Caller& caller, const Key& key, Count count, Take take);

  // The reader had no room for what was found, and will ask again: one hit, not two.
  void TakeBackHit(const Caller& caller) { Bump(cells_[caller.thread].hits, UINT64_MAX); }

  // The calling thread's spare slot: room for blocksize bytes that nobody else
  // looks at until they are published. In bitmap mode it is the fresh run, which
  // `Store` provides. nullptr: the cache is corrupt.
  uint8_t* Begin(const Caller& caller, uint32_t blocks = 0);
  // Publishes what was written there, which is sealed as `bytes` if they are given. kOk, kExists (kAdd only), kNotFound
  // and kChanged (kSwap only), kFull, kCrowded, kBusy, kLockBroken, kCorrupt. `expected` goes with kSwap.
  Status Publish(const Caller& caller, const Key& key, How how, uint32_t size, uint32_t flags, uint64_t expires_at,
                 const Expected* expected = nullptr, const uint8_t* bytes = nullptr);
  // Begin, copy, Publish. kValueTooLarge as well.
  Status Store(const Caller& caller, const Key& key, How how, const void* value, size_t size, uint32_t flags,
               uint64_t expires_at, const Expected* expected = nullptr);

  // Changes a counter, in two's complement; a missing one starts at
  // `math_initial` and gets `expires_at`. Division truncates. kOk, kNotANumber,
  // kDivision (by 0, or -2^63 by -1), kFull, kValueTooLarge (where 8 bytes are).
  Status Calculate(const Caller& caller, const Key& key, Math math, uint64_t n, uint64_t expires_at, uint64_t* result);
  Status Add(const Caller& caller, const Key& key, uint64_t n, uint64_t expires_at, uint64_t* result) {
    return Calculate(caller, key, Math::kAdd, n, expires_at, result);
  }

  // Gives an item another time to live. kOk, kNotFound.
  Status Touch(const Caller& caller, const Key& key, uint64_t expires_at);

  // kOk, kNotFound (an expired item is removed all the same).
  Status Remove(const Caller& caller, const Key& key);
  // Removes the item and copies its value to `to`, where `most` bytes fit.
  // kOk, kNotFound, kValueTooLarge (it is still there; found->size is needed).
  Status Pop(const Caller& caller, const Key& key, uint8_t* to, size_t most, Found* found);

  // Adds the keys that begin with `prefix` of the buckets from `*bucket` on,
  // until there are `most` or the end is reached: *bucket is hashsize then. A
  // bucket is seen at one moment, so a key that stays is told exactly once.
  Status Scan(const Caller& caller, const std::string& prefix, size_t most, uint32_t* bucket,
              std::vector<std::string>* keys);
  Status Keys(const Caller& caller, std::vector<std::string>* keys) {
    uint32_t bucket = 0;
    return Scan(caller, "", SIZE_MAX, &bucket, keys);
  }
  // One item after the other; none that was there at the beginning is left.
  Status RemovePrefix(const Caller& caller, const std::string& prefix, uint64_t* removed);

  // Stripe by stripe: what others store behind its back survives. Where damage was met, all is made anew:
  // whatever links, lists and counts were, the cache is whole afterwards.
  Status Clear(const Caller& caller, uint64_t* removed);
  // Removes what has expired, about `most` items at a time; a busy stripe is left for the next time.
  uint64_t Sweep(const Caller& caller, uint64_t most = UINT64_MAX);

  // Counts a write that was answered with kExists .. kDivision.
  void CountRefusal(const Caller& caller, Status status) {
    Bump(cells_[caller.thread].refused[static_cast<uint32_t>(status)]);
  }

  CacheFigures Figures(uint32_t threads_used) const;
  uint32_t HolderPid() const;
  LockCounts CountsOfLocks() const;

  // Finishes and returns what a dead thread left: `dead` is a caller that acts
  // in its name. False: something is busy. REQUIRES: the process table's lock.
  bool Settle(const Caller& dead);
  void Repair(uint32_t lock, uint32_t dead_thread, const Caller& caller) override;

  // Walks every invariant; empty when all hold. Nobody may be writing.
  std::string Check() const;

 private:
  friend class CacheCheck;
  friend class CacheRecovery;

  // Where a key is, or where it would be appended (slot 0).
  struct Place {
    Slot slot;
    uint32_t link;
    uint32_t before = 0;  // items of the chain that stand before it
  };

  // A step from one valid state to the next, committed by storing one link.
  struct Change {
    uint32_t link, expected, desired;
    Slot spare, reserved;
    uint32_t count;
    Run fresh = 0, old = 0;
    uint32_t seal = 0;  // sealed: the checksum of the item that is to be found in `desired`
  };

  void Lay(const CachePlaces& at);
  // What was found there, no sequence of our own stores can leave.
  Status Corrupt() const {
    header_->torn.store(1, std::memory_order_relaxed);
    return Status::kCorrupt;
  }
  // Empties the cache whatever it holds, if it is torn (cache_rebuild.cpp). REQUIRES: no lock held.
  Status Rebuild(const Caller& caller);
  // Takes this lock and those behind it, and then does it.
  Status RebuildUnder(uint32_t lock, const Caller& caller, uint8_t* kept);
  void EmptyChains();
  void KeepSlots(uint8_t* kept);
  void KeepRuns();
  void RankAnew();
  // I4, as far as counts tell. Without all locks a no may mean that somebody is at it.
  bool Accounted() const;
  bool ValidSlot(Slot slot) const { return slot - 1 < slots_; }
  Item& At(Slot slot) const { return items_[slot]; }
  // REQUIRES: an item that nobody else changes, or only a prefetch.
  uint8_t* ValueOf(Slot slot) const {
    const uint64_t block = bitmap_ ? At(slot).first_block.load(std::memory_order_relaxed) : slot;
    return blocks_ + block * block_stride_;
  }
  // nullptr: there is no such value; the item is changing, or corrupt.
  uint8_t* ValueAt(Slot slot, uint32_t size) const {
    if (!bitmap_) return size <= largest_value_ ? ValueOf(slot) : nullptr;
    const uint64_t at = At(slot).first_block.load(std::memory_order_relaxed) * block_stride_;
    return at + size <= data_size_ ? blocks_ + at : nullptr;
  }
  uint8_t* KeyBytesOf(Slot slot, uint32_t size) const {
    if (size <= kInlineKey) return items_[slot].key;
    return size <= kMiddleKey ? keys_ + uint64_t{slot} * kMiddleKey : long_keys_ + slot * long_key_stride_;
  }
  uint32_t StripeLock(uint32_t stripe) const { return geometry_.first_lock + stripe; }
  uint32_t PoolLock() const { return geometry_.first_lock + geometry_.stripes(); }
  static bool Expired(const Item& item, const Caller& caller) {
    const uint64_t at = item.expires_at.load(std::memory_order_relaxed);
    return at != 0 && at <= caller.now();
  }

  // The calling thread has found an item there, and that counts as its use.
  void NoteUse(const Caller& caller, Slot slot) {
    if (geometry_.policy == kRefuse) return;
    if (geometry_.policy == kSieve) {
      std::atomic<uint64_t>& used = At(slot).used;
      const uint64_t was = used.load(std::memory_order_relaxed);
      if ((was & kVisited) == 0) used.store(was | kVisited, std::memory_order_relaxed);
      return;
    }
    const uint64_t now = Moment(caller);
    Note& note = notes_[uint64_t{caller.thread} * kNotes + slot % kNotes];
    if (note.slot.load(std::memory_order_relaxed) != slot) Displace(caller, note, slot);
    // Before this it says that the new slot was used when the old one was; there is no harm in either.
    note.used.store(now, std::memory_order_relaxed);
  }
  // Later than every moment that this thread was given, and than the tick.
  uint64_t Moment(const Caller& caller) {
    std::atomic<uint64_t>& clock = cells_[caller.thread].clock;
    const uint64_t tick = order_->tick.load(std::memory_order_relaxed);
    uint64_t moment = clock.load(std::memory_order_relaxed) + 2;
    if (moment < tick << kTickShift) moment = tick << kTickShift;
    else if (moment >> kTickShift > tick) NextTick();
    clock.store(moment, std::memory_order_relaxed);
    return moment;
  }
  // Later than every moment that anybody was given.
  uint64_t NextTick() { return (order_->tick.fetch_add(1, std::memory_order_relaxed) + 1) << kTickShift; }
  // Makes `note` one about another slot; what it said is kept at the item it was about.
  void Displace(const Caller& caller, Note& note, Slot slot);
  void UsedAt(Slot slot, uint64_t moment) {
    std::atomic<uint64_t>& used = At(slot).used;
    if (used.load(std::memory_order_relaxed) < moment) used.store(moment, std::memory_order_relaxed);
  }

  // False: the walk met a torn or impossible link, or the stripe has moved on
  // from `sequence` (which it cannot while its lock is held).
  bool Find(const Key& key, uint32_t sequence, Place* place) const;
  // What speaks against a write, apart from room. REQUIRES: the key's stripe locked.
  Status Objection(const Caller& caller, How how, const Place& place, const Expected* expected) const;
  // REQUIRES: before the change, so that a death in between tells too late a time, never too early a one.
  void Modify(const Caller& caller) {
    if ((rules_.ways & kKeepsModified) != 0)
      cells_[caller.thread].modified_at.store(caller.now(), std::memory_order_relaxed);
  }
  // Nothing in the stripe will expire before `expires_at`. REQUIRES: its lock; before the item has that expiry.
  void Announce(uint32_t stripe, uint64_t expires_at);
  template <class Take>
  Status ReadLocked(const Caller& caller, const Key& key, Count count, Take take);

  // The keys of one bucket, one behind the other in private memory.
  struct Gathering;
  enum class Gathered : uint8_t { kAll, kNoRoom, kTorn };
  Gathered Gather(uint32_t bucket, Gathering* gathering) const;
  Status GatherWhole(const Caller& caller, uint32_t bucket, Gathering* gathering);

  // The word a link number stands for: buckets first, then every slot's
  // chain_next, then the pool's head and mark. nullptr: no such link.
  std::atomic<uint32_t>* LinkAt(uint32_t link) const;
  uint32_t LinkAfter(Slot slot) const { return geometry_.hashsize + slot; }
  uint32_t PoolHeadLink() const { return geometry_.hashsize + slots_ + 1; }
  uint32_t PoolMarkLink() const { return geometry_.hashsize + slots_ + 2; }

  // Sealed: a link number for each slot's checksum.
  uint32_t SealLink(Slot slot) const { return geometry_.hashsize + slots_ + 2 + slot; }

  // Checksums (cache_seal.cpp). Key and value are hashed first, for that takes long.
  uint64_t ContentOf(Slot slot, const uint8_t* value, uint32_t size) const;
  // REQUIRES: a sound item.
  uint64_t ContentOf(Slot slot) const {
    const uint32_t size = At(slot).value_size.load(std::memory_order_relaxed);
    const uint8_t* value = ValueAt(slot, size);
    return value != nullptr && size <= largest_value_ ? ContentOf(slot, value, size) : 0;
  }
  // Whether its sizes stay within its room; what a lock protects does, unless somebody scribbles.
  bool Sound(Slot slot) const;
  // The same, of bytes that nobody else can change.
  uint64_t ContentOf(const Key& key, const uint8_t* value, uint32_t size) const;
  // What else is under the checksum.
  struct Words {
    uint32_t key_size, hash, value_size, flags, first_block, version;
  };
  static Words WordsOf(const Item& item);
  // Of an item, were that its content and its expiry. Never 0.
  uint32_t SealOf(const Words& item, uint64_t content, uint64_t expires_at, int64_t began_at) const;
  // Of an item as it stands; 0 of one that is not sound.
  uint32_t SealOf(Slot slot) const;
  // Whether it is as it was stored. Without the stripe's lock a no may mean that it is changing.
  bool Intact(Slot slot) const {
    const uint32_t seal = SealOf(slot);
    return seal != 0 && seal == At(slot).checksum.load(std::memory_order_relaxed);
  }
  // What was copied is the key's value, as sealed by what stood there before the copy was made. Somebody to
  // whom a damaged pool has given the slot as well may have changed all of it meanwhile.
  bool WasIntact(const Key& key, Slot slot, uint32_t before) const;
  // There is an item that is no longer as it was stored. REQUIRES: its stripe's lock.
  bool Damaged(const Place& place) const { return sealed_ && place.slot != 0 && !Intact(place.slot); }
  // Takes the key's item off if it is damaged. kOk: what is there now, if anything, is not.
  // REQUIRES: no lock held.
  Status DropDamaged(const Caller& caller, const Key& key);
  // Who is in a circle of links does not go by that.
  static constexpr uint32_t kDrops = 8;
  // Stores a counter or an expiry where it is. REQUIRES: `lock` held; `seal` is right afterwards.
  template <class Assign>
  void InPlace(Cell& cell, uint32_t lock, Slot slot, uint32_t seal, Assign assign);

  // REQUIRES for these: `lock` held.
  void Apply(Cell& cell, uint32_t lock, const Change& change);
  void Finish(Cell& cell, uint32_t lock);
  std::atomic<uint32_t>& CountBehind(uint32_t lock) const;
  // Takes the item at `place` off its chain; its slot becomes the thread's reserved one.
  void Unlink(const Caller& caller, uint32_t stripe, const Place& place);

  Slot SpareOf(uint32_t thread) const;

  // The heap. REQUIRES for these: the pool's lock.
  void Enlist(Slot slot);
  void ReplaceTop(const Rank& rank);
  void Sink(uint32_t gap);
  bool Precedes(const Rank& a, const Rank& b) const {
    return a.lap == b.lap ? a.used < b.used : static_cast<int32_t>(a.lap - b.lap) < 0;
  }
  void RepairOrder();
  // The slot that goes next, already ranked as if it held something new. At most
  // *looks slots are passed over because they were used; with slot 0 there is more to look at.
  // `is_empty`: it will probably be one without an item, as those before it were.
  static constexpr uint32_t kLooks = 256;  // at a time
  Status NextToGo(uint32_t* looks, bool is_empty, Rank* victim);

  uint64_t LastUseOf(Slot slot) const;
  // What a rank should be now. kSieve: a visit is forgotten by that.
  Rank Reconsidered(const Rank& rank);
  uint32_t LapOfNext(uint32_t listed, bool is_empty) const;
  // Without a lock a guess: the slot may be changing.
  bool BucketOf(Slot slot, uint32_t* bucket) const;
  // So that the thread's own spare can be found by who needs room.
  Status EnlistSpare(const Caller& caller);
  // Takes the item in `slot` off its chain, for the calling thread, if it `goes()`.
  // kNotFound: there is none, or it does not. REQUIRES: no lock held.
  template <class Goes>
  Status Evict(const Caller& caller, Slot slot, Goes goes);
  Status EvictVictim(const Caller& caller, const Rank& victim);
  Status EvictBlock(const Caller& caller, uint32_t block);
  // Takes off a chain that takes no more whoever goes first: what has expired, else who
  // goes by the policy. kCrowded: nobody. REQUIRES: the key's stripe locked, nothing reserved.
  Status Thin(const Caller& caller, const Key& key);
  // The link to `slot` in a bucket. REQUIRES: the bucket's stripe locked. kNotFound, kCorrupt.
  Status Locate(uint32_t bucket, Slot slot, Place* place) const;
  // Removes what has expired, of one stripe that has such; how many.
  uint64_t SweepForRoom(const Caller& caller);
  bool MayHaveExpired(const Caller& caller) const;
  void LowerExpiryHint(uint64_t expires_at);

  // A slot of capacity for the calling thread; or a fresh run of so many blocks.
  // REQUIRES: no lock held. kFull when there is none.
  Status Reserve(const Caller& caller, uint32_t blocks = 0);
  // REQUIRES: the pool's lock. kFull: nothing is free.
  Status TakeSlot(const Caller& caller);
  // Gives the slot back, and the old run. If the pool is busy the thread keeps them: they stay accounted for.
  Status ReturnReserved(const Caller& caller) { return GiveBack(caller, false); }
  Status GiveBack(const Caller& caller, bool fresh_too);
  // What a write has not needed goes back. A run stays with the thread, for whoever needs room.
  void Forgo(const Caller& caller) {
    if (bitmap_) Renounce(caller);
    else ReturnReserved(caller);
  }
  Status Renounce(const Caller& caller);
  void PushReserved(const Caller& caller, Slot slot);

  // Runs (cache_blocks.cpp).
  uint32_t BlocksFor(uint32_t size) const { return size == 0 ? 0 : (size - 1) / geometry_.blocksize + 1; }
  Run RunOfItem(Slot slot) const {
    const Item& item = At(slot);
    return RunOf(item.first_block.load(std::memory_order_relaxed),
                 BlocksFor(item.value_size.load(std::memory_order_relaxed)));
  }
  // What a thread has of the item that it takes off. Sealed: 0, where its blocks do not say that they are its own.
  Run RunLeftBy(Slot slot) const;
  // Tells the item in `slot`, which nobody can find yet, and its blocks of each other. REQUIRES: a valid run.
  void Own(Run run, Slot slot) {
    if (!ValidRun(run)) return;
    At(slot).first_block.store(FirstOf(run), std::memory_order_relaxed);
    for (uint32_t block = FirstOf(run); block < EndOf(run); block++)
      owners_[block].store(slot, std::memory_order_relaxed);
  }
  bool ValidRun(Run run) const { return uint64_t{FirstOf(run)} + LengthOf(run) <= geometry_.blocks; }
  // Of a write that may be refused for other reasons than room: those first, before anybody is evicted for it.
  Status Freshen(const Caller& caller, const Key& key, How how, uint32_t blocks, const Expected* expected);
  Status Foresee(const Caller& caller, const Key& key, How how, const Expected* expected);
  // The map. REQUIRES for these: the pool's lock.
  // kFull; *scattered: there are as many free blocks, but not in a row.
  Status TakeBlocks(const Caller& caller, uint32_t blocks, bool* scattered);
  bool TakeRun(Cell& cell, uint32_t from, uint32_t end, uint32_t blocks);
  bool TakeIdle();
  void FreeRuns(Cell& cell, bool fresh_too);
  void Free(Run run);
  void Mark(Run run, bool taken);
  void RepairRuns(uint32_t dead_thread);
  uint32_t CountTaken(uint32_t from, uint32_t end) const;
  // The first block in from..end that is taken, or that is not; `end` if there is none.
  enum Use : uint8_t { kFree, kTaken };
  uint32_t Next(Use use, uint32_t from, uint32_t end) const;

  // Joining free blocks (cache_move.cpp). True: there are so many in a row now, unless somebody has taken them.
  bool Gather(const Caller& caller, uint32_t blocks);
  Run Window(uint32_t blocks) const;
  // Gives the item that has the block a run outside the window. kNotFound: no
  // item has it any more; kFull: there is no such run. REQUIRES: no lock held, no runs.
  Status MoveAway(const Caller& caller, uint32_t block, Run window);
  bool Has(Slot slot, uint32_t block) const {
    const Run run = RunOfItem(slot);
    return block - FirstOf(run) < LengthOf(run);
  }

  template <class Which>
  Status RemoveWhere(const Caller& caller, uint32_t stripe, Guard::Mode mode, Which which, uint64_t* removed);
  Status ClearStripe(const Caller& caller, uint32_t stripe, uint64_t* removed);
  Status SweepStripe(const Caller& caller, uint32_t stripe, Guard::Mode mode, uint64_t* removed);

  Segment segment_;
  LockTable* locks_ = nullptr;
  CacheGeometry geometry_{};
  CacheHeader* header_ = nullptr;
  CacheRules rules_{};
  HashSeed seed_{};
  std::string name_;
  bool sealed_ = false;   // items have checksums
  int64_t began_at_ = 0;  // of the boot that expiries count from, epoch milliseconds
  uint32_t slots_ = 0;
  uint32_t stripe_mask_ = 0;
  uint64_t longest_chain_ = 0;
  uint64_t long_key_stride_ = 0, block_stride_ = 0;
  bool bitmap_ = false;
  uint32_t largest_value_ = 0;
  uint64_t data_size_ = 0;  // bytes of all blocks, in bitmap mode
  Pool* pool_ = nullptr;
  Stripe* stripes_ = nullptr;
  Cell* cells_ = nullptr;
  std::atomic<uint32_t>* buckets_ = nullptr;
  Item* items_ = nullptr;
  uint8_t* keys_ = nullptr;
  uint8_t* long_keys_ = nullptr;
  Order* order_ = nullptr;
  Rank* ranks_ = nullptr;
  std::atomic<uint8_t>* listed_ = nullptr;
  Note* notes_ = nullptr;
  std::atomic<uint64_t>* map_ = nullptr;
  std::atomic<Slot>* owners_ = nullptr;
  uint8_t* blocks_ = nullptr;
};

template <class Assign>
void Cache::InPlace(Cell& cell, uint32_t lock, Slot slot, uint32_t seal, Assign assign) {
  if (!sealed_) return assign();
  Intent& intent = cell.intent;
  std::atomic<uint32_t>& checksum = At(slot).checksum;
  intent.link.store(SealLink(slot), std::memory_order_relaxed);
  intent.expected.store(checksum.load(std::memory_order_relaxed), std::memory_order_relaxed);
  intent.desired.store(seal, std::memory_order_relaxed);
  InThisOrder();
  intent.armed.store(lock + 1, std::memory_order_relaxed);
  InThisOrder();
  assign();
  InThisOrder();
  checksum.store(seal, std::memory_order_relaxed);
  InThisOrder();
  intent.armed.store(0, std::memory_order_release);
  InThisOrder();
}

template <class Take>
Status Cache::Read(const Caller& caller, const Key& key, Count count, Take take) {
  // Writers of one stripe out of 256 overtake a reader now and then; this many
  // times in a row they do only when something is wrong, and the lock mends it.
  constexpr int kRounds = 64;
  // A counter or an expiry that is being changed has the wrong checksum for a moment.
  constexpr int kDoubts = 4;
  int doubts = 0;
  if (geometry_.policy == kLruStrict && count == kCounted) return ReadLocked(caller, key, count, take);
  Cell& cell = cells_[caller.thread];
  const Stripe& stripe = stripes_[key.stripe];
  for (int round = 0; round < kRounds; round++) {
    const uint32_t sequence = stripe.sequence.load(std::memory_order_acquire);
    Place place;
    if (!Find(key, sequence, &place)) {
      // Nobody moved, and yet the links lead nowhere: once more under the lock will tell.
      std::atomic_thread_fence(std::memory_order_acquire);
      if (stripe.sequence.load(std::memory_order_relaxed) == sequence) break;
      continue;
    }
    bool hit = false;
    uint32_t seal = 0;
    if (place.slot != 0) {
      const Item& item = At(place.slot);
      const Found found{item.value_size.load(std::memory_order_relaxed), item.flags.load(std::memory_order_relaxed),
                        item.expires_at.load(std::memory_order_relaxed)};
      const uint8_t* value = ValueAt(place.slot, found.size);
      if (value == nullptr) continue;
      hit = found.expires_at == 0 || found.expires_at > caller.now();
      if (__builtin_expect(sealed_, 0)) seal = item.checksum.load(std::memory_order_acquire);
      if (hit) take(value, found);
    }
    // After the bytes were taken: what was wrong then still is.
    const bool intact = __builtin_expect(!sealed_, 1) || !hit || WasIntact(key, place.slot, seal);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (stripe.sequence.load(std::memory_order_relaxed) != sequence) continue;
    if (!intact) {
      if (++doubts == kDoubts) break;
      continue;
    }
    if (count == kCounted) {
      Bump(hit ? cell.hits : cell.misses);
      if (hit) NoteUse(caller, place.slot);
    }
    return hit ? Status::kOk : Status::kNotFound;
  }
  return ReadLocked(caller, key, count, take);
}

template <class Take>
Status Cache::ReadLocked(const Caller& caller, const Key& key, Count count, Take take) {
  Cell& cell = cells_[caller.thread];
  Found found{};
  uint8_t* copy = nullptr;
  bool damaged = false;
  {
    Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
    if (guard.status() != Status::kOk) return guard.status();
    Place place;
    if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
    damaged = Damaged(place);
    const uint32_t seal = place.slot != 0 ? At(place.slot).checksum.load(std::memory_order_acquire) : 0;
    if (!damaged && place.slot != 0 && !Expired(At(place.slot), caller)) {
      const Item& item = At(place.slot);
      found = {item.value_size.load(std::memory_order_relaxed), item.flags.load(std::memory_order_relaxed),
               item.expires_at.load(std::memory_order_relaxed)};
      const uint8_t* value = ValueAt(place.slot, found.size);
      if (value == nullptr) return Corrupt();
      copy = static_cast<uint8_t*>(malloc(uint64_t{found.size} + 1));
      if (copy == nullptr) return Status::kNoMemory;
      CopyOut(copy, value, found.size);
      if (sealed_ && !WasIntact(key, place.slot, seal)) return free(copy), Corrupt();
      if (count == kCounted && geometry_.policy == kLruStrict) UsedAt(place.slot, NextTick());
      else if (count == kCounted) NoteUse(caller, place.slot);
    }
  }
  if (damaged) DropDamaged(caller, key);  // if that is busy, the next one will
  if (count == kCounted) Bump(copy ? cell.hits : cell.misses);
  if (copy == nullptr) return Status::kNotFound;
  take(const_cast<const uint8_t*>(copy), found);
  free(copy);
  return Status::kOk;
}

}  // namespace uwshm
