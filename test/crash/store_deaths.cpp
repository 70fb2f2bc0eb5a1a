// The death of everybody at every instruction of every call that changes a cache in a file.
//
//   store_deaths [STRIDE]     1 = every instruction (the default with UWSHM_FULL=1), else 20
//
// A child is stepped through one call. At each instruction boundary a start is made with
// the file as it stands then:
//
//   all dead   everybody was killed there. What the start finds is what the cache
//              held before the call or what it holds after it; nothing is damaged.
//   one dead   only the child was, others reclaimed what it left and looked at the
//              cache; then everybody was killed. The start finds what they saw.
//
// Ends with 0 when all that holds, 1 when something does not, 2 when it could
// not begin. The last line is JSON.
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <iterator>

#include "../native/store_world.hpp"
#include "cases.hpp"
#include "stepped.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

class StoreDeaths {
 public:
  StoreDeaths(uint64_t stride, Policy policy) : stride_(stride), evicts_(policy != kRefuse) {
    test_clock_ms = kNow;
    copy_ = memfd_create("copy", MFD_CLOEXEC);
    CacheSpec spec = SmallCache(policy, false);
    spec.store = {memfd_create("store", MFD_CLOEXEC), kThisBoot, 1, true};
    CreateOrEnd(instance_, {spec}, 4, TestMs);
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot");
    for (uint32_t i = 0; same_.size() < 4 || other_.size() < 12; i++) {
      const std::string name = "key-" + std::to_string(i);
      (KeyFor(cache(), name).bucket == 0 ? same_ : other_).push_back(name);
    }
    for (size_t size : {size_t{kInlineKey} + 20, size_t{kMiddleKey} + 20}) AddToBucket(size);
  }

  void Run() {
    const Image virgin = Take(instance_);
    uint32_t n = 0;
    // Stepping takes its time: the short form goes from every fourth start.
    auto run = [&](const Start& start) {
      if (!start.torn && (stride_ == 1 || n++ % 4 == 0)) RunFrom(start, virgin);
    };
    if (evicts_) std::for_each(std::begin(kFullStarts), std::end(kFullStarts), run);
    else std::for_each(std::begin(kStarts), std::end(kStarts), run);
  }

  static uint64_t boundaries, failures;
  static uint32_t pairs;

 private:
  Cache& cache() { return *instance_.caches()[0]; }

  void AddToBucket(size_t size) {
    std::string name;
    for (uint32_t i = 0; name.empty() || KeyFor(cache(), name).bucket != 0; i++)
      name = std::string(size, 'l') + std::to_string(i);
    same_.push_back(name);
  }

  void RunFrom(const Start& start, const Image& virgin) {
    for (const Operation& operation : kOperations) {
      Restore(instance_, virgin);
      where_ = std::string(operation.name) + ", " + start.name;
      target_ = start.build(cache(), caller_, same_, other_);
      piecemeal_ = operation.piecemeal;
      const Image before = Take(instance_);
      before_ = ContentsOf(cache(), caller_);
      operation.run(cache(), caller_, target_);
      after_ = ContentsOf(cache(), caller_);
      Restore(instance_, before);
      StepThrough(operation);
      pairs++;
    }
  }

  void StepThrough(const Operation& operation) {
    Stepped victim(instance_, [&](Instance& instance, const Caller& caller, uint32_t) {
      operation.run(*instance.caches()[0], caller, target_);
    });
    victim.Begin();
    uint64_t at = 0;
    do {
      if (at++ % stride_ != 0) continue;
      boundaries++;
      const Image alive = Take(instance_);
      Expect("all dead", nullptr);
      Die(instance_, victim.tids());
      for (int round = 0; round < 3; round++) instance_.Reclaim();
      const Contents seen = ContentsOf(cache(), caller_);
      const std::string fault = cache().Check();
      if (!fault.empty()) Fail("one dead", fault);
      Expect("one dead", &seen);
      Restore(instance_, alive);
    } while (victim.Step());
  }

  // A start with the file as it is.
  void Expect(const char* how, const Contents* seen) {
    Segment& segment = cache().segment();
    Need(pwrite(copy_, segment.base(), segment.size(), 0) == static_cast<ssize_t>(segment.size()), "no copy");
    StoreHead head;
    Cache start;
    StoreFindings findings;
    if (head.Read(copy_) != Status::kOk) return Fail(how, head.objection);
    Need(start.Examine(dup(copy_), head, kThisBoot, TestMs(), &findings) == Status::kOk, "no picture of the file");
    const std::string fault = start.Check();
    const Contents found = ContentsOf(start, caller_);
    start.segment().Abandon();
    if (!fault.empty()) return Fail(how, fault);
    if (findings.damaged != 0) return Fail(how, "an item is damaged");
    if (seen != nullptr ? found != *seen : !IsPossible(found))
      Fail(how, "it finds neither what was there nor what should be there now");
  }

  bool IsPossible(const Contents& found) const {
    if (found == before_ || found == after_) return true;
    // Some of many are gone already, or something was evicted and nothing has come yet.
    if (!piecemeal_ && !evicts_) return false;
    auto held = [](const Contents& contents, const auto& item) {
      const auto one = contents.find(item.first);
      return one != contents.end() && one->second == item.second;
    };
    for (const auto& item : found)
      if (!held(before_, item) && !held(after_, item)) return false;
    return piecemeal_ || found.size() + 1 >= before_.size();
  }

  void Fail(const char* how, const std::string& what) {
    if (failures++ < 10) printf("FAILED %s, %s: %s\n", where_.c_str(), how, what.c_str());
  }

  const uint64_t stride_;
  const bool evicts_;
  Instance instance_;
  Caller caller_{};
  int copy_ = -1;
  Names same_, other_;
  std::string where_, target_;
  bool piecemeal_ = false;
  Contents before_, after_;
};

uint64_t StoreDeaths::boundaries = 0, StoreDeaths::failures = 0;
uint32_t StoreDeaths::pairs = 0;

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  BindNow(words);
  const uint64_t stride = count > 1 ? strtoull(words[1], nullptr, 10) : getenv("UWSHM_FULL") ? 1 : 20;
  Need(stride > 0, "usage: store_deaths [STRIDE]");
  for (Policy policy : {kRefuse, kLru}) StoreDeaths(stride, policy).Run();
  printf("{\"stride\":%" PRIu64 ",\"pairs\":%u,\"boundaries\":%" PRIu64 ",\"failures\":%" PRIu64 "}\n", stride,
         StoreDeaths::pairs, StoreDeaths::boundaries, StoreDeaths::failures);
  fflush(stdout);
  _exit(StoreDeaths::failures == 0 ? 0 : 1);  // the life threads have no end
}
