#include "accounting.hpp"

#include <algorithm>

#include "shared_bytes.hpp"

namespace uwshm {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// A word with one writer needs no locked instruction.
template <class T>
void Add(std::atomic<T>& word, T n) {
  word.store(word.load(kRelaxed) + n, kRelaxed);
}

}  // namespace

uint64_t Accounting::SizeFor(uint32_t workers, uint32_t cores) {
  return sizeof(SegmentHeader) + sizeof(GroupHeader) + uint64_t{workers} * sizeof(WorkerRow) +
         uint64_t{workers} * cores * (sizeof(CoreRow) + CoreRow::kHead);
}

void Accounting::Place() {
  group_ = segment_.At<GroupHeader>(sizeof(SegmentHeader));
  rows_ = reinterpret_cast<WorkerRow*>(group_ + 1);
  cores_rows_ = reinterpret_cast<CoreRow*>(rows_ + workers_);
  heads_ = reinterpret_cast<uint8_t*>(cores_rows_ + uint64_t{workers_} * cores_);
}

Status Accounting::Create(InstanceId instance, uint32_t workers, uint32_t cores, uint32_t master, uint64_t started_on) {
  SegmentSpec spec{"uwshm:accounting",      SegmentKind::kAccounting, 0, kLayout, instance,
                   SizeFor(workers, cores), {workers, cores}};
  Status status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  workers_ = workers;
  cores_ = cores;
  Place();
  group_->master = master;
  group_->started_on = started_on;
  return Status::kOk;
}

Status Accounting::Attach(int fd, InstanceId instance, uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kAccounting, 0, kLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  const uint64_t workers = spec.geometry[0], cores = spec.geometry[1];
  if (workers > UINT32_MAX || cores == 0 || cores > UINT32_MAX) return Status::kForeign;
  workers_ = static_cast<uint32_t>(workers);
  cores_ = static_cast<uint32_t>(cores);
  if (SizeFor(workers_, cores_) != spec.size) return Status::kForeign;
  Place();
  return Status::kOk;
}

void Accounting::Spawned(uint32_t id, uint32_t pid, uint64_t epoch_seconds) {
  WorkerRow& row = worker(id);
  row.requests_at_spawn.store(Requests(id), kRelaxed);
  row.last_spawn.store(epoch_seconds, kRelaxed);
  Add(row.respawn_count, 1u);
  row.pid.store(pid, std::memory_order_release);
}

void Accounting::Gone(uint32_t id) {
  WorkerRow& row = worker(id);
  row.pid.store(0, kRelaxed);
  row.accepting.store(0, kRelaxed);
  row.in_flight.store(0, kRelaxed);
  row.beat_at.store(0, kRelaxed);
  for (uint32_t i = 0; i < cores_; i++) {
    CoreRow& row = core(id, i);
    row.in_request.store(0, kRelaxed);
    row.sequence.store(0, std::memory_order_release);  // it may have died with a head half written
  }
}

void Accounting::Accepting(uint32_t id, uint64_t startup_seconds) {
  worker(id).startup_time.store(startup_seconds, kRelaxed);
  worker(id).accepting.store(1, std::memory_order_release);
}

void Accounting::Describe(uint32_t id, uint32_t number, const uint8_t* bytes, uint32_t size) {
  CoreRow& row = core(id, number);
  size = std::min(size, CoreRow::kHead);
  const uint32_t sequence = row.sequence.load(kRelaxed);
  row.sequence.store(sequence + 1, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  CopyIn(head(id, number), bytes, size);
  row.head_size.store(size, kRelaxed);
  row.sequence.store(sequence + 2, std::memory_order_release);
}

void Accounting::Exception(uint32_t id, uint32_t number) {
  Add(core(id, number == kNoCore ? cores_ - 1 : number).exceptions, 1.0);
}

void Accounting::Beat(uint32_t id, uint64_t p50, uint64_t p99, uint64_t max, uint64_t now_ms) {
  WorkerRow& row = worker(id);
  row.delay_p50.store(p50, kRelaxed);
  row.delay_p99.store(p99, kRelaxed);
  row.delay_max.store(max, kRelaxed);
  row.beat_at.store(now_ms, kRelaxed);
}

uint64_t Accounting::SumOfCores(uint32_t id, const SharedCount CoreRow::* word) const {
  double sum = 0;
  for (uint32_t i = 0; i < cores_; i++) sum += (core(id, i).*word).load(std::memory_order_acquire);
  return Whole(sum);
}

uint64_t Accounting::Requests(uint32_t id) const { return SumOfCores(id, &CoreRow::requests); }
uint64_t Accounting::Exceptions(uint32_t id) const { return SumOfCores(id, &CoreRow::exceptions); }

bool Accounting::Head(uint32_t id, uint32_t number, std::string* text) const {
  const CoreRow& row = core(id, number);
  const uint32_t before = row.sequence.load(std::memory_order_acquire);
  if (before % 2 != 0 || row.in_request.load(kRelaxed) == 0) return false;
  text->resize(std::min(row.head_size.load(kRelaxed), CoreRow::kHead));
  CopyOut(reinterpret_cast<uint8_t*>(text->data()), head(id, number), text->size());
  std::atomic_thread_fence(std::memory_order_acquire);
  if (row.sequence.load(kRelaxed) != before) return false;
  text->erase(std::remove(text->begin(), text->end(), '\0'), text->end());  // what only fills up words
  return true;
}

}  // namespace uwshm
