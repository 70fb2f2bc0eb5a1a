#include "process_table.hpp"

#include <semaphore.h>
#include <unistd.h>

#include <cerrno>

#include "thread.hpp"

namespace uwshm {
namespace {

// The life thread of this process: it takes the mutex that it is given, says
// so, and sleeps until it gets another one, which only who came through the
// door does, or none, which outside tests never happens.
struct Life {
  pthread_mutex_t* mutex = nullptr;
  const std::atomic<uint32_t>* claimed = nullptr;  // of the slot: ours while it holds `pid`
  uint32_t pid = 0;
  bool held = false;
  pid_t started_by = 0;  // a forked child has no life of its parent
  pthread_t thread;
  sem_t taken, given;

  bool IsRunning() const { return started_by == getpid(); }
};

void* Live(void* argument) {
  Life* life = static_cast<Life*>(argument);
  pthread_mutex_t* before = nullptr;
  for (pthread_mutex_t* mutex; (mutex = life->mutex) != nullptr; before = mutex) {
    // Reclaimers hold it for a moment; whoever was given the slot instead of us, for good.
    int error;
    while ((error = pthread_mutex_trylock(mutex)) == EBUSY && life->claimed->load() == life->pid) usleep(100);
    if (error == EOWNERDEAD) pthread_mutex_consistent(mutex);
    life->held = error == 0 || error == EOWNERDEAD;
    if (before != nullptr) pthread_mutex_unlock(before);
    sem_post(&life->taken);
    if (!life->held) return nullptr;
    while (sem_wait(&life->given) != 0) {
    }
  }
  pthread_mutex_unlock(before);
  return nullptr;
}

Life& OwnLife() {
  static Life* life = new Life;  // never destroyed: the thread outlives static destructors
  return *life;
}

bool BeginLife(Life& life) {
  sem_init(&life.taken, 0, 0);
  sem_init(&life.given, 0, 0);
  life.started_by = StartThread(Live, &life, &life.thread) ? getpid() : 0;
  return life.IsRunning();
}

bool LiveBy(ProcessSlot& slot, uint32_t pid) {
  Life& life = OwnLife();
  life.mutex = &slot.life;
  life.claimed = &slot.claimed;
  life.pid = pid;
  if (life.IsRunning()) sem_post(&life.given);
  else if (!BeginLife(life)) return false;
  while (sem_wait(&life.taken) != 0) {
  }
  // A process without its life mutex would pass for dead while it works.
  if (!life.held) pthread_join(life.thread, nullptr), life.started_by = 0;
  return life.held;
}

void EndLife() {
  Life& life = OwnLife();
  if (!life.IsRunning()) return;
  life.mutex = nullptr;
  sem_post(&life.given);
  pthread_join(life.thread, nullptr);
  life.started_by = 0;
}

}  // namespace

uint64_t ProcessTable::SizeFor(const RootGeometry& geometry) {
  return sizeof(SegmentHeader) + sizeof(RootHeader) + (uint64_t{geometry.processes} + 1) * sizeof(ProcessSlot) +
         uint64_t{geometry.threads} * sizeof(ThreadSlot);
}

void ProcessTable::Place() {
  header_ = segment_.At<RootHeader>(sizeof(SegmentHeader));
  processes_ = reinterpret_cast<ProcessSlot*>(header_ + 1);
  threads_ = reinterpret_cast<ThreadSlot*>(processes_ + geometry_.processes + 1);
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
  for (uint32_t slot = 0; slot <= geometry.processes; slot++) pthread_mutex_init(&processes_[slot].life, &attributes);
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
    const Status status = Enter(slot, pid, worker, start_time);
    if (status != Status::kNoProcessSlot) return status;
  }
  return Status::kNoProcessSlot;
}

Status ProcessTable::EnterDoor(uint32_t pid, uint64_t start_time) {
  ProcessSlot& process = processes_[door()];
  if (process.claimed.load(std::memory_order_acquire) != 0 && TakeEndedLife(process)) {
    process.claimed.store(0, std::memory_order_release);
    pthread_mutex_unlock(&process.life);
  }
  return Enter(door(), pid, 0, start_time);
}

Status ProcessTable::Enter(uint32_t slot, uint32_t pid, uint32_t worker, uint64_t start_time) {
  ProcessSlot& process = processes_[slot];
  for (uint32_t free = 0; process.claimed.compare_exchange_strong(free, pid); free = 0) {
    const bool lives = LiveBy(process, pid);
    // Until now we could be taken for the dead owner of the slot (P1).
    if (process.claimed.load(std::memory_order_acquire) != pid) {
      EndLife();
      continue;
    }
    if (!lives) {
      process.claimed.store(0, std::memory_order_release);
      return Status::kNoMemory;
    }
    process.generation.fetch_add(1);
    process.pid = pid;
    process.worker = worker;
    process.start_time = start_time;
    own_slot_ = slot;
    return Status::kOk;
  }
  return Status::kNoProcessSlot;
}

void ProcessTable::LeaveDoor() {
  processes_[door()].claimed.store(0, std::memory_order_release);
  own_slot_ = UINT32_MAX;
}

void ProcessTable::LeaveProcess() {
  EndLife();
  own_slot_ = UINT32_MAX;
}

Status ProcessTable::EnterThread(uint32_t* thread) {
  for (uint32_t i = 0; i < geometry_.threads; i++) {
    // Readers of the cells, and reclaimers, stop at threads_used: it is raised
    // before the slot is taken.
    uint32_t used = header_->threads_used.load(std::memory_order_relaxed), free = 0;
    while (used <= i && !header_->threads_used.compare_exchange_weak(used, i + 1)) {
    }
    if (!threads_[i].process.compare_exchange_strong(free, own_slot_ + 1)) continue;
    threads_[i].generation++;
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

bool ProcessTable::TakeEndedLife(ProcessSlot& slot) {
  if (!TakeLife(slot)) return false;
  if (ended_ != nullptr && !ended_(slot.pid, slot.start_time)) {
    pthread_mutex_unlock(&slot.life);
    return false;
  }
  // While we hold its life, and meet locks that it held, it must not look alive.
  slot.generation.fetch_add(1);
  return true;
}

bool ProcessTable::IsDead(uint64_t name) {
  const uint32_t slot = static_cast<uint32_t>(name) / 2 - 1;
  if (slot > door()) return false;  // no name of ours
  return processes_[slot].generation.load(std::memory_order_acquire) != name >> 32 || HasEnded(slot);
}

bool ProcessTable::HasEnded(uint32_t slot) {
  if (!TakeEndedLife(processes_[slot])) return false;
  pthread_mutex_unlock(&processes_[slot].life);
  return true;
}

bool ProcessTable::Alive(uint32_t slot) {
  ProcessSlot& process = processes_[slot];
  if (process.claimed.load(std::memory_order_acquire) == 0) return false;
  if (!TakeLife(process)) return true;
  pthread_mutex_unlock(&process.life);
  return false;
}

}  // namespace uwshm
