// The word alone (owner_word.hpp), and the kernel's queue behind its address.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "owner_word.hpp"

namespace uwshm {
namespace {

class Futex {
 public:
  bool Init() { return true; }

  // The low half holds the slot and the waiting bit. A word whose high half
  // alone has changed is taken as well, so to sleep on is right.
  void Sleep(const std::atomic<uint64_t>& word, uint64_t seen, const Deadline& until) {
    syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, static_cast<uint32_t>(seen), &until.at(), nullptr,
            FUTEX_BITSET_MATCH_ANY);
  }

  void Wake(const std::atomic<uint64_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half of a word stands at its address");

using Word = OwnerWord<Futex>;

}  // namespace

extern const LockEngine futex;
const LockEngine futex = {"futex", "futexes", Word::Init, Word::TryLock, Word::Lock, Word::Unlock};

}  // namespace uwshm
