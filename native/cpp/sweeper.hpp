// Takes out what has expired, for as long as the owner of an instance lives: a
// native thread, so that an event loop neither waits for it nor holds it up.
//
// Nothing depends on it: expiry is exact at every call, with or without a sweep.
// It gives memory back to those who would otherwise have to look for it when
// the cache is full. So it leaves alone what is busy, passes over what is
// corrupt, and comes again.
//
// It has a thread slot and a caller of its own, like any thread. If the process
// dies in the middle of a sweep, the slot is reclaimed as any other.
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include <atomic>

#include "instance.hpp"

namespace uwshm {

class Sweeper {
 public:
  Sweeper() = default;
  ~Sweeper() { Stop(); }
  Sweeper(const Sweeper&) = delete;
  Sweeper& operator=(const Sweeper&) = delete;

  // REQUIRES: `instance` outlives it. kNoThreadSlot, kBusy, kNoMemory: no thread could be started.
  Status Start(Instance& instance, uint32_t period_ms);
  // Returns when the thread has ended: after 10,000 more items at most. Twice is once.
  void Stop();

 private:
  static void* Run(void* sweeper);
  void SweepAll();
  bool Wait();  // for a period; false: it is to stop

  Instance* instance_ = nullptr;
  Caller caller_{};
  uint32_t period_ms_ = 0;
  pthread_t thread_{};
  sem_t wake_{};
  std::atomic<bool> stopping_{false};
};

}  // namespace uwshm
