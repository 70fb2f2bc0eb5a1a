#include "instance.hpp"

#include <unistd.h>

namespace uwshm {
namespace {

// Before it: root, locks, accounting, user locks, metrics.
constexpr uint32_t kFirstCache = 5;

}  // namespace

Status Instance::Create(InstanceId id, const InstanceSpec& spec, const Self& self, Trouble* trouble) {
  id_ = id;
  self_ = self;
  const uint32_t threads = spec.processes * kThreadsPerProcess;
  std::vector<CacheGeometry> geometries;
  const UserLocksGeometry user_locks{spec.user_locks.numbered, spec.user_locks.most, spec.processes, 1};
  uint32_t locks = user_locks.first_lock + user_locks.engine_locks();
  for (const CacheSpec& cache : spec.caches) {
    geometries.push_back(
        {cache.items, cache.blocksize, cache.keysize, cache.hashsize, threads, locks, cache.policy, cache.blocks});
    trouble->segment = "cache " + cache.name;
    Status status = Cache::Validate(geometries.back());
    if (status != Status::kOk) return status;
    locks += geometries.back().locks();
  }
  const RootGeometry root{spec.processes, threads, self.pid_namespace};
  trouble->segment = "root";
  trouble->expected = ProcessTable::SizeFor(root);
  Status status = processes_.Create(id, root);
  if (status != Status::kOk) return status;
  trouble->segment = "locks";
  trouble->expected = LockTable::SizeFor(locks);
  status = locks_.Create(id, locks, spec.locks);
  if (status != Status::kOk) return status;
  trouble->segment = "accounting";
  trouble->expected = Accounting::SizeFor(spec.workers, spec.cores);
  status = accounting_.Create(id, spec.workers, spec.cores, self.pid, spec.started_on);
  if (status != Status::kOk) return status;
  trouble->segment = "user locks";
  trouble->expected = user_locks.size();
  status = user_locks_.Create(id, user_locks, &locks_, &processes_, self.now_us);
  if (status != Status::kOk) return status;
  const MetricsGeometry metrics{spec.metrics.slots, spec.metrics.cells, threads};
  trouble->segment = "metrics";
  trouble->expected = metrics.size();
  status = metrics_.Create(id, metrics);
  if (status != Status::kOk) return status;
  for (uint32_t i = 0; i < spec.caches.size(); i++) {
    const CacheSpec& cache = spec.caches[i];
    trouble->segment = "cache " + cache.name;
    trouble->expected = CachePlaces::Of(geometries[i]).size;
    caches_.push_back(std::make_unique<Cache>());
    const char* name = cache.name.c_str();
    status = cache.store.fd < 0 ? caches_.back()->Create(id, i, name, geometries[i], cache.rules, cache.seed, &locks_)
                                : caches_.back()->Open(cache.store, id, i, name, geometries[i], cache.rules, cache.seed,
                                                       &locks_, self.now());
    if (status != Status::kOk) return status;
  }
  return Enter(trouble);
}

Status Instance::Attach(InstanceId id, const std::vector<int>& fds, const Self& self, Trouble* trouble) {
  id_ = id;
  self_ = self;
  trouble->segment = "root";
  trouble->expected = ProcessTable::kLayout;
  if (fds.size() < kFirstCache) return Status::kForeign;
  Status status = processes_.Attach(fds[0], id, self.pid_namespace, &trouble->found);
  if (status != Status::kOk) return status;
  trouble->segment = "locks";
  trouble->expected = LockTable::kLayout;
  status = locks_.Attach(fds[1], id, &trouble->found);
  if (status != Status::kOk) return status;
  trouble->segment = "accounting";
  trouble->expected = Accounting::kLayout;
  status = accounting_.Attach(fds[2], id, &trouble->found);
  if (status != Status::kOk) return status;
  trouble->segment = "user locks";
  trouble->expected = kUserLocksLayout;
  status = user_locks_.Attach(fds[3], id, &locks_, &processes_, self.now_us, &trouble->found);
  if (status != Status::kOk) return status;
  trouble->segment = "metrics";
  trouble->expected = Metrics::kLayout;
  status = metrics_.Attach(fds[4], id, processes_.geometry().threads, &trouble->found);
  if (status != Status::kOk) return status;
  for (uint32_t i = 0; i + kFirstCache < fds.size(); i++) {
    trouble->segment = "cache " + std::to_string(i + 1);
    trouble->expected = kCacheLayout;
    caches_.push_back(std::make_unique<Cache>());
    status =
        caches_.back()->Attach(fds[i + kFirstCache], id, i, processes_.geometry().threads, &locks_, &trouble->found);
    if (status != Status::kOk) return status;
  }
  return Enter(trouble);
}

Status Instance::EnterProcess() {
  auto enter = [this] { return processes_.EnterProcess(self_.pid, self_.worker, self_.start_time); };
  Status status = enter();
  // Whoever is at the door frees slots for all who wait there.
  for (uint32_t waited_ms = 0; status == Status::kNoProcessSlot && waited_ms < kPatienceMs; waited_ms++) {
    if (processes_.EnterDoor(self_.pid, self_.start_time) == Status::kOk) {
      locks_.ActAs({processes_.OwnName(), &processes_});
      Reclaim(kPatienceMs);
      processes_.LeaveDoor();
      return enter();
    }
    usleep(1000);
    status = enter();
  }
  return status;
}

Status Instance::Enter(Trouble* trouble) {
  trouble->expected = processes_.geometry().processes;
  processes_.SetEnded(self_.ended);
  const Status status = EnterProcess();
  if (status != Status::kOk) return processes_.LeaveProcess(), status;
  locks_.ActAs({processes_.OwnName(), &processes_});
  user_locks_.Enter();
  return status;
}

Status Instance::EnterThread(Caller* caller) {
  *caller = {0, self_.pid, self_.now, kPatienceMs};
  Status status = processes_.EnterThread(&caller->thread);
  if (status != Status::kNoThreadSlot) return status;
  Reclaim(kPatienceMs);  // or somebody else has just done so
  return processes_.EnterThread(&caller->thread);
}

void Instance::Leave() {
  locks_.Leave();
  processes_.LeaveProcess();
  for (auto& cache : caches_) cache->segment().Abandon();
  metrics_.segment().Abandon();
  user_locks_.segment().Abandon();
  accounting_.segment().Abandon();
  locks_.segment().Abandon();
  processes_.segment().Abandon();
}

Status Instance::DefineMetrics(const std::vector<MetricSpec>& specs, uint32_t family, uint32_t most, uint32_t* first) {
  Guard guard(locks_, ProcessTable::kTableLock, Nobody(kPatienceMs), processes_);
  return guard.status() == Status::kOk ? metrics_.Define(specs, family, most, first) : guard.status();
}

uint32_t Instance::Reclaim(uint32_t patience_ms) {
  Guard guard(locks_, ProcessTable::kTableLock, Nobody(patience_ms), processes_);
  if (guard.status() != Status::kOk) return 0;
  auto bury = [this](uint32_t slot) { return user_locks_.BurySlot(slot, Nobody(kReclaimPatienceMs)); };
  return processes_.Reclaim(bury, [this](uint32_t thread) {
    // In the dead thread's name: its own intent record covers what we do, so
    // if we die too, the next one finds a dead thread as we did.
    const Caller dead{thread, self_.pid, self_.now, kReclaimPatienceMs};
    bool settled = true;
    for (auto& cache : caches_) settled = cache->Settle(dead) && settled;
    return settled;
  });
}

std::vector<int> Instance::Descriptors() {
  std::vector<int> fds{processes_.segment().fd(), locks_.segment().fd(), accounting_.segment().fd(),
                       user_locks_.segment().fd(), metrics_.segment().fd()};
  for (auto& cache : caches_) fds.push_back(cache->segment().fd());
  return fds;
}

std::vector<std::pair<std::string, uint32_t>> Instance::Holders() const {
  std::vector<std::pair<std::string, uint32_t>> holders;
  holders.reserve(user_locks_.used() + 1 + caches_.size());
  for (uint32_t lock = 0; lock < user_locks_.used(); lock++)
    holders.emplace_back(user_locks_.NameOf(lock), user_locks_.HolderOf(lock));
  holders.emplace_back("processes", locks_.HolderOf(ProcessTable::kTableLock));
  for (const auto& cache : caches_) holders.emplace_back("cache_" + cache->name(), cache->HolderPid());
  return holders;
}

std::vector<Instance::StructureLocks> Instance::StructureFigures() const {
  constexpr uint32_t kTable = ProcessTable::kTableLock;
  std::vector<StructureLocks> all{{"processes", locks_.HolderOf(kTable), locks_.CountsOf(kTable, 1)},
                                  {"user_locks", user_locks_.GuardHolder(), user_locks_.CountsOfGuards()}};
  for (const auto& cache : caches_)
    all.push_back({"cache_" + cache->name(), cache->HolderPid(), cache->CountsOfLocks()});
  return all;
}

}  // namespace uwshm
