// One cache, byte for byte, as every process maps it.
//
//   0 ────────────┬──────────────────────────────────────────────────────┐
//     header      │ SegmentHeader, CacheHeader: name, hash seed    384 B │
//   pool ─────────┼──────────────────────────────────────────────────────┤
//     Pool        │ free slots: a list, and a mark for never used ones   │
//   stripes_at ───┼──────────────────────────────────────────────────────┤
//     Stripe ×    │ sequence, count, earliest expiry                64 B │
//   cells_at ─────┼──────────────────────────────────────────────────────┤
//     Cell ×      │ per thread: intent, spare, reserved, counters  320 B │
//   buckets_at ───┼──────────────────────────────────────────────────────┤
//     buckets     │ u32 × hashsize     first item of each chain          │
//   items_at ─────┼──────────────────────────────────────────────────────┤
//     Item ×      │ (max_items + threads + 1);  slot 0 is ∅         64 B │
//   keys_at ──────┼──────────────────────────────────────────────────────┤
//     keys        │ 64 B × slots, for keys over 16 B: shorter ones stand │
//                 │ in the item                                          │
//   long_keys_at ─┼──────────────────────────────────────────────────────┤
//     long keys   │ keysize × slots, for keys over 64 B                  │
//   order_at ─────┼──────────────────────────────────────────────────────┤
//     Order,      │ with a policy only: a heap of all slots, the first   │
//     Rank ×,     │ to go on top                               16 B each │
//     listed ×,   │ is the slot in the heap?                    1 B each │
//     Note ×      │ per thread, what it read of late             4,096 B │
//   map_at ───────┼──────────────────────────────────────────────────────┤
//     map,        │ in bitmap mode only: is a block taken?         1 bit │
//     owners      │ the slot of the item that has it, if one has     4 B │
//   blocks_at ────┼──────────────────────────────────────────────────────┤
//     blocks      │ blocksize × slots; in bitmap mode blocksize × blocks │
//   ──────────────┴──────────────────────────────────────────────────────┘
//
// All zero is a valid empty cache, and a page nobody touched costs nothing.
//
// **A slot is never changed while it can be found.** Each thread owns one
// *spare* slot. A write fills the spare, which nobody else looks at, and then
// publishes it by storing one link: in place of the old item (whose slot
// becomes the new spare) or at the end of the chain (a slot reserved from the
// pool becomes the spare). So a value cannot be torn by a death, a lock is
// held for a few stores whatever the value's size, and plain updates never
// meet the pool. Only a counter's eight bytes and an item's expiry change in
// place: one store each.
//
// The *sequence* of a stripe goes up after a slot has left one of its chains
// and before that slot is used again. A reader that finds the sequence
// unchanged has therefore read slots that nobody had reused meanwhile; it needs
// no lock, and a dead writer cannot hold it up.
//
// Locks: one per stripe (a bucket belongs to exactly one stripe), one for the
// pool. A thread holds one of them at a time, never two; but who makes all anew
// (cache_rebuild.cpp) holds all, taken in the order of their numbers.
//
// True whenever no lock is held and no call is under way (check.cpp walks all):
//   I1  A link is a slot number in 0..slots, never an address.
//   I2  Every slot is in exactly one place: on a chain, on the free list, above
//       the pool's mark, a thread's spare, or a thread's reserved slot.
//   I3  An item stands in the bucket of its key's hash; no two have one key.
//   I4  stripe.count = items on its chains; pool.count = length of its list;
//       items + free + reserved = max_items.
//   I5  stripe.earliest is 0 only if nothing in the stripe expires, and never
//       later than the first expiry in it.
//   I6  No intent is armed.
//   I11 A slot that the pool has says so: its key has no bytes. So a damaged pool gives
//       nobody a slot that is in use.
//
// A process may die between any two stores. Every change of a chain or of the
// pool is one `Change` (cache_change.cpp): the thread's intent record says
// which link is about to be stored, what it was and will be, and what follows
// from that; then the link is stored; then what follows. Who takes the lock of
// a dead owner looks at the link: stored, and the rest is done again; not
// stored, and nothing has happened.
//
// **Who goes when it is full** (cache_evict.cpp). Every slot that was ever used
// stands in the heap once, and never leaves it; the slot is ranked by a *lower
// bound* of when its item was last used. Hits do not touch the heap: they leave
// a note, and only who needs room looks whether the slot on top was used since.
// If so it sinks to where it belongs; if not, nothing in the cache is older.
//   I7  A slot is in the heap at most once, and `listed` says whether; what is on
//       a chain is listed. No rank stands above one that goes earlier.
// The heap changes under the pool's lock. A slot sinks by steps, and Order says
// where the gap is, so that who inherits the lock goes on from there; a slot is
// added by one store, and `listed` follows from the last rank. Notes have one
// writer each and nobody's structure depends on them: a lost one is a hit that
// was not counted as use.
//
// **Bitmap mode** (cache_blocks.cpp, cache_move.cpp). A value takes a *run*, as
// many consecutive blocks as it needs. One word names a run, and it has one
// owner: an item, or a thread, which has two places for one:
//
//     fresh   it is being filled for the thread's next item
//     old     the item is off its chain that had it last
//
//   pool ──▶ fresh ──▶ item ──▶ old ──▶ pool      the two arrows at the item are
//              ◀────────────────┘                 the store of a link: see Change
//
// An old run stays with the thread, whose next value is often as long, and is
// marked idle meanwhile: who finds no room takes idle ones from their threads.
//   I8  The bits that are set are those of the runs of items on chains and of
//       threads, which do not overlap; pool.taken counts them. (Only while a
//       thread makes its old run the fresh one may it stand in both places.)
//   I9  For each block of an item on a chain, owners says the item's slot.
// Bits change under the pool's lock. A run is named before its bits are set and
// forgotten after they were cleared, so who inherits the lock sets those of the
// dead one's runs again. What somebody else takes from a thread is marked as going
// first, and is cleared to the end.
//
// **Sealed** (cache_seal.cpp): in a store, or when asked to, an item carries a checksum
// of its key, value, flags and expiry, and every read looks at it: what somebody has
// scribbled over is a miss, and its item goes.
//   I10 In a sealed cache, what is on a chain has its checksum; every other slot has 0.
//       A death may leave two live items of one key: the one with the higher
//       version counts.
// **In a file** (cache_store.cpp) it is what makes the item *live* for the next start, which
// believes no link, count or list of the file but builds them anew.
// Under an armed intent the checksum comes before the link, and goes after it; so
// a repair takes it away again, or finishes that too. What changes in place (a
// counter, an expiry) says both checksums in its intent first.
//
// Changed what a byte means? Raise the version in kCacheLayout: old segments
// must be refused. Sizes are in the number already.
#pragma once

#include <atomic>
#include <cstdint>

#include "segment.hpp"

namespace uwshm {

using Slot = uint32_t;  // 0 = none

enum CacheWays : uint32_t {
  kKeepsModified = 1,  // lastmod: the time of the last change is wanted
  kNotSwept = 2,       // the sweeper leaves it alone
  kCleared = 4,        // clear_on_full: all items go when there is no room for another
  kSealed = 8,         // checksum: items carry one, and every read looks at it
};

// How a cache behaves, beside what its geometry gives. Each process reads it once.
struct CacheRules {
  int64_t math_initial;  // what a counter is before its first operation
  uint32_t hash;         // HashKind
  uint32_t ways;         // CacheWays
};

// Which boot an expiry is counted from, and when that began: so that a store knows it on the next one.
struct StoreClock {
  uint64_t boot[2];  // the kernel's id of it
  int64_t began_at;  // epoch milliseconds
};

// Of a cache in a file; zero otherwise.
struct StoreHeader {
  StoreClock clock;
  int64_t moving_to;   // 0, or: some items are counted from there already
  uint32_t owner_pid;  // who has it, or had it last
  uint32_t unused;
  uint64_t checksum;  // of SegmentHeader and CacheHeader up to here
};
static_assert(sizeof(StoreHeader) == 48);

struct CacheHeader {
  char name[128];
  uint64_t seed[2];
  CacheRules rules;
  StoreHeader store;
  // With a policy: before this boot-time millisecond nobody need look for what
  // has expired to make room. A hint; 0 = nothing expires.
  std::atomic<uint64_t> expiry_hint;
  std::atomic<uint64_t> damaged;  // sealed: items that were found damaged, by reads and by the start of a store
  // 1: somebody has met links or counts that our own stores cannot leave. The next clear makes all anew.
  std::atomic<uint64_t> torn;
  uint64_t spare[3];
};
static_assert(sizeof(CacheHeader) == 256);

struct Pool {
  alignas(64) std::atomic<uint32_t> head;  // first free slot
  std::atomic<uint32_t> count;             // slots on the list
  std::atomic<uint32_t> mark;              // slots 1..mark were used at least once
  std::atomic<uint32_t> taken;             // bitmap mode: bits set
  std::atomic<uint32_t> start;             // likewise: where the next search begins; a hint
  uint32_t spare[11];
};
static_assert(sizeof(Pool) == 64);

struct Stripe {
  alignas(64) std::atomic<uint32_t> sequence;
  std::atomic<uint32_t> count;     // live items
  std::atomic<uint64_t> earliest;  // no item expires before; 0 = none expires
  std::atomic<uint32_t> longest;   // items of the longest chain that there ever was
  uint32_t unused;
  uint64_t spare[5];
};
static_assert(sizeof(Stripe) == 64);

// What a thread is about to do under the lock it holds.
struct Intent {
  std::atomic<uint32_t> armed;  // lock number + 1; 0 = nothing is under way
  std::atomic<uint32_t> link;   // which link: see Cache::LinkAt
  std::atomic<uint32_t> expected, desired;
  std::atomic<uint32_t> spare, reserved;  // the thread's slots afterwards
  std::atomic<uint32_t> count;            // of the stripe or the pool, afterwards
  uint32_t unused;
};
static_assert(sizeof(Intent) == 32);

// Consecutive blocks: how many << 32 | the first. 0 = none.
using Run = uint64_t;
constexpr Run kIdle = Run{1} << 31;   // whoever needs room may take it
constexpr Run kGoing = Run{1} << 30;  // somebody is at it
constexpr Run RunOf(uint32_t first, uint32_t length) { return length == 0 ? 0 : uint64_t{length} << 32 | first; }
constexpr Run Plain(Run run) { return run & ~(kIdle | kGoing); }
constexpr uint32_t FirstOf(Run run) { return static_cast<uint32_t>(Plain(run)); }
constexpr uint32_t LengthOf(Run run) { return static_cast<uint32_t>(run >> 32); }
constexpr uint32_t EndOf(Run run) { return FirstOf(run) + LengthOf(run); }

struct Cell {
  alignas(64) Intent intent;
  std::atomic<uint32_t> spare;        // 0 = not used yet: max_items + 1 + thread
  std::atomic<uint32_t> reserved;     // taken from the pool, not yet published
  std::atomic<uint64_t> modified_at;  // boot-time milliseconds of this thread's last change; 0 = none
  uint64_t gap[2];
  alignas(64) std::atomic<uint64_t> hits;
  std::atomic<uint64_t> misses;
  std::atomic<uint64_t> full;
  std::atomic<uint64_t> repairs;
  std::atomic<uint64_t> expired;  // items removed because they had expired
  std::atomic<uint64_t> evictions;
  std::atomic<uint64_t> clock;  // with a policy: the moment that was given last
  uint64_t room[1];
  // Writes that were refused, by Status: for those who wonder where their items are.
  alignas(64) std::atomic<uint64_t> refused[16];
  // Bitmap mode: the thread's runs, and what they are after the intent's change.
  alignas(64) std::atomic<Run> fresh;
  std::atomic<Run> old;
  std::atomic<Run> then_fresh, then_old;
  std::atomic<uint64_t> moves;  // items given another run to join free blocks
  uint64_t space[3];
};
static_assert(sizeof(Cell) == 320);

// A key stands in one of three places, by its length: so that a short one shares
// the item's cache line, and nobody pays for the longest.
constexpr uint32_t kInlineKey = 16;
constexpr uint32_t kMiddleKey = 64;

constexpr uint32_t kInHand = UINT32_MAX;  // key_size of a slot that was taken from the pool, until it is filled

enum ItemFlags : uint32_t {
  kAscii = 1,  // every byte < 128: may be decoded as Latin-1, four times as fast
  kText = 2,   // stored from a string: eight bytes of text are no counter
};

struct Item {
  alignas(64) std::atomic<uint32_t> chain_next;  // the free list when free
  std::atomic<uint32_t> hash;                    // high half of the key's hash; the low half chose the bucket
  std::atomic<uint32_t> key_size;
  std::atomic<uint32_t> flags;
  std::atomic<uint32_t> value_size;
  std::atomic<uint32_t> first_block;  // = slot, with fixed blocks; 0 if there is no block
  std::atomic<uint64_t> expires_at;   // boot-time milliseconds, 0 = never
  std::atomic<uint32_t> checksum;     // sealed; 0 = not live
  std::atomic<uint32_t> version;      // sealed: the stripe's sequence since it is there
  std::atomic<uint64_t> used;         // with a policy: the moment it was last used, as far as it was noted
  uint8_t key[kInlineKey];
};
static_assert(sizeof(Item) == 64);

// Which item goes when there is no room for another.
enum Policy : uint32_t {
  kRefuse,     // none: the new one is refused
  kLru,        // the one that was used longest ago; hits leave notes
  kLruStrict,  // the same, and a hit says so under its stripe's lock
  kSieve,      // the oldest one that was not used since the hand last passed
  kPolicies,
};
constexpr const char* kPolicyNames[] = {"none", "lru", "lru-strict", "sieve"};

// One place in the heap.
struct Rank {
  uint64_t used;  // a moment: the slot's item was last used (kSieve: was born) then, or later
  Slot slot;
  uint32_t lap;  // kSieve: how often the hand has passed; counts before `used`
};
static_assert(sizeof(Rank) == 16);

struct Order {
  alignas(64) std::atomic<uint32_t> listed;  // ranks in the heap
  std::atomic<uint32_t> gap;                 // index + 1 of the rank that is being replaced, 0 = none
  std::atomic<uint32_t> noters;              // thread slots that ever left a note
  std::atomic<uint32_t> lap;                 // the hand's
  Rank sinking;                              // what goes into the gap
  uint64_t spare[4];
  // The cache's own time. Reading the processor's would cost a hit 12 ns, and keep it
  // from overlapping with the next one; so hits and updates count on a clock of their
  // thread, which never stays behind the tick. It goes on with every slot that is taken:
  // what different threads read between two of those is in no order, all else is.
  alignas(64) std::atomic<uint64_t> tick;
  uint64_t spare_too[7];
};
static_assert(sizeof(Order) == 128);

// A moment is a tick and what a thread has counted since, above a bit that is left
// to kSieve: was the item read since the hand last passed?
constexpr uint32_t kTickShift = 21;
constexpr uint64_t kVisited = 1;

// What a thread read last among all slots that share this place in its table.
struct Note {
  std::atomic<uint64_t> used;
  std::atomic<Slot> slot;
  uint32_t unused;
};
static_assert(sizeof(Note) == 16);
constexpr uint32_t kNotes = 256;  // of each thread: a page, so that no two threads share a line

// What a cache is made of; everything else follows from these.
struct CacheGeometry {
  uint32_t max_items;
  uint32_t blocksize;  // bytes; the largest value, but for bitmap mode
  uint32_t keysize;    // bytes; the longest key
  uint32_t hashsize;   // buckets, a power of two
  uint32_t threads;    // thread slots of the instance
  uint32_t first_lock;
  uint32_t policy = kRefuse;
  uint32_t blocks = 0;  // bitmap mode: how many; 0 = each slot has one of its own

  // Bytes. A block is a whole number of grains, which are cache lines except for
  // the very small: a value of 100 B then lies in two lines, not three.
  uint64_t block_stride() const {
    const uint64_t grain = blocksize < 64 ? 8 : 64;
    return (uint64_t{blocksize} + grain - 1) & ~(grain - 1);
  }
  uint32_t largest_value() const {
    const uint64_t most = uint64_t{blocksize} * (blocks == 0 ? 1 : blocks);
    return most < UINT32_MAX ? static_cast<uint32_t>(most) : UINT32_MAX;
  }
  uint32_t stripes() const { return hashsize < 256 ? hashsize : 256; }
  uint32_t locks() const { return stripes() + 1; }
  // Beyond it a chain takes no more: whoever can choose the keys of one chain
  // must not make everybody's calls slow. A hash that spreads never comes near.
  uint64_t longest_chain() const {
    const uint64_t usual = (uint64_t{max_items} + hashsize - 1) / hashsize;
    return usual > 64 ? 16 * usual : 1024;
  }
  uint64_t slots() const { return uint64_t{max_items} + threads; }
};

struct CachePlaces {
  uint64_t pool, stripes, cells, buckets, items, keys, long_keys, order, ranks, listed, notes, map, owners, blocks,
      size;
  uint64_t long_key_stride;

  static CachePlaces Of(const CacheGeometry& geometry) {
    CachePlaces at;
    auto page = [](uint64_t offset) { return (offset + 4095) & ~uint64_t{4095}; };
    const uint64_t slots = geometry.slots() + 1;
    at.long_key_stride = geometry.keysize > kMiddleKey ? (uint64_t{geometry.keysize} + 63) & ~uint64_t{63} : 0;
    at.pool = sizeof(SegmentHeader) + sizeof(CacheHeader);
    at.stripes = at.pool + sizeof(Pool);
    at.cells = at.stripes + geometry.stripes() * sizeof(Stripe);
    at.buckets = page(at.cells + uint64_t{geometry.threads} * sizeof(Cell));
    at.items = page(at.buckets + uint64_t{geometry.hashsize} * sizeof(uint32_t));
    at.keys = page(at.items + slots * sizeof(Item));
    at.long_keys = page(at.keys + (geometry.keysize > kInlineKey ? slots * kMiddleKey : 0));
    at.order = page(at.long_keys + slots * at.long_key_stride);
    // Four siblings share a cache line: see Cache::Sink.
    at.ranks = at.order + sizeof(Order) + 64 - sizeof(Rank);
    at.listed = at.ranks + slots * sizeof(Rank);
    at.notes = page(at.listed + slots);
    at.map = geometry.policy == kRefuse ? at.order : at.notes + uint64_t{geometry.threads} * kNotes * sizeof(Note);
    at.owners = at.map + (uint64_t{geometry.blocks} + 63) / 64 * sizeof(uint64_t);
    at.blocks = page(at.owners + uint64_t{geometry.blocks} * sizeof(Slot));
    at.size = page(at.blocks + (geometry.blocks == 0 ? slots : geometry.blocks) * geometry.block_stride());
    return at;
  }
};

constexpr uint64_t kCacheLayout = LayoutNumber(
    5, {sizeof(SegmentHeader), sizeof(CacheHeader), sizeof(Pool), sizeof(Stripe), sizeof(Cell), sizeof(Intent),
        sizeof(Item), sizeof(Order), sizeof(Rank), sizeof(Note), kNotes, kInlineKey, kMiddleKey});

}  // namespace uwshm
