// Going over the keys while everybody else goes on: a bucket at a time, read as
// values are, without a lock and again if its stripe has moved on meanwhile.
//
// A bucket is one atomic picture and a key never changes its bucket, so that a
// key which is there from the first call to the last is told exactly once. The
// keys are packed into private memory first; strings are made of them when no
// lock is held and nothing has to be read again.
#include "cache.hpp"

namespace uwshm {

struct Cache::Gathering {
  const std::string& prefix;
  uint64_t now;
  uint8_t* room;
  size_t size_of_room, used;

  ~Gathering() { free(room); }
  // Twice as much. False: there is none.
  bool Grow() {
    free(room);
    size_of_room *= 2;
    room = static_cast<uint8_t*>(malloc(size_of_room));
    return room != nullptr;
  }
  bool Add(const uint8_t* key, uint32_t size) {
    if (size_of_room - used < sizeof size + size) return false;
    memcpy(&room[used], &size, sizeof size);
    CopyOut(&room[used + sizeof size], key, size);
    used += sizeof size + size;
    return true;
  }
};

Cache::Gathered Cache::Gather(uint32_t bucket, Gathering* gathering) const {
  gathering->used = 0;
  const std::string& prefix = gathering->prefix;
  const auto* wanted = reinterpret_cast<const uint8_t*>(prefix.data());
  // A chain has what its stripe counts, and one more while that is being added:
  // links that a scribbling process has bent to a circle end here.
  const uint32_t most = stripes_[bucket & stripe_mask_].count.load(std::memory_order_relaxed) + 1;
  Slot slot = buckets_[bucket].load(std::memory_order_acquire);
  for (uint32_t steps = 0; slot != 0; steps++) {
    if (!ValidSlot(slot) || steps > most || steps > slots_) return Gathered::kTorn;
    const Item& item = At(slot);
    const uint32_t size = item.key_size.load(std::memory_order_relaxed);
    if (size > geometry_.keysize) return Gathered::kTorn;
    const uint64_t at = item.expires_at.load(std::memory_order_relaxed);
    const uint8_t* key = KeyBytesOf(slot, size);
    if ((at == 0 || at > gathering->now) && size >= prefix.size() && SameBytes(key, wanted, prefix.size()) &&
        !gathering->Add(key, size))
      return Gathered::kNoRoom;
    slot = item.chain_next.load(std::memory_order_acquire);
  }
  return Gathered::kAll;
}

Status Cache::GatherWhole(const Caller& caller, uint32_t bucket, Gathering* gathering) {
  constexpr int kRounds = 64;  // as Read has it
  const uint32_t stripe = bucket & stripe_mask_;
  for (int round = 0; round < kRounds; round++) {
    const uint32_t sequence = stripes_[stripe].sequence.load(std::memory_order_acquire);
    const Gathered gathered = Gather(bucket, gathering);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (stripes_[stripe].sequence.load(std::memory_order_relaxed) != sequence) continue;
    if (gathered == Gathered::kAll) return Status::kOk;
    if (gathered == Gathered::kTorn) break;
    if (!gathering->Grow()) return Status::kNoMemory;
  }
  for (;;) {
    {
      Guard guard(*locks_, StripeLock(stripe), caller, *this);
      if (guard.status() != Status::kOk) return guard.status();
      const Gathered gathered = Gather(bucket, gathering);
      if (gathered != Gathered::kNoRoom) return gathered == Gathered::kAll ? Status::kOk : Corrupt();
    }
    if (!gathering->Grow()) return Status::kNoMemory;
  }
}

Status Cache::Scan(const Caller& caller, const std::string& prefix, size_t most, uint32_t* bucket,
                   std::vector<std::string>* keys) {
  Gathering gathering{prefix, caller.now(), nullptr, geometry_.keysize + sizeof(uint32_t), 0};
  if (!gathering.Grow()) return Status::kNoMemory;
  for (; *bucket < geometry_.hashsize && keys->size() < most; ++*bucket) {
    if (buckets_[*bucket].load(std::memory_order_relaxed) == 0) continue;
    Status status = GatherWhole(caller, *bucket, &gathering);
    if (status != Status::kOk) return status;
    uint32_t size;
    for (size_t at = 0; at < gathering.used; at += sizeof size + size) {
      memcpy(&size, &gathering.room[at], sizeof size);
      keys->emplace_back(reinterpret_cast<const char*>(&gathering.room[at + sizeof size]), size);
    }
  }
  return Status::kOk;
}

Status Cache::RemovePrefix(const Caller& caller, const std::string& prefix, uint64_t* removed) {
  constexpr size_t kAtATime = 256;
  *removed = 0;
  std::vector<std::string> keys;
  for (uint32_t bucket = 0; bucket < geometry_.hashsize;) {
    keys.clear();
    Status status = Scan(caller, prefix, kAtATime, &bucket, &keys);
    if (status != Status::kOk) return status;
    for (const std::string& name : keys) {
      Key key;
      if (KeyOf(reinterpret_cast<const uint8_t*>(name.data()), name.size(), &key) != Status::kOk) return Corrupt();
      status = Remove(caller, key);
      if (status == Status::kOk) ++*removed;
      else if (status != Status::kNotFound) return status;
    }
  }
  return Status::kOk;
}

}  // namespace uwshm
