// SysV semaphores. The kernel undoes what a dead process did to them, so their
// locks come free by themselves; but the sets outlive their processes, each
// costs one of a limited number, and anybody may list and remove them.
//
// One set holds the locks of a whole instance (several, where the kernel allows
// fewer semaphores per set), mode 0600, behind a header that tells any later
// process what it has found:
//
//   0  lives       processes that use the set: each adds 1, with undo
//   1  claimed     1 while somebody removes it, with undo
//   2  persistent  1: it stays when the last has left
//   3  4 numbers by which our sets are known
//   7  the locks, 1 = free
//
// To use a set is "unclaimed? then lives + 1", to remove it "nobody lives? then
// claimed + 1", and the kernel does either as one step. So no set is removed
// under a process that uses it, whatever was killed when: who dies drops out of
// both numbers. A set of blank header that nobody ever used is one whose maker
// died, or is about to go on: it may be removed as well, if its key is one of
// ours, and the maker makes another.
//
// Keys are 0x7577 and 16 bits of the instance's id, or what `first_key` says.
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "../lock.hpp"
#include "deadline.hpp"

namespace uwshm {
namespace {

enum : uint16_t { kLives, kClaimed, kPersistent, kMark, kLocks = kMark + 4 };

constexpr uint16_t kMarks[4] = {0x7577, 0x7368, 0x6d6c, 0x6f63};
constexpr int32_t kKeyPrefix = 0x75770000;
constexpr int kMode = 0600;

union Argument {
  int value;
  semid_ds* status;
  unsigned short* values;
  seminfo* info;
};

struct Place {
  int set;
  uint16_t number;
};
static_assert(sizeof(Place) <= sizeof(LockRecord::object));

const Place& At(const void* object) { return *static_cast<const Place*>(object); }

bool Does(int set, std::initializer_list<sembuf> steps) {
  sembuf all[2];
  std::copy(steps.begin(), steps.end(), all);
  int result;
  do result = semop(set, all, steps.size());
  while (result != 0 && errno == EINTR);
  return result == 0;
}

bool Use(int set) { return Does(set, {{kClaimed, 0, IPC_NOWAIT}, {kLives, 1, SEM_UNDO}}); }
bool Claim(int set) { return Does(set, {{kLives, 0, IPC_NOWAIT}, {kClaimed, 1, SEM_UNDO}}); }
bool Remove(int set) { return Claim(set) && semctl(set, 0, IPC_RMID) == 0; }

enum class Whose { kOurs, kUnfinished, kForeign };

Whose WhoseIs(int set, const semid_ds& status) {
  if ((status.sem_perm.mode & 0777) != kMode || status.sem_nsems <= kLocks) return Whose::kForeign;
  bool marked = true, blank = true;
  for (int i = 0; i < 4; i++) {
    const int value = semctl(set, kMark + i, GETVAL);
    marked = marked && value == kMarks[i];
    blank = blank && value == 0;
  }
  if (marked) return Whose::kOurs;
  return blank && status.sem_otime == 0 ? Whose::kUnfinished : Whose::kForeign;
}

// What stands at the key that the operator gave goes, if it is ours or was never
// used by anybody, and nobody lives there.
bool IsFree(int32_t key) {
  const int set = semget(key, 0, 0);
  if (set < 0) return errno == ENOENT;
  semid_ds status;
  Argument argument;
  argument.status = &status;
  return semctl(set, 0, IPC_STAT, argument) == 0 && WhoseIs(set, status) != Whose::kForeign && Remove(set);
}

// One set with `locks` free locks, used by this process. -1: errno tells why.
int MakeSet(uint16_t locks, int32_t key, bool persistent) {
  const int set = semget(key, kLocks + locks, IPC_CREAT | IPC_EXCL | kMode);
  if (set < 0) return -1;
  std::vector<unsigned short> values(kLocks + size_t{locks}, 1);
  values[kLives] = values[kClaimed] = 0;
  values[kPersistent] = persistent;
  std::copy(kMarks, kMarks + 4, &values[kMark]);
  Argument argument;
  argument.values = values.data();
  if (semctl(set, 0, SETALL, argument) == 0 && Use(set)) return set;
  // Somebody has tidied up behind us: it is gone, or about to go.
  errno = EEXIST;
  return -1;
}

uint32_t LocksPerSet() {
  seminfo info;
  Argument argument;
  argument.info = &info;
  if (semctl(0, 0, IPC_INFO, argument) < 0) return 0;
  return static_cast<uint32_t>(std::min(info.semmsl, 32000)) - kLocks;
}

template <class Visit>
bool EachSet(const LockRecord* records, uint32_t count, Visit visit) {
  for (uint32_t lock = 0; lock < count; lock++)
    if (lock == 0 || At(records[lock].object).set != At(records[lock - 1].object).set)
      if (!visit(At(records[lock].object).set)) return false;
  return true;
}

Status Enter(const LockRecord* records, uint32_t count) {
  return EachSet(records, count, Use) ? Status::kOk : Status::kForeign;
}

void Leave(const LockRecord* records, uint32_t count) {
  EachSet(records, count, [](int set) {
    Does(set, {{kLives, -1, SEM_UNDO | IPC_NOWAIT}});
    if (semctl(set, kPersistent, GETVAL) == 0) Remove(set);
    return true;
  });
}

// One set for these records. kNoMemory, kInUse.
Status MakeNext(LockRecord* records, uint16_t locks, int32_t key, bool is_given, bool persistent) {
  int set = -1;
  for (int tries = 0; set < 0 && tries < UINT16_MAX; tries++) {
    if (is_given && !IsFree(key)) return Status::kInUse;
    set = MakeSet(locks, key, persistent);
    if (set < 0 && errno != EEXIST) break;
    if (!is_given) key = kKeyPrefix | static_cast<uint16_t>(key + 1);
  }
  if (set < 0) return Status::kNoMemory;
  for (uint16_t i = 0; i < locks; i++)
    *reinterpret_cast<Place*>(records[i].object) = {set, static_cast<uint16_t>(kLocks + i)};
  return Status::kOk;
}

Status Make(LockRecord* records, uint32_t count, const KernelLocksSpec& spec) {
  const uint32_t per_set = LocksPerSet();
  if (per_set == 0) return Status::kNoMemory;
  // The highest byte of a key counts the sets, as it does for ftok(3).
  auto key = static_cast<uint32_t>(spec.first_key);
  for (uint32_t first = 0; first < count; first += per_set, key += 1 << 24) {
    const bool is_given = spec.first_key != 0;
    if (!is_given) key = kKeyPrefix | static_cast<uint16_t>(spec.instance.low);
    const auto locks = static_cast<uint16_t>(std::min(per_set, count - first));
    const Status status = MakeNext(&records[first], locks, static_cast<int32_t>(key), is_given, spec.persistent);
    if (status == Status::kOk) continue;
    const int why = errno;
    Leave(records, first);
    errno = why;
    return status;
  }
  return Status::kOk;
}

uint32_t Reap() {
  seminfo info;
  Argument argument;
  argument.info = &info;
  const int highest = semctl(0, 0, SEM_INFO, argument);
  uint32_t removed = 0;
  for (int i = 0; i <= highest; i++) {
    semid_ds status;
    argument.status = &status;
    const int set = semctl(i, 0, SEM_STAT, argument);
    if (set < 0 || (status.sem_perm.uid != geteuid() && geteuid() != 0)) continue;
    const Whose whose = WhoseIs(set, status);
    const bool has_own_key = (status.sem_perm.__key & ~0xffff) == kKeyPrefix;
    if (whose == Whose::kOurs ? semctl(set, kPersistent, GETVAL) == 0 : whose == Whose::kUnfinished && has_own_key)
      removed += Remove(set);
  }
  return removed;
}

Taken Judge(bool done) {
  if (done) return Taken::kYes;
  return errno == EAGAIN ? Taken::kNo : Taken::kBroken;
}

Taken TryLock(void* object, const Claimant&) {
  return Judge(Does(At(object).set, {{At(object).number, -1, SEM_UNDO | IPC_NOWAIT}}));
}

Taken Lock(void* object, const Claimant&, uint32_t wait_ms) {
  sembuf take{At(object).number, -1, SEM_UNDO};
  for (const Deadline until(wait_ms); !until.HasCome();) {
    const timespec left = until.left();
    if (semtimedop(At(object).set, &take, 1, &left) == 0) return Taken::kYes;
    if (errno != EINTR) return Judge(false);
  }
  return Taken::kNo;
}

void Unlock(void* object, const Claimant&) { Does(At(object).set, {{At(object).number, 1, SEM_UNDO}}); }

const KernelLocks kKernel = {Make, Enter, Leave, Reap};

}  // namespace

extern const LockEngine ipcsem;
const LockEngine ipcsem = {"ipcsem", "ipcsem", nullptr, TryLock, Lock, Unlock, &kKernel};

}  // namespace uwshm
