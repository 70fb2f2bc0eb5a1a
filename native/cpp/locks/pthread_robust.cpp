// Robust process-shared pthread mutexes: the kernel frees what a dead thread
// held, within tens of microseconds. Owner death is passed over in silence
// here, since Guard looks at the owner record in any case.
#include <pthread.h>

#include <cerrno>
#include <ctime>

#include "../lock.hpp"

namespace uwshm {
namespace {

static_assert(sizeof(pthread_mutex_t) <= sizeof(LockRecord::object));

pthread_mutex_t* Mutex(void* object) { return static_cast<pthread_mutex_t*>(object); }

Taken Judge(void* object, int error) {
  switch (error) {
    case 0: return Taken::kYes;
    case EOWNERDEAD: pthread_mutex_consistent(Mutex(object)); return Taken::kYes;
    case EBUSY:
    case ETIMEDOUT: return Taken::kNo;
    default: return Taken::kBroken;
  }
}

bool Init(void* object) {
  pthread_mutexattr_t attributes;
  if (pthread_mutexattr_init(&attributes) != 0) return false;
  bool good = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
              pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
              pthread_mutex_init(Mutex(object), &attributes) == 0;
  pthread_mutexattr_destroy(&attributes);
  return good;
}

Taken TryLock(void* object, uint64_t) { return Judge(object, pthread_mutex_trylock(Mutex(object))); }

Taken Lock(void* object, uint64_t, uint32_t wait_ms) {
  timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);  // when to give up, not what time it is
  until.tv_sec += wait_ms / 1000;
  until.tv_nsec += static_cast<long>(wait_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  return Judge(object, pthread_mutex_clocklock(Mutex(object), CLOCK_MONOTONIC, &until));
}

void Unlock(void* object, uint64_t) { pthread_mutex_unlock(Mutex(object)); }

}  // namespace

extern const LockEngine pthread_robust;
const LockEngine pthread_robust = {"pthread", Init, TryLock, Lock, Unlock};

}  // namespace uwshm
