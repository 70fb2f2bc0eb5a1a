// Walks the invariants of cache_layout.hpp, all of them, believing nothing it
// reads. Tests call it after every crash; so does fsck.
#include "cache.hpp"
#include "text.hpp"

namespace uwshm {
namespace {

uint32_t Word(const std::atomic<uint32_t>& word) { return word.load(std::memory_order_acquire); }

}  // namespace

class CacheCheck {
 public:
  explicit CacheCheck(const Cache& cache)
      : c_(cache), place_of_(cache.slots_ + 1, nullptr), on_chain_(cache.slots_ + 1), owned_(cache.geometry_.blocks) {}

  std::string Walk() {
    std::string fault;
    for (uint32_t stripe = 0; stripe <= c_.stripe_mask_ && fault.empty(); stripe++) fault = WalkStripe(stripe);
    if (fault.empty()) fault = WalkPool();
    if (fault.empty() && c_.geometry_.policy != kRefuse) fault = WalkOrder();
    for (uint32_t thread = 0; thread < c_.geometry_.threads && fault.empty(); thread++) fault = LookAtCell(thread);
    if (fault.empty() && c_.bitmap_) fault = WalkMap();
    for (Slot slot = 1; slot <= c_.slots_ && c_.sealed_ && fault.empty(); slot++) fault = LookAtSeal(slot);
    if (fault.empty() && c_.header_->torn.load(std::memory_order_relaxed) != 0) return "somebody has met damage";
    return fault.empty() ? Account() : fault;
  }

 private:
  // I2: every slot is in one place only.
  std::string Seen(Slot slot, const char* place) {
    if (!c_.ValidSlot(slot)) return Text("I1: %s holds slot %u of %u", place, slot, c_.slots_);
    if (place_of_[slot] != nullptr) return Text("I2: slot %u is on %s and on %s", slot, place_of_[slot], place);
    place_of_[slot] = place;
    return "";
  }

  std::string WalkStripe(uint32_t stripe) {
    uint32_t count = 0;
    uint64_t first = 0;
    for (uint32_t bucket = stripe; bucket < c_.geometry_.hashsize; bucket += c_.stripe_mask_ + 1) {
      for (Slot slot = Word(c_.buckets_[bucket]); slot != 0; slot = Word(c_.At(slot).chain_next)) {
        std::string fault = Seen(slot, "a chain");
        if (fault.empty()) fault = LookAtItem(slot, bucket);
        if (!fault.empty()) return fault;
        count++;
        on_chain_[slot] = true;
        const uint64_t at = c_.At(slot).expires_at.load(std::memory_order_relaxed);
        if (at != 0 && (first == 0 || at < first)) first = at;
      }
    }
    items_ += count;
    const Stripe& said = c_.stripes_[stripe];
    if (Word(said.count) != count) return Text("I4: stripe %u counts %u of %u items", stripe, Word(said.count), count);
    const uint64_t earliest = said.earliest.load(std::memory_order_relaxed);
    if (first != 0 && (earliest == 0 || earliest > first))
      return Text("I5: stripe %u expects no expiry before %llu, one is at %llu", stripe,
                  static_cast<unsigned long long>(earliest), static_cast<unsigned long long>(first));
    return "";
  }

  std::string LookAtItem(Slot slot, uint32_t bucket) {
    const Item& item = c_.At(slot);
    const uint32_t size = Word(item.key_size);
    if (size == 0 || size > c_.geometry_.keysize) return Text("I3: item %u has a key of %u bytes", slot, size);
    if (c_.ValueAt(slot, Word(item.value_size)) == nullptr)
      return Text("I3: item %u has a value of %u bytes at block %u", slot, Word(item.value_size),
                  Word(item.first_block));
    if (c_.bitmap_) {
      const Run run = c_.RunOfItem(slot);
      std::string fault = Owned(run, "an item's");
      if (!fault.empty()) return fault;
      for (uint32_t block = FirstOf(run); block < EndOf(run); block++)
        if (const Slot owner = Word(c_.owners_[block]); owner != slot)
          return Text("I9: block %u of item %u is said to be of %u", block, slot, owner);
    }
    std::string bytes(size, '\0');
    CopyOut(reinterpret_cast<uint8_t*>(&bytes[0]), c_.KeyBytesOf(slot, size), size);
    Key key{};
    c_.KeyOf(reinterpret_cast<const uint8_t*>(bytes.data()), size, &key);
    if (key.bucket != bucket || key.hash != Word(item.hash))
      return Text("I3: item %u stands in bucket %u, its key belongs in %u", slot, bucket, key.bucket);
    Cache::Place place{};
    if (!c_.Find(key, Word(c_.stripes_[key.stripe].sequence), &place) || place.slot != slot)
      return Text("I3: the key of item %u leads to item %u", slot, place.slot);
    return "";
  }

  std::string LookAtSeal(Slot slot) {
    const Item& item = c_.At(slot);
    const uint32_t right = on_chain_[slot] ? c_.SealOf(slot) : 0;
    if (Word(item.checksum) == right) return "";
    return Text("I10: slot %u has checksum %08x and should have %08x", slot, Word(item.checksum), right);
  }

  std::string WalkPool() {
    uint32_t count = 0;
    for (Slot slot = Word(c_.pool_->head); slot != 0; slot = Word(c_.At(slot).chain_next), count++) {
      std::string fault = Seen(slot, "the free list");
      if (fault.empty()) fault = LookAtFree(slot);
      if (!fault.empty()) return fault;
    }
    if (count != Word(c_.pool_->count)) return Text("I4: the pool counts %u of %u slots", Word(c_.pool_->count), count);
    const uint32_t mark = Word(c_.pool_->mark);
    if (mark > c_.geometry_.max_items) return Text("I4: the pool's mark is %u", mark);
    free_ = count + (c_.geometry_.max_items - mark);
    for (Slot slot = mark + 1; slot <= c_.geometry_.max_items; slot++) {
      std::string fault = Seen(slot, "the unused end");
      if (fault.empty()) fault = LookAtFree(slot);
      if (!fault.empty()) return fault;
    }
    return "";
  }

  std::string LookAtFree(Slot slot) {
    const uint32_t size = Word(c_.At(slot).key_size);
    return size == 0 ? "" : Text("I11: free slot %u has a key of %u bytes", slot, size);
  }

  // I8: every block has one owner.
  std::string Owned(Run run, const char* whose) {
    if (!c_.ValidRun(run)) return Text("I8: a run of %u blocks at %u is %s", LengthOf(run), FirstOf(run), whose);
    for (uint32_t block = FirstOf(run); block < EndOf(run); block++) {
      if (owned_[block] != nullptr) return Text("I8: block %u is %s and %s", block, owned_[block], whose);
      owned_[block] = whose;
    }
    return "";
  }

  std::string WalkMap() {
    uint32_t taken = 0;
    for (uint32_t block = 0; block < c_.geometry_.blocks; block++) {
      const bool is_taken = c_.Next(Cache::kTaken, block, block + 1) == block;
      if (is_taken != (owned_[block] != nullptr))
        return Text("I8: block %u is %s and marked as %s", block, owned_[block] ? owned_[block] : "nobody's",
                    is_taken ? "taken" : "free");
      taken += is_taken;
    }
    if (taken != Word(c_.pool_->taken))
      return Text("I8: the pool counts %u of %u blocks", Word(c_.pool_->taken), taken);
    return "";
  }

  std::string WalkOrder() {
    const uint32_t listed = Word(c_.order_->listed);
    if (uint32_t gap = Word(c_.order_->gap)) return Text("I6: a slot sinks from rank %u", gap - 1);
    if (listed > c_.slots_) return Text("I7: %u slots are ranked", listed);
    std::vector<bool> ranked(c_.slots_ + 1);
    for (uint32_t at = 0; at < listed; at++) {
      const Slot slot = c_.ranks_[at].slot;
      if (!c_.ValidSlot(slot)) return Text("I7: rank %u is of slot %u", at, slot);
      if (ranked[slot]) return Text("I7: slot %u is ranked twice", slot);
      ranked[slot] = true;
      if (at > 0 && c_.Precedes(c_.ranks_[at], c_.ranks_[(at - 1) / 4]))
        return Text("I7: rank %u goes before rank %u above it", at, (at - 1) / 4);
    }
    for (Slot slot = 1; slot <= c_.slots_; slot++) {
      const bool said = c_.listed_[slot].load(std::memory_order_relaxed) != 0;
      if (said != ranked[slot]) return Text("I7: slot %u is%s ranked and says otherwise", slot, said ? " not" : "");
      if (!said && on_chain_[slot]) return Text("I7: nobody will ever evict slot %u", slot);
    }
    return "";
  }

  std::string LookAtCell(uint32_t thread) {
    const Cell& cell = c_.cells_[thread];
    if (uint32_t armed = Word(cell.intent.armed))
      return Text("I6: thread %u has an intent for lock %u", thread, armed - 1);
    if (Slot reserved = Word(cell.reserved)) {
      reserved_++;
      std::string fault = Seen(reserved, "a reservation");
      if (!fault.empty()) return fault;
    }
    if (c_.bitmap_) {
      const Run old = cell.old.load(std::memory_order_acquire), fresh = cell.fresh.load(std::memory_order_acquire);
      if ((old & kGoing) != 0) return Text("I6: somebody is taking the old run of thread %u", thread);
      std::string fault = Owned(Plain(old), "a thread's old one");
      if (fault.empty() && fresh != Plain(old)) fault = Owned(fresh, "a thread's fresh one");
      if (!fault.empty()) return fault;
    }
    return Seen(c_.SpareOf(thread), "a thread's spare");
  }

  std::string Account() {
    if (items_ + free_ + reserved_ != c_.geometry_.max_items)
      return Text("I4: %u items, %u free and %u reserved slots make no %u", items_, free_, reserved_,
                  c_.geometry_.max_items);
    for (Slot slot = 1; slot <= c_.slots_; slot++)
      if (place_of_[slot] == nullptr) return Text("I2: slot %u is nowhere", slot);
    return "";
  }

  const Cache& c_;
  std::vector<const char*> place_of_;
  std::vector<bool> on_chain_;
  std::vector<const char*> owned_;
  uint32_t items_ = 0, free_ = 0, reserved_ = 0;
};

std::string Cache::Check() const { return CacheCheck(*this).Walk(); }

}  // namespace uwshm
