// Checksums of items: of a cache in a file, or with `checksum`.
//
// A read takes its copy first and looks at the checksum afterwards, so that what was
// wrong in the copy is found. A no without the lock may only mean that a counter or an
// expiry is being changed; a no under it is damage: somebody wrote where he should not.
// Then the item goes, and the answer is a miss.
#include "cache.hpp"

namespace uwshm {

namespace {

// HashOf, with four products under way at a time where there is much to hash.
uint64_t LongHashOf(HashSeed seed, const uint8_t* bytes, size_t size) {
  uint64_t lanes[4] = {seed.a, ~seed.a, seed.a ^ size, ~seed.a ^ size};
  if (size > 64) {
    for (; size > 64; bytes += 64, size -= 64)
      for (int i = 0; i < 4; i++) {
        uint64_t words[2];
        memcpy(words, bytes + 16 * i, sizeof words);
        lanes[i] = Fold(words[0] ^ seed.b, words[1] ^ lanes[i]);
      }
    seed.a = Fold(lanes[0] ^ seed.b, lanes[1]) ^ Fold(lanes[2], lanes[3] ^ seed.b);
  }
  return HashOf(seed, bytes, size);
}

uint64_t HashOfShared(HashSeed seed, const uint8_t* shared, size_t size) {
#if defined(__SANITIZE_THREAD__)
  std::vector<uint8_t> copy(size + 1);
  CopyOut(copy.data(), shared, size);
  shared = copy.data();
#endif
  return LongHashOf(seed, shared, size);
}

}  // namespace

bool Cache::Sound(Slot slot) const {
  const Item& item = At(slot);
  const uint32_t key_size = item.key_size.load(std::memory_order_relaxed);
  const uint32_t size = item.value_size.load(std::memory_order_relaxed);
  return key_size != 0 && key_size <= geometry_.keysize && size <= largest_value_ && ValueAt(slot, size) != nullptr &&
         (bitmap_ || item.first_block.load(std::memory_order_relaxed) == slot);
}

uint64_t Cache::ContentOf(Slot slot, const uint8_t* value, uint32_t size) const {
  const uint32_t said = At(slot).key_size.load(std::memory_order_relaxed);
  const uint32_t key_size = said < geometry_.keysize ? said : geometry_.keysize;
  const uint64_t state = HashOfShared(seed_, KeyBytesOf(slot, key_size), key_size);
  return HashOfShared({state, seed_.b}, value, size);
}

uint64_t Cache::ContentOf(const Key& key, const uint8_t* value, uint32_t size) const {
  return LongHashOf({LongHashOf(seed_, key.bytes, key.size), seed_.b}, value, size);
}

Cache::Words Cache::WordsOf(const Item& item) {
  auto word = [](const std::atomic<uint32_t>& word) { return word.load(std::memory_order_relaxed); };
  return {word(item.key_size), word(item.hash),        word(item.value_size),
          word(item.flags),    word(item.first_block), word(item.version)};
}

uint32_t Cache::SealOf(const Words& item, uint64_t content, uint64_t expires_at, int64_t began_at) const {
  auto both = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  // The moment itself, whichever boot it is counted from.
  const uint64_t ends = expires_at == 0 ? 0 : expires_at + static_cast<uint64_t>(began_at);
  const uint64_t words[] = {both(item.key_size, item.hash), both(item.value_size, item.flags),
                            both(item.first_block, item.version), ends};
  const uint64_t sum = HashOf({content, seed_.b}, reinterpret_cast<const uint8_t*>(words), sizeof words);
  const auto folded = static_cast<uint32_t>(sum ^ sum >> 32);
  return folded != 0 ? folded : 1;
}

// Each word is read once: others may be changing them.
uint32_t Cache::SealOf(Slot slot) const {
  if (!Sound(slot)) return 0;
  const Item& item = At(slot);
  const Words words = WordsOf(item);
  const uint8_t* value = ValueAt(slot, words.value_size);
  if (value == nullptr || words.value_size > largest_value_) return 0;
  return SealOf(words, ContentOf(slot, value, words.value_size), item.expires_at.load(std::memory_order_relaxed),
                began_at_);
}

bool Cache::WasIntact(const Key& key, Slot slot, uint32_t before) const {
  const Item& item = At(slot);
  return before != 0 && SealOf(slot) == before && item.checksum.load(std::memory_order_relaxed) == before &&
         item.key_size.load(std::memory_order_relaxed) == key.size &&
         SameBytes(KeyBytesOf(slot, key.size), key.bytes, key.size);
}

Run Cache::RunLeftBy(Slot slot) const {
  const Run run = RunOfItem(slot);
  if (!sealed_ || run == 0) return run;
  auto is_own = [&](uint32_t block) { return owners_[block].load(std::memory_order_relaxed) == slot; };
  return ValidRun(run) && is_own(FirstOf(run)) && is_own(EndOf(run) - 1) ? run : 0;
}

Status Cache::DropDamaged(const Caller& caller, const Key& key) {
  // What leaves the chain becomes the thread's reserved slot, so it must have none.
  Status status = ReturnReserved(caller);
  if (status != Status::kOk) return status;
  Guard guard(*locks_, StripeLock(key.stripe), caller, *this);
  if (guard.status() != Status::kOk) return guard.status();
  Place place;
  if (!Find(key, stripes_[key.stripe].sequence.load(std::memory_order_relaxed), &place)) return Corrupt();
  if (!Damaged(place)) return Status::kOk;
  Unlink(caller, key.stripe, place);
  header_->damaged.fetch_add(1, std::memory_order_relaxed);
  guard.Release();
  return ReturnReserved(caller);
}

}  // namespace uwshm
