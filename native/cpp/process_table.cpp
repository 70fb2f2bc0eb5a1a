#include "process_table.hpp"

#include <semaphore.h>

#include <cerrno>
#include <csignal>

namespace uwshm {
namespace {

// The life thread of this process: it takes the mutex, says so, and sleeps
// until it is asked to go, which outside tests never happens.
struct Life {
  pthread_mutex_t* mutex = nullptr;
  bool held = false;
  pthread_t thread;
  sem_t taken, leave;
};

void* Live(void* argument) {
  Life* life = static_cast<Life*>(argument);
  const int error = pthread_mutex_lock(life->mutex);
  if (error == EOWNERDEAD) pthread_mutex_consistent(life->mutex);
  life->held = error == 0 || error == EOWNERDEAD;
  sem_post(&life->taken);
  if (!life->held) return nullptr;
  while (sem_wait(&life->leave) != 0) {
  }
  pthread_mutex_unlock(life->mutex);
  return nullptr;
}

Life& OwnLife() {
  static Life* life = new Life;  // never destroyed: the thread outlives static destructors
  return *life;
}

bool StartLife(pthread_mutex_t* mutex) {
  Life& life = OwnLife();
  life.mutex = mutex;
  sem_init(&life.taken, 0, 0);
  sem_init(&life.leave, 0, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  // Signals are for the threads that know what to do with them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const bool started = pthread_create(&life.thread, &attributes, Live, &life) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (!started) return false;
  while (sem_wait(&life.taken) != 0) {
  }
  // A process without its life mutex would pass for dead while it works.
  if (!life.held) pthread_join(life.thread, nullptr);
  return life.held;
}

}  // namespace

uint64_t ProcessTable::SizeFor(const RootGeometry& geometry) {
  return sizeof(SegmentHeader) + sizeof(RootHeader) + uint64_t{geometry.processes} * sizeof(ProcessSlot) +
         uint64_t{geometry.threads} * sizeof(ThreadSlot);
}

void ProcessTable::Place() {
  header_ = segment_.At<RootHeader>(sizeof(SegmentHeader));
  processes_ = reinterpret_cast<ProcessSlot*>(header_ + 1);
  threads_ = reinterpret_cast<ThreadSlot*>(processes_ + geometry_.processes);
}

Status ProcessTable::Create(InstanceId instance, const RootGeometry& geometry) {
  SegmentSpec spec{"uwshm:root",
                   SegmentKind::kRoot,
                   0,
                   kLayout,
                   instance,
                   SizeFor(geometry),
                   {geometry.processes, geometry.threads, geometry.pid_namespace}};
  Status status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  geometry_ = geometry;
  Place();

  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  for (uint32_t slot = 0; slot < geometry.processes; slot++) pthread_mutex_init(&processes_[slot].life, &attributes);
  pthread_mutexattr_destroy(&attributes);
  return Status::kOk;
}

Status ProcessTable::Attach(int fd, InstanceId instance, uint64_t pid_namespace, uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kRoot, 0, kLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  geometry_ = {static_cast<uint32_t>(spec.geometry[0]), static_cast<uint32_t>(spec.geometry[1]), spec.geometry[2]};
  if (SizeFor(geometry_) != spec.size) return Status::kForeign;
  if (geometry_.pid_namespace != pid_namespace) return Status::kPidNamespace;
  Place();
  return Status::kOk;
}

Status ProcessTable::EnterProcess(uint32_t pid, uint32_t worker, uint64_t start_time) {
  for (uint32_t slot = 0; slot < geometry_.processes; slot++) {
    ProcessSlot& process = processes_[slot];
    if (process.claimed.load(std::memory_order_acquire) != 0) continue;
    process.generation++;
    process.pid = pid;
    process.worker = worker;
    process.start_time = start_time;
    process.claimed.store(1, std::memory_order_release);
    if (!StartLife(&process.life)) {
      process.claimed.store(0, std::memory_order_release);
      return Status::kNoMemory;
    }
    own_slot_ = slot;
    return Status::kOk;
  }
  return Status::kNoProcessSlot;
}

void ProcessTable::LeaveProcess() {
  if (own_slot_ == UINT32_MAX) return;
  sem_post(&OwnLife().leave);
  pthread_join(OwnLife().thread, nullptr);
  own_slot_ = UINT32_MAX;
}

Status ProcessTable::EnterThread(uint32_t* thread) {
  for (uint32_t i = 0; i < geometry_.threads; i++) {
    if (threads_[i].process.load(std::memory_order_acquire) != 0) continue;
    threads_[i].generation++;
    // Readers of the cells stop at threads_used: raise it before the first use.
    if (i >= header_->threads_used.load(std::memory_order_relaxed))
      header_->threads_used.store(i + 1, std::memory_order_release);
    threads_[i].process.store(own_slot_ + 1, std::memory_order_release);
    *thread = i;
    return Status::kOk;
  }
  return Status::kNoThreadSlot;
}

uint32_t ProcessTable::threads_used() const {
  const uint32_t used = header_->threads_used.load(std::memory_order_acquire);
  return used < geometry_.threads ? used : geometry_.threads;
}

// Leaves the mutex taken by the calling thread. A repairer that dies here
// leaves it as it found it: to be taken.
bool ProcessTable::TakeLife(ProcessSlot& slot) {
  const int error = pthread_mutex_trylock(&slot.life);
  if (error == EOWNERDEAD) pthread_mutex_consistent(&slot.life);
  return error == 0 || error == EOWNERDEAD;
}

bool ProcessTable::Alive(uint32_t slot) {
  ProcessSlot& process = processes_[slot];
  if (process.claimed.load(std::memory_order_acquire) == 0) return false;
  if (!TakeLife(process)) return true;
  pthread_mutex_unlock(&process.life);
  return false;
}

}  // namespace uwshm
