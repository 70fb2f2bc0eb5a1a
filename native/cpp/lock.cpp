#include "lock.hpp"

#include <cstring>

namespace uwshm {

#define LOCK_ENGINE(engine) extern const LockEngine engine;
#include "locks/engines.def"
#undef LOCK_ENGINE

namespace {

const LockEngine* const kEngines[] = {
#define LOCK_ENGINE(engine) &engine,
#include "locks/engines.def"
#undef LOCK_ENGINE
    nullptr};

// Wake-ups have been lost in robust mutexes before (glibc bug 20973), and
// looking again costs nothing: no wait is longer than this.
constexpr uint32_t kLookAgainMs = 200;

}  // namespace

const LockEngine* const* LockTable::Engines() { return kEngines; }

const LockEngine* LockTable::EngineNamed(const char* name) {
  for (const LockEngine* const* engine = kEngines; *engine; engine++)
    if (strcmp((*engine)->name, name) == 0) return *engine;
  return nullptr;
}

Status LockTable::Create(InstanceId instance, uint32_t locks, const LockChoice& choice) {
  SegmentSpec spec{"uwshm:locks", SegmentKind::kLocks, 0, kLayout, instance, SizeFor(locks), {locks}};
  for (uint64_t i = 0; kEngines[i]; i++)
    if (kEngines[i] == choice.engine) spec.geometry[1] = i;
  Status status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  records_ = segment_.At<LockRecord>(sizeof(SegmentHeader));
  if (choice.engine->kernel != nullptr) {
    status = choice.engine->kernel->make(records_, locks, {instance, choice.first_key, choice.persistent});
    if (status != Status::kOk) return status;
  } else {
    for (uint32_t i = 0; i < locks; i++)
      if (!choice.engine->init(records_[i].object)) return Status::kNoMemory;
  }
  engine_ = choice.engine;
  count_ = locks;
  return Status::kOk;
}

Status LockTable::Attach(int fd, InstanceId instance, uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kLocks, 0, kLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  const uint64_t locks = spec.geometry[0], engine = spec.geometry[1];
  if (locks == 0 || locks > UINT32_MAX || SizeFor(static_cast<uint32_t>(locks)) != spec.size ||
      engine >= sizeof kEngines / sizeof *kEngines - 1)
    return Status::kForeign;
  records_ = segment_.At<LockRecord>(sizeof(SegmentHeader));
  if (kEngines[engine]->kernel != nullptr) {
    status = kEngines[engine]->kernel->enter(records_, static_cast<uint32_t>(locks));
    if (status != Status::kOk) return status;
  }
  engine_ = kEngines[engine];
  count_ = static_cast<uint32_t>(locks);
  return Status::kOk;
}

void LockTable::Leave() {
  if (engine_ != nullptr && engine_->kernel != nullptr) engine_->kernel->leave(records_, count_);
}

LockCounts LockTable::CountsOf(uint32_t first, uint32_t count) const {
  LockCounts sum;
  for (const LockRecord* record = &records_[first]; record != &records_[first + count]; record++) {
    sum.acquisitions += record->acquisitions.load(std::memory_order_relaxed);
    sum.contended += record->contended.load(std::memory_order_relaxed);
    sum.waited_ms += record->waited_ms.load(std::memory_order_relaxed);
    sum.recoveries += record->recoveries.load(std::memory_order_relaxed);
  }
  return sum;
}

Taken Guard::Wait(uint32_t patience_ms, const Caller& caller) {
  const uint64_t since_ms = caller.now();
  uint32_t waited_ms = 0;
  for (;;) {
    const uint32_t slice_ms = patience_ms - waited_ms < kLookAgainMs ? patience_ms - waited_ms : kLookAgainMs;
    Taken taken = engine_->lock(record_.object, me_, slice_ms);
    waited_ms += slice_ms;
    if (taken == Taken::kYes) {
      Add(record_.contended, 1);
      Add(record_.waited_ms, caller.now() - since_ms);
    }
    if (taken != Taken::kNo || waited_ms >= patience_ms) return taken;
  }
}

}  // namespace uwshm
