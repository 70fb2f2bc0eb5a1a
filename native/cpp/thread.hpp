// Threads of our own, beside those of Node: small, and deaf to signals, which are
// for the threads that know what to do with them.
#pragma once

#include <pthread.h>

#include <csignal>

namespace uwshm {

// False: the system allows no more threads. Without `joinable` nobody waits for its end.
inline bool StartThread(void* (*run)(void*), void* argument, pthread_t* joinable = nullptr) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, run, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (started && joinable == nullptr) pthread_detach(thread);
  if (started && joinable != nullptr) *joinable = thread;
  return started;
}

}  // namespace uwshm
