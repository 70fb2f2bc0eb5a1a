// A death at every instruction of every call that changes metrics.
//
// A child is stepped through one call. At each instruction boundary the segments
// are given the form that they would have if it died there. Then all must be
// whole, every metric must have the value from before the call or from after it,
// and somebody else must be able to do the same, at once and after the dead
// were reclaimed.
//
// These are all the stores into the segment, and the calls that make them:
//
//   slots, count   define, label, histogram
//   used bitmap    count: the first of a thread, which also is its first cell
//   cells          count
//   base           add to min, and store, the collectors' own
//
// Ends with 0 when all that holds, 1 when something does not, 2 when it could
// not begin. The last line is JSON.
#include <cinttypes>
#include <cstring>

#include "stepped.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

MetricSpec Counted(const char* name) { return {name, "1.2", MetricType::kCounter, MetricSource::kCounted}; }

MetricSpec Bucket(const char* name, uint32_t before) {
  return {name, "", MetricType::kCounter, MetricSource::kBucket, 0, before, 0, 0};
}

const std::vector<MetricSpec> kThree{Counted("a new one"), Counted("and a second"), Counted("a third of them")};
const std::vector<MetricSpec> kLabel{Counted("old{of=\"a child\"}")};
const std::vector<MetricSpec> kHistogram{Bucket("took_bucket{le=\"10\"}", 0), Bucket("took_bucket{le=\"+Inf\"}", 1),
                                         Counted("took_sum")};
constexpr uint32_t kFamily = 0, kOld = 1, kCollected = 2, kDefined = 3;
constexpr int64_t kCells = 30;

// The family has room for one child.
Status DefineAgain(Instance& instance, const std::vector<MetricSpec>& specs, uint32_t* first) {
  return instance.DefineMetrics(specs, &specs == &kLabel ? kFamily : Metrics::kNone, 1, first);
}

template <const std::vector<MetricSpec>& specs>
void Define(Instance& instance, const Caller&) {
  uint32_t first = 0;
  DefineAgain(instance, specs, &first);
}

struct Call {
  const char* name;
  void (*run)(Instance&, const Caller&);
  int64_t after;  // the value of `changed`; before it is 42
  uint32_t changed = kOld;
  const std::vector<MetricSpec>* defined = &kThree;  // by the call, or by who comes after it
};

const Call kCalls[] = {
    {"define", Define<kThree>, 42},
    {"label", Define<kLabel>, 42, kOld, &kLabel},
    {"histogram", Define<kHistogram>, 42, kOld, &kHistogram},
    {"count",
     [](Instance& instance, const Caller& me) {
       int64_t* cell = instance.metrics().Row(me.thread) + instance.metrics().CellOf(kOld);
       __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
     },
     43},
    {"add", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kAdd, 8); }, 50},
    {"set", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kSet, 7); }, 7},
    {"mul", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kMul, 2); }, 84},
    {"div", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kDiv, -5); }, -8},
    {"max", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kMax, 60); }, 60},
    {"min", [](Instance& instance, const Caller&) { instance.metrics().Change(kOld, MetricChange::kMin, 9); }, 9},
    {"store", [](Instance& instance, const Caller&) { instance.metrics().Store(kCollected, 77); }, 77, kCollected},
};

class Deaths {
 public:
  Deaths() {
    CreateOrEnd(instance_, {}, 4, TestMs, LockTable::Engines()[0], {12, 10});
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot");
    uint32_t first = 0;
    const MetricSpec collected{"collected", "", MetricType::kGauge, MetricSource::kStored};
    Need(instance_.DefineMetrics({Counted("family"), Counted("old"), collected}, Metrics::kNone, 0, &first) ==
             Status::kOk,
         "nothing can be defined");
    metrics().Row(caller_.thread)[metrics().CellOf(kOld)] = kCells;
    metrics().Change(kOld, MetricChange::kSet, 42);
    metrics().Store(kCollected, 42);
  }

  int Run() {
    for (const Call& call : kCalls) {
      call_ = &call;
      const Image start = Take(instance_);
      Stepped victim(instance_, [&](Instance& instance, const Caller& me, uint32_t) { call.run(instance, me); });
      victim.Begin();
      uint64_t at = 0;
      do {
        at++;
        const Image alive = Take(instance_);
        Die(instance_, victim.tids());
        const Image dead = Take(instance_);
        Judge();
        Restore(instance_, dead);
        if (instance_.Reclaim() != 1) Fail("the dead one's slot is not freed");
        Judge();
        Restore(instance_, alive);
      } while (victim.Step());
      if (metrics().Value(call.changed, instance_) != call.after) Fail("it does not do what it should");
      victim.Kill();
      boundaries_ += at;
      printf("%-10s %8" PRIu64 " boundaries\n", call.name, at);
      Restore(instance_, start);
    }
    printf("{\"boundaries\":%" PRIu64 ",\"failures\":%u}\n", boundaries_, failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  Metrics& metrics() { return instance_.metrics(); }

  void Judge() {
    const std::string fault = metrics().Check(instance_);
    if (!fault.empty()) Fail(fault.c_str());
    const int64_t value = metrics().Value(call_->changed, instance_);
    if (value != 42 && value != call_->after) Fail("a value from neither before nor after");
    const std::vector<MetricSpec>& defined = *call_->defined;
    const uint32_t count = metrics().Count();
    if (count != kDefined && count != kDefined + defined.size()) Fail("half of what was defined together");
    uint32_t first = 0;
    const Status status = DefineAgain(instance_, defined, &first);
    if (status != (count == kDefined ? Status::kOk : Status::kExists) || first != kDefined)
      Fail("it cannot be defined again");
    for (uint32_t i = 0; i < defined.size(); i++) {
      const MetricSpec spec = metrics().SpecOf(kDefined + i);
      if (spec.name != defined[i].name || spec.oid != defined[i].oid || spec.source != defined[i].source ||
          spec.first != defined[i].first)
        Fail("another than was given");
    }
    if (metrics().Change(kOld, MetricChange::kSet, 5) != Status::kOk || metrics().Value(kOld, instance_) != 5)
      Fail("a survivor cannot set it");
    if (metrics().Store(kCollected, 6) != Status::kOk || metrics().Value(kCollected, instance_) != 6)
      Fail("its collector cannot store");
  }

  void Fail(const char* what) {
    if (failures_++ == 0) printf("FAILED %s: %s\n", call_->name, what);
  }

  Instance instance_;
  Caller caller_{};
  const Call* call_ = nullptr;
  uint64_t boundaries_ = 0;
  uint32_t failures_ = 0;
};

}  // namespace

int main(int, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  BindNow(words);
  Deaths deaths;
  const int code = deaths.Run();
  fflush(stdout);
  _exit(code);  // the life thread has no end
}
