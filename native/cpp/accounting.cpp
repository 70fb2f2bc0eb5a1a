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

template <class Change>
void Accounting::Write(uint32_t id, uint32_t number, const uint8_t* bytes, uint32_t size, Change change) {
  CoreRow& row = core(id, number);
  size = std::min(size, CoreRow::kHead);
  const uint32_t sequence = row.sequence.load(kRelaxed);
  row.sequence.store(sequence + 1, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  CopyIn(head(id, number), bytes, size);
  row.head_size.store(size, kRelaxed);
  change(row);
  row.sequence.store(sequence + 2, std::memory_order_release);
}

void Accounting::Begin(uint32_t id, uint32_t number, const uint8_t* head, uint32_t size, uint64_t now_us) {
  Add(worker(id).in_flight, 1u);
  if (number == kNoCore) return Add(worker(id).overflows, uint64_t{1});
  Write(id, number, head, size, [now_us](CoreRow& row) {
    row.started_at.store(now_us, kRelaxed);
    row.in_request.store(1, kRelaxed);
  });
}

void Accounting::Describe(uint32_t id, uint32_t number, const uint8_t* head, uint32_t size) {
  Write(id, number, head, size, [](CoreRow&) {});
}

void Accounting::End(uint32_t id, uint32_t number, uint64_t took_us, uint64_t tx, Fault fault) {
  WorkerRow& row = worker(id);
  Add(row.in_flight, ~0u);
  Add(row.tx, tx);
  Add(row.running_time, took_us);
  row.avg_rt.store((row.avg_rt.load(kRelaxed) + took_us) / 2, kRelaxed);
  CoreRow& place = core(id, number == kNoCore ? cores_ - 1 : number);
  if (number != kNoCore) place.in_request.store(0, kRelaxed);
  if (fault == Fault::kRead) Add(place.read_errors, uint64_t{1});
  if (fault == Fault::kWrite) Add(place.write_errors, uint64_t{1});
  place.requests.store(place.requests.load(kRelaxed) + 1, std::memory_order_release);
}

void Accounting::Sent(uint32_t id, uint64_t bytes) { Add(worker(id).tx, bytes); }

void Accounting::Exception(uint32_t id, uint32_t number) {
  Add(core(id, number == kNoCore ? cores_ - 1 : number).exceptions, uint64_t{1});
}

void Accounting::Beat(uint32_t id, uint64_t p50, uint64_t p99, uint64_t max, uint64_t now_ms) {
  WorkerRow& row = worker(id);
  row.delay_p50.store(p50, kRelaxed);
  row.delay_p99.store(p99, kRelaxed);
  row.delay_max.store(max, kRelaxed);
  row.beat_at.store(now_ms, kRelaxed);
}

uint64_t Accounting::SumOfCores(uint32_t id, const std::atomic<uint64_t> CoreRow::* word) const {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < cores_; i++) sum += (core(id, i).*word).load(std::memory_order_acquire);
  return sum;
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
  return row.sequence.load(kRelaxed) == before;
}

}  // namespace uwshm
