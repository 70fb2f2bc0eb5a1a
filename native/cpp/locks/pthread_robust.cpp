// Robust process-shared pthread mutexes: the kernel frees what a dead thread
// held, within tens of microseconds. Owner death is passed over in silence
// here, since Guard looks at the owner record in any case.
#include <pthread.h>

#include <cerrno>

#include "../lock.hpp"
#include "deadline.hpp"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace uwshm {
namespace {

// ThreadSanitizer knows every function of a mutex but this one.
int ClockLock(pthread_mutex_t* mutex, const timespec* until) {
#if defined(__SANITIZE_THREAD__)
  __tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
#endif
  const int error = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until);
#if defined(__SANITIZE_THREAD__)
  const bool taken = error == 0 || error == EOWNERDEAD;
  __tsan_mutex_post_lock(mutex, __tsan_mutex_try_lock | (taken ? 0 : __tsan_mutex_try_lock_failed), 0);
#endif
  return error;
}

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

Taken TryLock(void* object, const Claimant&) { return Judge(object, pthread_mutex_trylock(Mutex(object))); }

Taken Lock(void* object, const Claimant&, uint32_t wait_ms) {
  if (wait_ms == 0) return Taken::kNo;
  const timespec until = Deadline(wait_ms).at();
  return Judge(object, ClockLock(Mutex(object), &until));
}

void Unlock(void* object, const Claimant&) { pthread_mutex_unlock(Mutex(object)); }

}  // namespace

extern const LockEngine pthread_robust;
const LockEngine pthread_robust = {"pthread", "pthread robust mutexes", Init, TryLock, Lock, Unlock};

}  // namespace uwshm
