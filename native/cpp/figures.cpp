// What computed metrics show: numbers that stand in other segments, each with
// the name under which metrics are defined over it. They are looked up when a
// metric is read; nothing is copied, and no worker is asked.
//
// A worker's figure of worker 0 is that of all of them. Arguments come from
// shared memory, so each is range-checked here.
#include <algorithm>

#include "instance.hpp"

namespace uwshm {
namespace {

using Rows = const Accounting&;

int64_t Number(uint64_t number) { return static_cast<int64_t>(number); }

bool IsBusy(const WorkerRow& row) { return row.pid != 0 && row.in_flight != 0; }

uint64_t Since(Rows rows, uint32_t id) {
  const uint64_t requests = rows.Requests(id), before = rows.worker(id).requests_at_spawn;
  return requests > before ? requests - before : 0;
}

uint64_t Exceptions(Rows rows, uint32_t id) { return rows.Exceptions(id); }
uint64_t Respawns(Rows rows, uint32_t id) { return rows.worker(id).respawn_count; }
uint64_t AvgRt(Rows rows, uint32_t id) { return Whole(rows.worker(id).avg_rt); }
uint64_t Tx(Rows rows, uint32_t id) { return Whole(rows.worker(id).tx); }
uint64_t RunningTime(Rows rows, uint32_t id) { return Whole(rows.worker(id).running_time); }
uint64_t InFlight(Rows rows, uint32_t id) { return rows.worker(id).in_flight; }
uint64_t Overflows(Rows rows, uint32_t id) { return Whole(rows.worker(id).overflows); }
// Of a worker that is gone nobody knows how late its timers are.
uint64_t DelayP50(Rows rows, uint32_t id) {
  return rows.worker(id).beat_at != 0 ? rows.worker(id).delay_p50.load() : 0;
}
uint64_t DelayP99(Rows rows, uint32_t id) {
  return rows.worker(id).beat_at != 0 ? rows.worker(id).delay_p99.load() : 0;
}
uint64_t DelayMax(Rows rows, uint32_t id) {
  return rows.worker(id).beat_at != 0 ? rows.worker(id).delay_max.load() : 0;
}
uint64_t Requests(Rows rows, uint32_t id) { return rows.Requests(id); }
uint64_t Busy(Rows rows, uint32_t id) { return IsBusy(rows.worker(id)); }
uint64_t Idle(Rows rows, uint32_t id) { return rows.worker(id).pid != 0 && !IsBusy(rows.worker(id)); }

// What all workers' figures make together.
enum class Together : uint8_t { kSum, kMean, kMost };

const struct WorkerFigure {
  const char* name;
  Together together;
  uint64_t (*read)(Rows, uint32_t id);
} kOfWorkers[] = {
    {"requests", Together::kSum, Requests},
    {"delta_requests", Together::kSum, Since},
    {"exceptions", Together::kSum, Exceptions},
    {"respawns", Together::kSum, Respawns},
    {"avg_rt", Together::kMean, AvgRt},
    {"tx", Together::kSum, Tx},
    {"running_time", Together::kSum, RunningTime},
    {"busy", Together::kSum, Busy},
    {"idle", Together::kSum, Idle},
    {"in_flight", Together::kSum, InFlight},
    {"overflows", Together::kSum, Overflows},
    {"delay_p50", Together::kMost, DelayP50},
    {"delay_p99", Together::kMost, DelayP99},
    {"delay_max", Together::kMost, DelayMax},
};

const struct CoreFigure {
  const char* name;
  const SharedCount CoreRow::* word;
} kOfCores[] = {
    {"core_requests", &CoreRow::requests},
    {"core_write_errors", &CoreRow::write_errors},
    {"core_read_errors", &CoreRow::read_errors},
    {"core_exceptions", &CoreRow::exceptions},
};

const struct CacheFigure {
  const char* name;
  uint64_t CacheFigures::* word;
} kOfCaches[] = {
    {"cache_items", &CacheFigures::items},     {"cache_hits", &CacheFigures::hits},
    {"cache_misses", &CacheFigures::misses},   {"cache_full", &CacheFigures::full},
    {"cache_repairs", &CacheFigures::repairs},
};

constexpr uint32_t kWorkers = sizeof kOfWorkers / sizeof *kOfWorkers;
constexpr uint32_t kCores = sizeof kOfCores / sizeof *kOfCores;
constexpr uint32_t kCaches = sizeof kOfCaches / sizeof *kOfCaches;
constexpr uint32_t kLocksHeld = kWorkers + kCores + kCaches;
constexpr uint32_t kAll = kLocksHeld + 1;

int64_t OfWorkers(Rows rows, const WorkerFigure& figure, uint32_t id) {
  if (id > rows.workers()) return 0;
  if (id != 0) return Number(figure.read(rows, id));
  uint64_t sum = 0, most = 0;
  for (uint32_t each = 1; each <= rows.workers(); each++) {
    const uint64_t one = figure.read(rows, each);
    sum += one;
    most = std::max(most, one);
  }
  if (figure.together == Together::kMost) return Number(most);
  return Number(figure.together == Together::kMean && rows.workers() > 0 ? sum / rows.workers() : sum);
}

}  // namespace

uint32_t Instance::FigureNamed(const std::string& name) {
  for (uint32_t i = 0; i < kWorkers; i++)
    if (name == kOfWorkers[i].name) return i;
  for (uint32_t i = 0; i < kCores; i++)
    if (name == kOfCores[i].name) return kWorkers + i;
  for (uint32_t i = 0; i < kCaches; i++)
    if (name == kOfCaches[i].name) return kWorkers + kCores + i;
  return name == "locks_held" ? kLocksHeld : kAll;
}

uint32_t Instance::FigureCount() const { return kAll; }

int64_t Instance::Figure(uint32_t figure, uint32_t first, uint32_t second) const {
  if (figure < kWorkers) return OfWorkers(accounting_, kOfWorkers[figure], first);
  figure -= kWorkers;
  if (figure < kCores) {
    const bool there = first >= 1 && first <= accounting_.workers() && second < accounting_.cores();
    return there ? Number(Whole(accounting_.core(first, second).*kOfCores[figure].word)) : 0;
  }
  figure -= kCores;
  if (figure < kCaches)
    return first < caches_.size() ? Number(caches_[first]->Figures(processes_.threads_used()).*kOfCaches[figure].word)
                                  : 0;
  int64_t held = 0;
  for (uint32_t lock = 0; lock < locks_.count(); lock++) held += locks_.HolderOf(lock) != 0;
  return held;
}

}  // namespace uwshm
