// POSIX semaphores, in which waiters sleep; who holds the lock says the word
// beside them (owner_word.hpp). A semaphore alone could not tell: whoever dies
// between its wait and its post takes the lock along for good.
#include <semaphore.h>

#include "owner_word.hpp"

namespace uwshm {
namespace {

class Semaphore {
 public:
  bool Init() { return sem_init(&semaphore_, 1, 0) == 0; }

  void Sleep(const std::atomic<uint64_t>&, uint64_t, const Deadline& until) {
    sem_clockwait(&semaphore_, CLOCK_MONOTONIC, &until.at());
  }

  // One wake-up on its way is enough: else each that nobody slept for would
  // stay, and make a later waiter turn once for nothing.
  void Wake(const std::atomic<uint64_t>&) {
    int posted = 0;
    if (sem_getvalue(&semaphore_, &posted) == 0 && posted == 0) sem_post(&semaphore_);
  }

 private:
  sem_t semaphore_;
};

using Word = OwnerWord<Semaphore>;

}  // namespace

extern const LockEngine posixsem;
const LockEngine posixsem = {"posixsem", "POSIX semaphores", Word::Init, Word::TryLock, Word::Lock, Word::Unlock};

}  // namespace uwshm
