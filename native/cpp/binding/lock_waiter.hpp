// Waiting for user locks without blocking the event loop: one native thread of
// the process sleeps for all of them, on the futex that is this process's bell.
//
// What it gets it gets at once, also while JavaScript is busy: the lock is held
// from then on, and the environment that asked is told through its thread-safe
// function. An environment that ends takes its waits along.
#pragma once

#include "environment.hpp"

namespace uwshm {

struct LockWait {
  Environment* home;
  RecordIndex record;
  LockOwner owner;
  uint32_t lock;
  Share share;
  uint64_t end_us;  // when its time is over
};

enum class LockOutcome : uint8_t { kTimeout = 0, kObtained = 1, kDeadlock = 2 };

// Somebody else's lease, of which the end is to be told, as kObtained.
struct LeaseWatch {
  Environment* home;
  LeaseWait wait;
};

// From here on the thread looks after it. REQUIRES: the thread of `wait.home`.
void WatchOver(const LockWait& wait);
void WatchOver(uint32_t token, const LeaseWatch& watch);

// Gives up. False: its outcome is already on its way.
bool GiveUpWait(uint32_t token);

// Before an environment ends.
void ForgetWaits(Environment* home);

}  // namespace uwshm
