#include "sweeper.hpp"

#include <cerrno>
#include <ctime>

#include "thread.hpp"

namespace uwshm {
namespace {

// Whoever stands still in the pool is waited for so long, once per cache and round.
constexpr uint32_t kPatienceMs = 20;
constexpr uint64_t kAtATime = 10000;

}  // namespace

Status Sweeper::Start(Instance& instance, uint32_t period_ms) {
  Status status = instance.EnterThread(&caller_);
  if (status != Status::kOk) return status;
  caller_.patience_ms = kPatienceMs;
  instance_ = &instance;
  period_ms_ = period_ms;
  stopping_ = false;
  sem_init(&wake_, 0, 0);
  if (StartThread(Run, this, &thread_)) return Status::kOk;
  instance.LeaveThread(caller_);
  instance_ = nullptr;
  return Status::kNoMemory;
}

void Sweeper::Stop() {
  if (instance_ == nullptr) return;
  stopping_ = true;
  sem_post(&wake_);
  pthread_join(thread_, nullptr);
  instance_->LeaveThread(caller_);
  instance_ = nullptr;
}

void* Sweeper::Run(void* sweeper) {
  Sweeper* self = static_cast<Sweeper*>(sweeper);
  pthread_setname_np(pthread_self(), "uwshm sweeper");
  while (self->Wait()) self->SweepAll();
  return nullptr;
}

void Sweeper::SweepAll() {
  for (auto& cache : instance_->caches())
    while (!stopping_ && cache->Sweep(caller_, kAtATime) >= kAtATime) {
    }
}

bool Sweeper::Wait() {
  timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);  // when to wake up, not what time it is
  until.tv_sec += period_ms_ / 1000;
  until.tv_nsec += static_cast<long>(period_ms_ % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  while (!stopping_ && sem_clockwait(&wake_, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR) {
  }
  return !stopping_;
}

}  // namespace uwshm
