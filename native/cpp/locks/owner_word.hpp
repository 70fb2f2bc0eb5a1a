// Locks that are one word: 0, or the name of the process that holds it.
//
//   63 ──────────────┬──────────────┬─ 0
//     generation     │ slot + 1     │ waiting      0 = free
//   ─────────────────┴──────────────┴──
//
// The word alone decides who holds the lock; it changes by compare-and-swap
// only. The queue behind it just lets waiters sleep: a surplus wake-up makes one
// look at the word for nothing, and a lost one (its receiver was killed on the
// way) costs the others a few milliseconds, since nobody sleeps longer than
// kLookMs without looking at the word again.
//
// The same look finds a dead holder: its name is never borne again, so to
// replace exactly that word by one's own robs nobody who lives. What the dead
// holder had begun is not the engine's business; Guard finds it in the record.
//
// Whoever slept takes the lock with `waiting` set, for there may be others, and
// so wakes one of them when it lets go. If it dies instead, they look.
#pragma once

#include <atomic>

#include "../lock.hpp"
#include "deadline.hpp"

namespace uwshm {

template <class Queue>
class OwnerWord {
 public:
  static bool Init(void* object) { return At(object).queue.Init(); }

  static Taken TryLock(void* object, const Claimant& me) { return At(object).Take(0, me.name); }

  static Taken Lock(void* object, const Claimant& me, uint32_t wait_ms) {
    OwnerWord& lock = At(object);
    if (wait_ms > 0 && lock.Spin(me) == Taken::kYes) return Taken::kYes;
    const Deadline until(wait_ms);
    for (;;) {
      uint64_t word = lock.word_.load(std::memory_order_acquire);
      if (word == 0 || me.IsDead(word & ~kWaiting)) {
        if (lock.Take(word, me.name | kWaiting) == Taken::kYes) return Taken::kYes;
        continue;
      }
      if (until.HasCome()) return Taken::kNo;
      if ((word & kWaiting) == 0 && !lock.word_.compare_exchange_strong(word, word | kWaiting)) continue;
      lock.queue.Sleep(lock.word_, word | kWaiting, until.OrIn(kLookMs));
    }
  }

  static void Unlock(void* object, const Claimant&) {
    OwnerWord& lock = At(object);
    // If we die in between, nobody is woken, and they look.
    if (lock.word_.exchange(0, std::memory_order_acq_rel) & kWaiting) lock.queue.Wake(lock.word_);
  }

 private:
  static constexpr uint64_t kWaiting = 1;
  static constexpr uint32_t kLookMs = 2;
  // Two microseconds or so: as long as a holder that is not preempted needs.
  static constexpr int kSpins = 40;

  static OwnerWord& At(void* object) {
    static_assert(sizeof(OwnerWord) <= sizeof(LockRecord::object));
    return *static_cast<OwnerWord*>(object);
  }

  Taken Take(uint64_t from, uint64_t name) {
    return word_.compare_exchange_strong(from, name, std::memory_order_acq_rel, std::memory_order_relaxed) ? Taken::kYes
                                                                                                           : Taken::kNo;
  }

  Taken Spin(const Claimant& me) {
    for (int turn = 0; turn < kSpins; turn++) {
      if (word_.load(std::memory_order_relaxed) == 0 && Take(0, me.name) == Taken::kYes) return Taken::kYes;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    return Taken::kNo;
  }

  std::atomic<uint64_t> word_;
  Queue queue;
};

}  // namespace uwshm
