#include "lock_waiter.hpp"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "thread.hpp"

namespace uwshm {
namespace {

// A frozen process may have the guard: JavaScript must not wait for it for long.
constexpr uint32_t kPatienceMs = 20;
constexpr uint64_t kIdleUs = 3600ull * 1000000;

struct Waiter {
  std::mutex mutex;
  std::unordered_map<uint32_t, LockWait> waits;     // by token
  std::unordered_map<uint32_t, LockWait> forsaken;  // given up, but not left yet
  std::unordered_map<uint32_t, LeaseWatch> leases;  // likewise
  bool started = false;
};

Waiter& Own() {
  static Waiter* waiter = new Waiter;  // never destroyed: its thread outlives us
  return *waiter;
}

uint64_t Data(uint32_t token, LockOutcome outcome) { return uint64_t{token} << 2 | static_cast<uint64_t>(outcome); }

void Tell(Environment* home, uint32_t token, LockOutcome outcome) {
  void* data = reinterpret_cast<void*>(Data(token, outcome));
  napi_call_threadsafe_function(home->lock_calls, data, napi_tsfn_nonblocking);
}

void LetGo(const LockWait& wait, const Caller& caller) {
  UserLocks& locks = ProcessInstance()->user_locks();
  if (wait.share == Share::kYes) locks.Unshare(wait.lock, wait.owner.word, caller);
  else locks.Unlock(wait.lock, wait.owner.word, caller);
}

// True: it waits no more.
bool Leave(const LockWait& wait, const Caller& caller) {
  const Status status = ProcessInstance()->user_locks().Leave(wait.record, caller);
  if (status == Status::kOk) LetGo(wait, caller);
  return status != Status::kBusy;
}

// One look at every wait that may have something to see. When the next is due.
uint64_t LookAtAll(Waiter& waiter, const Caller& caller, bool doubtful) {
  UserLocks& locks = ProcessInstance()->user_locks();
  const uint64_t now = MonotonicMicroseconds();
  uint64_t due = now + kIdleUs;
  for (auto at = waiter.forsaken.begin(); at != waiter.forsaken.end();)
    at = Leave(at->second, caller) ? waiter.forsaken.erase(at) : std::next(at);
  for (auto at = waiter.waits.begin(); at != waiter.waits.end();) {
    const LockWait& wait = at->second;
    Status status = Status::kBusy;
    if (doubtful || locks.Rung(wait.record)) status = locks.Look(wait.record, caller, doubtful);
    if (status == Status::kBusy && now >= wait.end_us) status = locks.Leave(wait.record, caller);
    if (status == Status::kBusy) {
      due = std::min(due, std::min(std::max(wait.end_us, now + 1000), now + UserLocks::kLookAgainMs * 1000));
      ++at;
      continue;
    }
    Tell(wait.home, at->first,
         status == Status::kOk         ? LockOutcome::kObtained
         : status == Status::kDeadlock ? LockOutcome::kDeadlock
                                       : LockOutcome::kTimeout);
    at = waiter.waits.erase(at);
  }
  for (auto at = waiter.leases.begin(); at != waiter.leases.end();) {
    if (!locks.LeaseIsOver(at->second.wait, doubtful)) {
      ++at;
      continue;
    }
    Tell(at->second.home, at->first, LockOutcome::kObtained);
    at = waiter.leases.erase(at);
  }
  if (!waiter.forsaken.empty() || !waiter.leases.empty()) due = std::min(due, now + UserLocks::kLookAgainMs * 1000);
  return due;
}

void* Wait(void*) {
  Waiter& waiter = Own();
  UserLocks& locks = ProcessInstance()->user_locks();
  const Caller caller = ProcessInstance()->Nobody(kPatienceMs);
  uint64_t looked_us = 0;  // when every holder was last seen to be alive
  for (;;) {
    const uint32_t seen = locks.OwnBell().load(std::memory_order_acquire);
    uint64_t due;
    {
      std::lock_guard<std::mutex> alone(waiter.mutex);
      const uint64_t now = MonotonicMicroseconds();
      const bool doubtful = now - looked_us >= UserLocks::kLookAgainMs * 1000;
      if (doubtful) looked_us = now;
      due = LookAtAll(waiter, caller, doubtful);
    }
    const uint64_t now = MonotonicMicroseconds();
    if (due > now) UserLocks::Sleep(locks.OwnBell(), seen, due - now);
  }
}

void Wake() {
  UserLocks& locks = ProcessInstance()->user_locks();
  locks.OwnBell().fetch_add(1, std::memory_order_release);
  locks.Ring(locks.OwnBell());
}

template <class Add>
void Watch(Add add) {
  Waiter& waiter = Own();
  {
    std::lock_guard<std::mutex> alone(waiter.mutex);
    add(waiter);
    if (!waiter.started && !StartThread(Wait, nullptr)) abort();  // as Node does without its own threads
    waiter.started = true;
  }
  Wake();  // it sleeps until some end that it knows
}

}  // namespace

void WatchOver(const LockWait& wait) {
  Watch([&wait](Waiter& waiter) { waiter.waits.emplace(lock_word::TokenOf(wait.owner.word), wait); });
}

void WatchOver(uint32_t token, const LeaseWatch& watch) {
  Watch([token, &watch](Waiter& waiter) { waiter.leases.emplace(token, watch); });
}

bool GiveUpWait(uint32_t token) {
  Waiter& waiter = Own();
  std::lock_guard<std::mutex> alone(waiter.mutex);
  if (waiter.leases.erase(token) > 0) return true;
  auto found = waiter.waits.find(token);
  if (found == waiter.waits.end()) return false;
  if (!Leave(found->second, ProcessInstance()->Nobody(kPatienceMs))) waiter.forsaken.emplace(*found);
  waiter.waits.erase(found);
  return true;
}

void ForgetWaits(Environment* home) {
  Waiter& waiter = Own();
  std::lock_guard<std::mutex> alone(waiter.mutex);
  // Their records go with the thread's other belongings (UserLocks::LeaveThread).
  for (auto* waits : {&waiter.waits, &waiter.forsaken})
    for (auto at = waits->begin(); at != waits->end();) at = at->second.home == home ? waits->erase(at) : std::next(at);
  for (auto at = waiter.leases.begin(); at != waiter.leases.end();)
    at = at->second.home == home ? waiter.leases.erase(at) : std::next(at);
}

}  // namespace uwshm
