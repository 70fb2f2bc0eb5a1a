// A death at every instruction of what can be done with a user lock.
//
//   lock_boundaries [STRIDE]     1 = every instruction (the default with UWSHM_FULL=1), else 5
//
// A child is stepped through one act: it takes and lets go, hands over to those who wait, waits
// and gives up, shares, makes a name, buries a dead process. At each instruction boundary
// the segments are given the form that the kernel would give them if the child died
// there, and the survivor must be able to live with that:
//
//   reclaimed   the dead are reclaimed; all is whole, every waiter gets its turn.
//   waiting     nobody reclaims: those who wait find the dead by themselves.
//   twice dead  at torn images whoever reclaims is stepped as well, dies too, and a
//               third has to live with that.
//
// Afterwards each lock is free, may be taken, and no record is lost.
//
// And nobody has to die for two to bury the same dead one: one is stepped, and overtaken
// at each boundary by the other and by a wait that gets the record of the dead. Ends with 0 when all
// that holds, 1 when something does not, 2 when it could not begin. The last line is JSON.
#include <cinttypes>
#include <cstring>

#include "stepped.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

constexpr uint32_t kLocks = 3;  // number = kind: plain, fair, read-write
const char* const kKinds[] = {"plain", "fair", "read-write"};

// What the child does, by word; `lock` in the upper half.
enum Act : uint32_t {
  kTake,
  kLetGo,
  kBoth,
  kWaitAndLeave,
  kWait,
  kLookAndLetGo,
  kShare,
  kUnshare,
  kName,
  kBury,
  kReclaim
};

struct Case {
  const char* name;
  Act before;       // done by the child, whole, before the survivor queues; kReclaim: nothing
  bool survivor;    // has the lock
  uint32_t queued;  // waits of the survivor
  Act act;          // stepped
  bool shared_only = false;
};

constexpr Case kCases[] = {
    {"take and let go", kReclaim, false, 0, kBoth}, {"let go, nobody waits", kTake, false, 0, kLetGo},
    {"let go, two wait", kTake, false, 2, kLetGo},  {"wait and give up", kReclaim, true, 1, kWaitAndLeave},
    {"be given it", kWait, true, 0, kLookAndLetGo}, {"be given it, one behind", kWait, true, 1, kLookAndLetGo},
    {"share", kReclaim, false, 0, kShare, true},    {"share no more, a writer waits", kShare, false, 1, kUnshare, true},
    {"make a name", kReclaim, false, 0, kName},     {"bury a holder, one waits", kReclaim, false, 1, kBury},
};

constexpr Case kOvertaken = {"bury, overtaken", kReclaim, true, 0, kBury};

class LockBoundaries {
 public:
  explicit LockBoundaries(uint64_t stride) : stride_(stride) {
    Trouble trouble;
    Need(instance_.Create(kInstance, {4, 1, 1, 0, LockTable::Engines()[0], {}, {1, kLocks + 1}}, Me(), &trouble) ==
             Status::kOk,
         "no instance could be made");
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot");
    uint32_t lock;
    for (uint32_t kind = 1; kind < kLocks; kind++)
      Need(locks().Named(kKinds[kind], kind, caller_, &lock) == Status::kOk && lock == kind, "no name");
  }

  int Run() {
    printf("%-32s %-10s %10s %6s %10s %8s\n", "act", "lock", "boundaries", "torn", "twice dead", "failures");
    for (const Case& one : kCases)
      for (lock_ = 0; lock_ < kLocks; lock_++) {
        if (one.shared_only && lock_ != 2) continue;
        case_ = &one;
        RunCase();
      }
    lock_ = 0;
    Overtake();
    if (failures_ == 0) printf("every death was survived\n");
    else printf("BROKEN: %" PRIu64 " failures\n", failures_);
    printf("{\"stride\":%" PRIu64 ",\"boundaries\":%" PRIu64 ",\"torn\":%" PRIu64 ",\"twiceDead\":%" PRIu64
           ",\"failures\":%" PRIu64 "}\n",
           stride_, boundaries_, torn_, twice_, failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  UserLocks& locks() { return instance_.user_locks(); }

  static void Do(Instance& instance, const Caller& caller, uint32_t word, uint32_t dead_slot) {
    static RecordIndex record;
    UserLocks& locks = instance.user_locks();
    const LockOwner owner = locks.ThreadOwner(caller);
    const uint32_t lock = word >> 8;
    switch (static_cast<Act>(word & 255)) {
      case kTake: locks.TryLock(lock, owner); break;
      case kLetGo: locks.Unlock(lock, owner.word, caller); break;
      case kBoth:
        locks.TryLock(lock, owner);
        locks.Unlock(lock, owner.word, caller);
        break;
      case kWaitAndLeave:
        locks.Enqueue(lock, owner, Share::kNo, true, caller, &record);
        locks.Look(record, caller, false);
        locks.Leave(record, caller);
        break;
      case kWait: locks.Enqueue(lock, owner, Share::kNo, true, caller, &record); break;
      case kLookAndLetGo:
        if (locks.Look(record, caller, true) == Status::kOk) locks.Unlock(lock, owner.word, caller);
        break;
      case kShare: locks.TryShare(lock, owner, caller); break;
      case kUnshare: locks.Unshare(lock, owner.word, caller); break;
      case kName: locks.Named("a new one", 0, caller, &record); break;
      case kBury: locks.BurySlot(dead_slot, caller); break;
      case kReclaim: instance.Reclaim(); break;
    }
  }

  std::unique_ptr<Stepped> Child() {
    return std::make_unique<Stepped>(instance_, [this](Instance& instance, const Caller& caller, uint32_t word) {
      Do(instance, caller, word, dead_slot_);
    });
  }

  void Whole(Stepped& child, Act act) {
    child.Begin(act | lock_ << 8);
    while (child.Step()) {
    }
  }

  void RunCase() {
    const Image start = Take(instance_);
    const uint64_t boundaries = boundaries_, torn = torn_, twice = twice_, failures = failures_;
    waits_.clear();
    hold_ = locks().NewOwner(caller_, 0);
    dead_slot_ = 0;
    if (case_->act == kBury) {
      auto dead = Child();
      Whole(*dead, kTake);
      dead_slot_ = 1;  // the first after ours
      dead->Kill();
    }
    auto victim = Child(), reclaimer = Child();
    if (case_->survivor) Need(locks().TryLock(lock_, hold_) == Status::kOk, "the survivor cannot take the lock");
    if (case_->before != kReclaim) Whole(*victim, case_->before);
    for (uint32_t i = 0; i < case_->queued; i++) {
      const LockOwner owner = locks().NewOwner(caller_, 0);
      RecordIndex record = 0;
      Need(locks().Enqueue(lock_, owner, Share::kNo, true, caller_, &record) == Status::kBusy, "nothing to wait for");
      waits_.push_back({record, owner});
    }
    if (case_->act == kLookAndLetGo) locks().Unlock(lock_, hold_.word, caller_);
    Need(locks().Check().empty(), "a start is not whole");

    victim->Begin(case_->act | lock_ << 8);
    for (uint64_t at = 0;; at++) {
      if (at % stride_ == 0) {
        at_ = at, where_ = victim->At();
        const Image alive = Take(instance_);
        Die(instance_, victim->tids());
        Judge(Take(instance_), *reclaimer);
        Restore(instance_, alive);
      }
      boundaries_++;
      if (!victim->Step()) break;
    }
    victim.reset(), reclaimer.reset();
    Restore(instance_, start);
    printf("%-32s %-10s %10" PRIu64 " %6" PRIu64 " %10" PRIu64 " %8" PRIu64 "\n", case_->name, kKinds[lock_],
           boundaries_ - boundaries, torn_ - torn, twice_ - twice, failures_ - failures);
  }

  void Overtake() {
    const Image start = Take(instance_);
    const uint64_t failures = failures_;
    case_ = &kOvertaken;
    dead_slot_ = 1;  // the first after ours
    const LockOwner hold = locks().NewOwner(caller_, 0), next = locks().NewOwner(caller_, 0);
    const uint64_t step = stride_ < 3 ? stride_ : 3;  // the moment is a few instructions long
    uint64_t at = 0;
    const uint64_t end = stride_ == 1 ? UINT64_MAX : 200;
    for (bool inside = true; inside && at < end; at += step) {
      Restore(instance_, start);
      Need(locks().TryLock(lock_, hold) == Status::kOk, "the survivor cannot take the lock");
      auto dead = Child();
      Whole(*dead, kWait);
      dead->Kill();
      auto burier = Child();
      burier->Begin(kBury | lock_ << 8);
      for (uint64_t i = 0; inside && i < at; i++) inside = burier->Step();
      at_ = at, where_ = inside ? burier->At() : 0;
      // While the stepped one has the guard, it is the first, and we are late.
      RecordIndex record = 0;
      if (!locks().BurySlot(dead_slot_, instance_.Nobody(0)) ||
          locks().Enqueue(lock_, next, Share::kNo, true, instance_.Nobody(0), &record) != Status::kBusy || record == 0)
        continue;
      boundaries_++;
      while (inside && burier->Step()) {
      }
      if (locks().Figures()[lock_].waiters != 1) Fail("alive", "who waits was buried with the dead");
      else if (locks().Unlock(lock_, hold.word, caller_) != Status::kOk) Fail("alive", "the survivor lost its lock");
      else if (locks().Look(record, caller_, true) != Status::kOk) Fail("alive", "who waits is not served");
      else if (locks().Unlock(lock_, next.word, caller_) != Status::kOk) Fail("alive", "it cannot let go");
      if (const std::string fault = locks().Check(); !fault.empty()) Fail("alive", fault);
    }
    Restore(instance_, start);
    printf("%-32s %-10s %10" PRIu64 " %6d %10d %8" PRIu64 "\n", case_->name, kKinds[lock_], at / step, 0, 0,
           failures_ - failures);
  }

  // `image`: the child has died here, and nobody has looked yet.
  void Judge(const Image& image, Stepped& reclaimer) {
    const bool torn = !locks().Check().empty();
    torn_ += torn;
    Reclaim();
    LiveOn("reclaimed");
    Restore(instance_, image);
    LiveOn("waiting");
    if (!torn && whole_++ % 41 != 0) return;
    Restore(instance_, image);
    reclaimer.Begin(kReclaim);
    for (uint64_t step = 0;; step++) {
      if (step % (7 * stride_) == at_ % (7 * stride_)) {
        const Image alive = Take(instance_);
        Die(instance_, reclaimer.tids());
        twice_++;
        Reclaim();
        LiveOn("twice dead");
        Restore(instance_, alive);
      }
      if (!reclaimer.Step()) break;
    }
  }

  void Reclaim() {
    for (int round = 0; round < 3; round++) instance_.Reclaim();
  }

  // Everybody who waits gets the lock, once, and then it is free.
  void LiveOn(const char* how) {
    // In a death while the lock was held by the survivor, it still is.
    if (case_->survivor && case_->act != kLookAndLetGo && locks().Unlock(lock_, hold_.word, caller_) != Status::kOk)
      return Fail(how, "the survivor lost its lock");
    const bool in_order = lock_ != 0 && !waits_.empty();
    if (in_order && locks().TryLock(lock_, locks().NewOwner(caller_, 0)) != Status::kBusy)
      return Fail(how, "a stranger overtakes those who wait");
    std::vector<bool> served(waits_.size());
    for (size_t turn = 0; turn < waits_.size(); turn++) {
      size_t who = waits_.size();
      for (int tries = 0; tries < 4 && who == waits_.size(); tries++)
        for (size_t i = 0; i < waits_.size() && who == waits_.size(); i++)
          if (!served[i] && locks().Look(waits_[i].record, caller_, true) == Status::kOk) who = i;
      if (who == waits_.size()) return Fail(how, "somebody waits for the dead");
      served[who] = true;
      if (lock_ != 0 && who != turn) return Fail(how, "out of turn");
      if (locks().TryLock(lock_, locks().NewOwner(caller_, 0)) != Status::kBusy) return Fail(how, "it has two owners");
      if (locks().Unlock(lock_, waits_[who].owner.word, caller_) != Status::kOk) return Fail(how, "it cannot let go");
    }
    Reclaim();
    if (const std::string fault = locks().Check(); !fault.empty()) return Fail(how, fault);
    for (uint32_t lock = 0; lock < kLocks; lock++) {
      if (locks().IsLocked(lock, caller_)) return Fail(how, "a lock stays taken");
      const LockOwner owner = locks().NewOwner(caller_, 0);
      if (locks().TryLock(lock, owner) != Status::kOk || locks().Unlock(lock, owner.word, caller_) != Status::kOk)
        return Fail(how, "a lock cannot be used");
    }
    // Every record is good for a wait again.
    const LockOwner owner = locks().NewOwner(caller_, 0);
    uint32_t records = 0;
    RecordIndex record = 0;
    locks().TryLock(0, owner);
    while (locks().Enqueue(0, locks().NewOwner(caller_, 0), Share::kNo, true, caller_, &record) == Status::kBusy)
      records++;
    if (records != locks().geometry().records())
      Fail(how, std::to_string(locks().geometry().records() - records) + " records are lost");
  }

  void Fail(const char* how, const std::string& what) {
    if (failures_++ < 20)
      printf("FAILED %s, %s, boundary %" PRIu64 " at %#" PRIx64 ", %s: %s\n", case_->name, kKinds[lock_], at_, where_,
             how, what.c_str());
  }

  struct Wait {
    RecordIndex record;
    LockOwner owner;
  };

  const uint64_t stride_;
  Instance instance_;
  Caller caller_{};
  LockOwner hold_{};
  const Case* case_ = nullptr;
  uint32_t lock_ = 0, dead_slot_ = 0;
  std::vector<Wait> waits_;
  uint64_t at_ = 0, where_ = 0, boundaries_ = 0, torn_ = 0, whole_ = 0, twice_ = 0, failures_ = 0;
};

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  BindNow(words);
  const uint64_t stride = count > 1 ? strtoull(words[1], nullptr, 10) : getenv("UWSHM_FULL") ? 1 : 5;
  Need(stride > 0, "usage: lock_boundaries [STRIDE]");
  LockBoundaries boundaries(stride);
  const int code = boundaries.Run();
  fflush(stdout);
  _exit(code);  // the life thread has no end
}
