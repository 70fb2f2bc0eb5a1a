// A death at every instruction of every call that changes a cache.
//
//   boundaries [STRIDE [ENGINE]]     1 = every instruction (the default with UWSHM_FULL=1), else 20
//
// A child is stepped through one call. At each instruction boundary the
// segments are given the form that the kernel would give them if the child died
// there, and somebody else has to live with them:
//
//   settled     the dead are reclaimed. The cache is whole and holds what it
//               held before the call, or what it holds after it; the same call
//               can be made again; it takes as many items as it was made for.
//   served      before anybody reclaims, a survivor stores the same key.
//   twice dead  at torn images, and some others, whoever reclaims or stores is
//               stepped as well, dies too, and a third has to live with that.
//
// Here and there a child is killed in earnest: the segments must then be, byte
// for byte, what was assumed. Where the kernel keeps the locks they are in no
// image: then every death is one in earnest, and there are fewer of them.
//
// Ends with 0 when all that holds, 1 when something does not, 2 when it could
// not begin. The last line is JSON.
#include <cinttypes>
#include <cstring>
#include <iterator>

#include "cases.hpp"
#include "stepped.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

#ifdef UWSHM_NO_REPAIR
constexpr bool kRepair = false;
#else
constexpr bool kRepair = true;
#endif

// Stepping costs 25 microseconds, judging an image twice that; so of what is
// slow to repeat, a part must do.
struct Pace {
  uint64_t stride;
  uint64_t kill_every = stride == 1 ? 97 : 997;  // boundaries between two deaths in earnest
  uint64_t twice_every = stride == 1 ? 61 : 3;   // torn images between two whose repairer is stepped
  uint64_t whole_every = 307;                    // likewise, of images that are not torn
  uint64_t second_stride = 7 * stride;           // instructions between two deaths of the repairer
};

// What the call does when nobody dies.
struct Expected {
  Contents before, after, again;
  Status first, second;
};

struct Tally {
  uint64_t boundaries = 0, torn = 0, twice = 0, killed = 0, failures = 0;
  void operator+=(const Tally& other) {
    boundaries += other.boundaries, torn += other.torn, twice += other.twice;
    killed += other.killed, failures += other.failures;
  }
};

class Boundaries {
 public:
  Boundaries(uint64_t stride, Policy policy, bool bitmap, bool sealed, const LockEngine* engine)
      : pace_{stride}, evicts_(policy != kRefuse), bitmap_(bitmap) {
    test_clock_ms = kNow;
    CreateOrEnd(instance_, {SmallCache(policy, bitmap, sealed)}, 4, TestMs, engine);
    // Their calls are longer: about as many repairers are stepped as without blocks.
    if (bitmap && stride != 1) pace_.twice_every = 6;
    if (InKernel()) pace_.kill_every = stride == 1 ? 13 : 397;
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot");
    for (uint32_t i = 0; same_.size() < 4 || other_.size() < 12; i++) {
      const std::string name = "key-" + std::to_string(i);
      (KeyFor(cache(), name).bucket == 0 ? same_ : other_).push_back(name);
    }
    for (size_t size : {size_t{kInlineKey} + 20, size_t{kMiddleKey} + 20}) AddToBucket(size);
  }

  ~Boundaries() { instance_.Leave(); }  // and its locks, which may be the kernel's

  // From every second start; in the short form from every fourth.
  void Run(uint32_t half, Tally* total, uint32_t* pairs) {
    const Image virgin = Take(instance_);
    if (bitmap_) RunHalf(kBitmapStarts, half, virgin);
    else if (evicts_) RunHalf(kFullStarts, half, virgin);
    else RunHalf(kStarts, half, virgin);
    *total += total_;
    *pairs += pairs_;
  }

 private:
  static constexpr const char* kSurvivor = "a survivor was here";

  Cache& cache() { return *instance_.caches()[0]; }
  bool InKernel() { return instance_.locks().engine().kernel != nullptr; }

  template <size_t kCount>
  void RunHalf(const Start (&starts)[kCount], uint32_t half, const Image& virgin) {
    for (size_t i = half; i < kCount; i += pace_.stride == 1 ? 2 : 4) RunFrom(starts[i], virgin);
  }

  void RunFrom(const Start& start, const Image& virgin) {
    Restore(instance_, virgin);
    start_ = &start;
    target_ = start.build(cache(), caller_, same_, other_);
    Need(cache().Check().empty(), "a start is not whole");
    // Word 0: it reclaims. Word 1: it stores the key of the call.
    Stepped second(instance_, [this](Instance& instance, const Caller& caller, uint32_t word) {
      if (word == 0) instance.Reclaim();
      else Put(*instance.caches()[0], caller, target_, kSurvivor);
    });
    second_ = &second;
    if (start.torn && !InKernel()) Tear();
    // Of blocks, not all calls know.
    for (const Operation& operation : kOperations)
      if (!bitmap_ || pace_.stride == 1 || ChangesBlocks(operation)) RunPair(operation);
    if (bitmap_) RunPair(kUpdateTwice);
  }

  // Somebody dies behind the store of his link, with all that follows from it undone.
  void Tear() {
    Stepped dead(instance_, [this](Instance& instance, const Caller& caller, uint32_t) {
      Put(*instance.caches()[0], caller, same_[2], kTorn);
    });
    dead.Begin();
    for (std::string fault; fault.empty() || fault.compare(0, 2, "I6") == 0; fault = cache().Check())
      Need(dead.Step(), "a call that nothing can tear");
    Die(instance_, dead.tids());
    const Image torn = Take(instance_);
    dead.Kill();
    Restore(instance_, torn);
  }

  static bool ChangesBlocks(const Operation& operation) {
    const std::string name = operation.name;
    return name == "set" || name == "update" || name == "del" || name == "cas" || name == "sweep";
  }

  // One more key of the bucket of `same_`, about so long.
  void AddToBucket(size_t size) {
    std::string name;
    for (uint32_t i = 0; name.empty() || KeyFor(cache(), name).bucket != 0; i++)
      name = std::string(size, 'l') + std::to_string(i);
    same_.push_back(name);
  }

  void RunPair(const Operation& operation) {
    operation_ = &operation;
    tally_ = {};
    const Image start = Take(instance_);
    Expect(operation);
    Restore(instance_, start);
    StepThrough();
    Restore(instance_, start);
    for (at_ = 1; at_ < tally_.boundaries; at_ += pace_.kill_every) {
      KillInEarnest();
      Restore(instance_, start);
    }
    printf("%-8s %-22s %10" PRIu64 " %6" PRIu64 " %10" PRIu64 " %6" PRIu64 " %8" PRIu64 "\n", operation.name,
           start_->name, tally_.boundaries, tally_.torn, tally_.twice, tally_.killed, tally_.failures);
    total_ += tally_, pairs_++;
  }

  void Expect(const Operation& operation) {
    expected_.before = ContentsOf(cache(), caller_);
    expected_.first = operation.run(cache(), caller_, target_);
    expected_.after = ContentsOf(cache(), caller_);
    expected_.second = operation.run(cache(), caller_, target_);
    expected_.again = ContentsOf(cache(), caller_);
  }

  std::unique_ptr<Stepped> Victim() {
    auto victim = std::make_unique<Stepped>(instance_, [this](Instance& instance, const Caller& caller, uint32_t) {
      operation_->run(*instance.caches()[0], caller, target_);
    });
    victim->Begin();
    return victim;
  }

  void StepThrough() {
    auto victim = Victim();
    at_ = 0;
    do {
      if (!InKernel() && at_ % pace_.stride == 0) {
        where_ = victim->At();
        const Image alive = Take(instance_);
        Die(instance_, victim->tids());
        JudgeImage(Take(instance_));
        Restore(instance_, alive);
      }
      at_++;
    } while (victim->Step());
    tally_.boundaries = at_;
  }

  // `image`: the child has died here, and nobody has looked yet.
  void JudgeImage(const Image& image) {
    const bool torn = !cache().Check().empty();
    tally_.torn += torn;
    JudgeSettled("settled");
    Restore(instance_, image);
    JudgeServed();
    const bool twice = torn ? torn_++ % pace_.twice_every == 0 : whole_++ % pace_.whole_every == 0;
    if (!twice) return;
    for (uint32_t word : {0u, 1u}) {
      Restore(instance_, image);
      DieTwice(word);
    }
  }

  void JudgeSettled(const char* how) {
    Bury(how, 2);
    const Contents now = ContentsOf(cache(), caller_);
    if (!Whole(how) || !IsPossible(how, now)) return;
    const Status status = operation_->run(cache(), caller_, target_);
    const Contents then = ContentsOf(cache(), caller_);
    const bool undone = now == expected_.before && status == expected_.first && then == expected_.after;
    const bool done = now == expected_.after && status == expected_.second && then == expected_.again;
    // Room was made, and then it died; or what was to go has been given another lap, and another went.
    auto evicted = [&] {
      return evicts_ && status == expected_.first && IsPossible(how, then) &&
             (then.count(target_) != 0) == (expected_.after.count(target_) != 0);
    };
    const bool cleared = operation_->piecemeal && status == Status::kOk && then == expected_.again;
    if (!undone && !done && !cleared && !evicted())
      Fail(how, "the same call again does something else, status " + std::to_string(static_cast<int>(status)));
    Fill(how);
  }

  void JudgeServed() {
    const Status status = Put(cache(), caller_, target_, kSurvivor);
    // The dead child may have the last slot.
    if (status != Status::kOk && status != Status::kFull)
      return Fail("served", "the survivor's store gave status " + std::to_string(static_cast<int>(status)));
    Bury("served", 2);
    Contents now = ContentsOf(cache(), caller_);
    if (!Whole("served")) return;
    if (status == Status::kOk) {
      if (now[target_] != std::string(kSurvivor) + "|0|0") return Fail("served", "the survivor's value is not there");
      Forget(&now);
    }
    IsPossible("served", now);
    Fill("served");
  }

  void DieTwice(uint32_t word) {
    const char* how = word == 0 ? "dead while reclaiming" : "dead while storing";
    second_->Begin(word);
    uint64_t step = 0;
    do {
      if (step++ % pace_.second_stride != at_ % pace_.second_stride) continue;  // every image begins elsewhere
      const Image alive = Take(instance_);
      Die(instance_, second_->tids());
      tally_.twice++;
      Bury(how, 1);
      Contents now = ContentsOf(cache(), caller_);
      if (Whole(how)) {
        if (now.count(target_) && now[target_] == std::string(kSurvivor) + "|0|0") Forget(&now);
        IsPossible(how, now);
        Fill(how);
      }
      Restore(instance_, alive);
    } while (second_->Step());
  }

  // The target was overwritten by a survivor: what it was before cannot be told.
  void Forget(Contents* now) {
    now->erase(target_);
    const Contents& like = expected_.before.count(target_) ? expected_.before : expected_.after;
    if (auto found = like.find(target_); found != like.end()) (*now)[target_] = found->second;
  }

  void KillInEarnest() {
    auto victim = Victim();
    for (uint64_t step = 0; step < at_; step++)
      if (!victim->Step()) return;
    where_ = victim->At();
    const Image alive = Take(instance_);
    Die(instance_, victim->tids());
    const Image assumed = Take(instance_);
    Restore(instance_, alive);
    victim->Kill();
    if (Take(instance_) != assumed) Fail("killed in earnest", "the kernel leaves other bytes than were assumed");
    tally_.killed++;
    JudgeSettled("killed in earnest");
  }

  // All dead are reclaimed, and `living` process slots stay.
  void Bury(const char* how, uint32_t living) {
    ProcessTable& processes = instance_.processes();
    uint32_t taken = 0;
    for (int round = 0; round < 3; round++) {
      instance_.Reclaim();
      taken = 0;
      for (uint32_t slot = 0; slot < processes.geometry().processes; slot++)
        taken += processes.process(slot).claimed != 0;
      if (taken == living) return;
    }
    Fail(how, std::to_string(taken) + " process slots are taken by " + std::to_string(living));
  }

  bool Whole(const char* how) {
    const std::string fault = cache().Check();
    if (!fault.empty()) Fail(how, fault);
    return fault.empty();
  }

  bool IsPossible(const char* how, const Contents& now) {
    if (now == expected_.before || now == expected_.after) return true;
    auto holds = [](const Contents& contents, const std::string& name, const std::string& value) {
      auto found = contents.find(name);
      return found != contents.end() && found->second == value;
    };
    // The dead may have evicted something, and the survivor too.
    bool some = operation_->piecemeal || (evicts_ && now.size() + (bitmap_ ? 4 : 2) >= expected_.before.size());
    for (const auto& [name, value] : now)
      some = some && (holds(expected_.before, name, value) || (evicts_ && holds(expected_.after, name, value)));
    if (!some) Fail(how, "it holds neither what it held nor what it should hold now");
    return some;
  }

  // Every slot is good for an item again.
  void Fill(const char* how) {
    const uint32_t items = cache().geometry().max_items;
    Status status = Status::kOk;
    for (uint32_t i = 0; i <= 2 * items && status == Status::kOk; i++)
      status = Put(cache(), caller_, "fill-" + std::to_string(i), "");
    if (status != (evicts_ ? Status::kOk : Status::kFull))
      Fail(how, "filling it ends with status " + std::to_string(static_cast<int>(status)));
    if (cache().Figures(0).items != items)
      Fail(how, "full with " + std::to_string(cache().Figures(0).items) + " of " + std::to_string(items) + " items");
    Whole(how);
    if (bitmap_) FillBlocks(how);
  }

  // Every block likewise.
  void FillBlocks(const char* how) {
    uint64_t removed = 0;
    cache().Clear(caller_, &removed);
    const Status status = Put(cache(), caller_, "fill", std::string(cache().largest_value(), 'f'));
    if (status != Status::kOk)
      Fail(how, "a value of all blocks gives status " + std::to_string(static_cast<int>(status)));
    Whole(how);
  }

  void Fail(const char* how, const std::string& what) {
    if (tally_.failures++ == 0)  // the first of its pair tells enough
      printf("FAILED %s, %s, boundary %" PRIu64 " at %#" PRIx64 ", %s: %s\n", operation_->name, start_->name, at_,
             where_, how, what.c_str());
    if (!kRepair) fflush(stdout), _exit(1);  // that it fails is all that is asked
  }

  Pace pace_;
  const bool evicts_, bitmap_;
  Instance instance_;
  Caller caller_{};
  Names same_, other_;
  Stepped* second_ = nullptr;
  const Start* start_ = nullptr;
  const Operation* operation_ = nullptr;
  std::string target_;
  Expected expected_;
  uint64_t at_ = 0, where_ = 0;
  uint64_t torn_ = 0, whole_ = 0;  // images judged, over all pairs
  Tally tally_, total_;
  uint32_t pairs_ = 0;
};

struct Part {
  Policy policy;
  bool bitmap, sealed;
  uint32_t half;
  Tally total{};
  uint32_t pairs = 0;
};

// Each part by a process of its own, as many at a time as there are processors. The first exit code but 0, or 0.
template <class Run>
int RunAll(Part* parts, uint32_t count, Run run) {
  const long most = sysconf(_SC_NPROCESSORS_ONLN);
  int code = 0;
  auto await = [&code] {
    int status = 0;
    wait(&status);
    if (code == 0) code = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
  };
  long running = 0;
  for (uint32_t i = 0; i < count && code == 0; i++) {
    if (running == most) await(), running--;
    const pid_t child = fork();
    Need(child >= 0, "fork failed");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      run(parts[i]);
      fflush(stdout);
      _exit(0);  // the life thread has no end
    }
    running++;
  }
  for (; running > 0 && code == 0; running--) await();
  return code;
}

int Report(const LockEngine* engine, uint64_t stride, const Tally& total, uint32_t pairs) {
  if (total.failures == 0) printf("every death was survived\n");
  else printf("BROKEN: %" PRIu64 " failures\n", total.failures);
  printf("{\"engine\":\"%s\",\"repair\":%s,\"stride\":%" PRIu64 ",\"pairs\":%u,\"boundaries\":%" PRIu64
         ",\"torn\":%" PRIu64 ",\"twiceDead\":%" PRIu64 ",\"killed\":%" PRIu64 ",\"failures\":%" PRIu64 "}\n",
         engine->name, kRepair ? "true" : "false", stride, pairs, total.boundaries, total.torn, total.twice,
         total.killed, total.failures);
  return total.failures == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  BindNow(words);
  const uint64_t stride = count > 1 ? strtoull(words[1], nullptr, 10) : getenv("UWSHM_FULL") ? 1 : 20;
  Need(stride > 0, "usage: boundaries [STRIDE [ENGINE]]");
  printf("%-8s %-22s %10s %6s %10s %6s %8s\n", "call", "start", "boundaries", "torn", "twice dead", "killed",
         "failures");
  const LockEngine* engine = EngineOrEnd(count > 2 ? words[2] : "pthread");
  // Halves, so that processors have equal shares.
  constexpr bool kSealedToo = true, kBitmapToo = true;
  const struct {
    Policy policy;
    bool bitmap, sealed;
  } kinds[] = {{kLru, kBitmapToo, false},    {kRefuse, kBitmapToo, kSealedToo},
               {kLru, false, kSealedToo},    {kRefuse, false, false},
               {kLru, false, false},         {kRefuse, false, kSealedToo},
               {kRefuse, kBitmapToo, false}, {kSieve, kBitmapToo, false},
               {kSieve, false, false},       {kLruStrict, false, false}};
  constexpr uint32_t kShort = 4;  // of them are in the short form
  Part all[2 * std::size(kinds)] = {};
  for (uint32_t i = 0; i < std::size(all); i++)
    all[i] = {kinds[i / 2].policy, kinds[i / 2].bitmap, kinds[i / 2].sealed,
              stride == 1 ? i % 2 : i % 2 + i / 2 % 2 * 2};
  void* page = mmap(nullptr, sizeof all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Need(page != MAP_FAILED, "no memory for the tallies");
  Part* parts = static_cast<Part*>(memcpy(page, all, sizeof all));
  const uint32_t parts_count = stride == 1 ? std::size(all) : 2 * kShort;
  const int code = RunAll(parts, parts_count, [&](Part& part) {
    Boundaries(stride, part.policy, part.bitmap, part.sealed, engine).Run(part.half, &part.total, &part.pairs);
  });
  if (code != 0) return code;  // the others end with us
  Tally total;
  uint32_t pairs = 0;
  for (uint32_t i = 0; i < parts_count; i++) total += parts[i].total, pairs += parts[i].pairs;
  return Report(engine, stride, total, pairs);
}
