// What a worker of the storm does until it is killed: everything that a cache
// can be asked for, on few keys, and it believes nothing that it reads.
#pragma once

#include <sys/prctl.h>

#include <algorithm>
#include <csignal>

#include "../native/proof.hpp"
#include "ledger.hpp"

namespace uwshm::test {

class StormWorker {
 public:
  StormWorker(Ledger* ledger, uint32_t id, uint64_t seed)
      : ledger_(ledger), note_(ledger->workers[id]), id_(id), dice_(seed) {}

  [[noreturn]] void Run(const std::vector<int>& fds) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Trouble trouble;
    note_.doing = "attach";
    Status status = instance_.Attach(kInstance, fds, MeAmongMortals(id_ + 1), &trouble);
    if (status == Status::kOk) status = instance_.EnterThread(&caller_);
    if (status != Status::kOk) {
      Wrong("a worker was refused", status);
      _exit(1);
    }
    note_.thread = caller_.thread + 1;
    NameKeys();
    for (uint32_t i = 0; i < kOwnKeys; i++) Inherit(i);
    for (;;) {
      if (ledger_->halt != note_.halted) Halt();
      Act();
      if (ledger_->rests) Rest();
      note_.calls.store(note_.calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  }

 private:
  // One of the two, for one call; a key is the same in both.
  Cache& wild() { return *instance_.caches()[wild_]; }
  Cache& kept() { return *instance_.caches()[kKept]; }

  // A key and the bytes behind it.
  struct Name {
    std::string bytes;
    Key key;
    void Set(const Cache& cache, std::string name) { bytes = std::move(name), key = KeyFor(cache, bytes); }
  };

  // Hashed once: the storm wants its workers inside the engine, not on the way there.
  void NameKeys() {
    for (uint32_t i = 0; i < kWildKeys; i++) wild_names_[i].Set(wild(), WildName(i));
    for (uint32_t i = 0; i < kCounters; i++) counter_names_[i].Set(kept(), CounterName(i));
    for (uint32_t i = 0; i < kOwnKeys; i++) own_names_[i].Set(kept(), OwnName(id_, i));
  }

  void Act() {
    const uint32_t die = dice_.Below(20000);
    wild_ = dice_.Below(2) == 0 ? kWild : kEvicting;
    if (die < 1200) return Count(dice_.Below(kCounters));
    if (die < 5400) return SetWild(How::kAdd, "set");
    if (die < 6600) return SetWild(How::kReplace, "update");
    if (die < 7000) return TouchWild();
    if (die < 11000) return RemoveWild();
    if (die < 11600) return ReadWild(dice_.Below(kWildKeys));
    if (die < 14600) return KeepOwn(dice_.Below(kOwnKeys));
    if (die < 15600) return SwapOwn(dice_.Below(kOwnKeys));
    if (die < 17600) return DropOwn(dice_.Below(kOwnKeys));
    if (die < 19600) return PopOwn(dice_.Below(kOwnKeys));
    if (die < 19900) return CheckOwn(dice_.Below(kOwnKeys));
    if (die < 19990) return Sweep();
    if (die < 19998) return ListWild();
    if (die < 19999) return RemovePrefix();
    ClearWild();
  }

  // So that the machine has a core to spare: what is measured is the wait for
  // a dead owner, not the queue for a processor.
  void Rest() {
    if (--calls_till_rest_ > 0) return;
    calls_till_rest_ = 1 + dice_.Below(2000);
    note_.doing = "rest";
    usleep(dice_.Below(400));
  }

  void Halt() {
    note_.doing = "halted";
    note_.halted.store(ledger_->halt.load());
    while (ledger_->halt != 0) usleep(100);
    note_.halted = 0;
  }

  void Count(uint32_t counter) {
    note_.doing = "inc";
    auto& tally = note_.incs[counter];
    tally.started++;
    uint64_t result = 0;
    // What multiplies by one changes nothing, and is in the way of those who count.
    if (dice_.Below(8) == 0) kept().Calculate(caller_, counter_names_[counter].key, Math::kMultiply, 1, 0, &result);
    Status status = kept().Add(caller_, counter_names_[counter].key, 1, 0, &result);
    if (status != Status::kOk) return Refused(status, kNeverFull);  // it stays started: a bound, not a count
    tally.done++;
    if (result <= counted_[counter]) Wrong("a counter went back", status);
    counted_[counter] = result;
  }

  void SetWild(How how, const char* doing) {
    note_.doing = doing;
    const uint32_t key = dice_.Below(kWildKeys), size = SomeSize(wild()), flags = dice_.Below(4) << 8;
    const uint64_t expires_at = dice_.Below(3) == 0 ? BootMs() + dice_.Below(20) : 0;
    uint8_t bytes[512];
    const uint64_t count = ++note_.count;
    WriteProof(bytes, key, id_, count, size, flags);
    Status status = wild().Store(caller_, wild_names_[key].key, how, bytes, size, flags, expires_at);
    if (status == Status::kOk) seen_[wild_][key][id_] = count;
    else if (status != Status::kExists || how != How::kAdd) Refused(status, kMayBeFull);
  }

  void TouchWild() {
    note_.doing = "touch";
    const uint64_t expires_at = dice_.Below(2) == 0 ? BootMs() + dice_.Below(20) : 0;
    Status status = wild().Touch(caller_, wild_names_[dice_.Below(kWildKeys)].key, expires_at);
    if (status != Status::kOk && status != Status::kNotFound) Refused(status, kNeverFull);
  }

  void RemoveWild() {
    note_.doing = "del";
    Status status = wild().Remove(caller_, wild_names_[dice_.Below(kWildKeys)].key);
    if (status != Status::kOk && status != Status::kNotFound) Refused(status, kNeverFull);
  }

  void ReadWild(uint32_t key) {
    note_.doing = "get";
    Proof proof{};
    Status status = Fetch(wild(), wild_names_[key].key, key, &proof);
    if (status == Status::kNotFound) return;
    if (status != Status::kOk) return Refused(status, kNeverFull);
    if (proof.writer != kProbe && proof.writer >= kWorkers) return Wrong("a writer that is nobody", status);
    if (proof.count < seen_[wild_][key][proof.writer % kWorkers]) return Wrong("an old value came back", status);
    seen_[wild_][key][proof.writer % kWorkers] = proof.count;
  }

  // The first look after a predecessor's death: what it stored last is there,
  // or what it was about to store; there is no third.
  void Inherit(uint32_t i) {
    note_.doing = "inherit";
    auto& own = note_.own[i];
    Proof proof{};
    Status status = Fetch(kept(), own_names_[i].key, OwnKey(i), &proof);
    if (status != Status::kOk && status != Status::kNotFound) return Refused(status, kNeverFull);
    if (proof.count != own.settled && proof.count != own.pending)
      Wrong("neither the old value nor the new one", status);
    own.settled = proof.count;
    own.pending = proof.count;
  }

  void KeepOwn(uint32_t i) {
    note_.doing = "keep";
    auto& own = note_.own[i];
    const uint32_t size = SomeSize(kept());
    uint8_t bytes[512];
    const uint64_t count = ++note_.count;
    WriteProof(bytes, OwnKey(i), id_, count, size, 0);
    own.pending = count;
    Status status = kept().Store(caller_, own_names_[i].key, How::kReplace, bytes, size, 0, 0);
    if (status == Status::kOk) own.settled = count;
    else own.pending.store(own.settled), Refused(status, kNeverFull);
  }

  // Nobody else writes it, so that what was read is what is expected.
  void SwapOwn(uint32_t i) {
    note_.doing = "cas";
    auto& own = note_.own[i];
    uint8_t old[512], bytes[512];
    Expected expected{old, 0};
    Status status =
        kept().Read(caller_, own_names_[i].key, Cache::kCounted,
                    [&](const uint8_t* now, const Found& found) { CopyOut(old, now, expected.size = found.size); });
    if (status == Status::kNotFound) return;
    if (status != Status::kOk) return Refused(status, kNeverFull);
    const uint32_t size = SomeSize(kept());
    const uint64_t count = ++note_.count;
    WriteProof(bytes, OwnKey(i), id_, count, size, 0);
    own.pending = count;
    status = kept().Store(caller_, own_names_[i].key, How::kSwap, bytes, size, 0, 0, &expected);
    if (status == Status::kOk) own.settled = count;
    else own.pending.store(own.settled), Refused(status, kNeverFull);
  }

  void PopOwn(uint32_t i) {
    note_.doing = "pop";
    auto& own = note_.own[i];
    own.pending = 0;
    uint8_t copy[512];
    Found found{};
    Proof proof{};
    Status status = kept().Pop(caller_, own_names_[i].key, copy, sizeof copy, &found);
    if (status == Status::kOk)
      if (const char* what = ReadProof(copy, OwnKey(i), found.size, found.flags, &proof)) Wrong(what, status);
    if (status == Status::kOk || status == Status::kNotFound) {
      if (proof.count != own.settled) Wrong("not the value that was stored last", status);
      own.settled = 0;
    } else {
      own.pending.store(own.settled);
      Refused(status, kNeverFull);
    }
  }

  void DropOwn(uint32_t i) {
    note_.doing = "drop";
    auto& own = note_.own[i];
    own.pending = 0;
    Status status = kept().Remove(caller_, own_names_[i].key);
    if (status == Status::kOk || status == Status::kNotFound) {
      if ((status == Status::kOk) != (own.settled != 0)) Wrong("del answers for something else", status);
      own.settled = 0;
    } else {
      own.pending.store(own.settled);
      Refused(status, kNeverFull);
    }
  }

  void CheckOwn(uint32_t i) {
    note_.doing = "check own";
    Proof proof{};
    Status status = Fetch(kept(), own_names_[i].key, OwnKey(i), &proof);
    if (status != Status::kOk && status != Status::kNotFound) return Refused(status, kNeverFull);
    if (proof.count != note_.own[i].settled) Wrong("not the value that was stored last", status);
  }

  void Sweep() {
    note_.doing = "sweep";
    wild().Sweep(caller_);
  }

  void ListWild() {
    note_.doing = "keys";
    std::vector<std::string> keys;
    Status status = wild().Keys(caller_, &keys);
    if (status != Status::kOk) return Refused(status, kNeverFull);
    for (const std::string& name : keys)
      if (name.compare(0, 1, "w") != 0) Wrong("a key that nobody stored", status);
  }

  void RemovePrefix() {
    note_.doing = "prefix";
    uint64_t removed = 0;
    Status status = wild().RemovePrefix(caller_, "wild-1", &removed);
    if (status != Status::kOk) Refused(status, kNeverFull);
  }

  void ClearWild() {
    note_.doing = "clear";
    uint64_t removed = 0;
    Status status = wild().Clear(caller_, &removed);
    if (status != Status::kOk) Refused(status, kNeverFull);
  }

  // Copies the value out first and looks at it afterwards, as every reader must.
  Status Fetch(Cache& cache, const Key& where, uint32_t key, Proof* proof) {
    uint8_t copy[512];
    Found found{};
    Status status = cache.Read(caller_, where, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
      found = now;
      CopyOut(copy, bytes, now.size);
    });
    if (status != Status::kOk) return status;
    if (const char* what = ReadProof(copy, key, found.size, found.flags, proof)) Wrong(what, status);
    return status;
  }

  uint32_t OwnKey(uint32_t i) const { return 1000 + id_ * kOwnKeys + i; }

  // Mostly small: a long copy is time spent outside of every lock.
  uint32_t SomeSize(const Cache& cache) {
    const uint32_t most = std::min(cache.largest_value(), kLongestValue) - sizeof(Proof);
    return sizeof(Proof) + dice_.Below(dice_.Below(4) == 0 ? most + 1 : 40);
  }

  enum Fullness { kMayBeFull, kNeverFull };
  void Refused(Status status, Fullness fullness) {
    if (status == Status::kBusy) note_.busy++;
    else if (status == Status::kFull && fullness == kMayBeFull) note_.refused_full++;
    else Wrong("an answer that cannot be", status);
  }

  void Wrong(const char* what, Status status) {
    char text[128];
    snprintf(text, sizeof text, "%s (status %d)", what, static_cast<int>(status));
    ledger_->Fault(id_, note_.doing.load(), text);
  }

  Ledger* ledger_;
  WorkerNote& note_;
  const uint32_t id_;
  Dice dice_;
  Instance instance_;
  Caller caller_{};
  uint32_t calls_till_rest_ = 1;
  Name wild_names_[kWildKeys], counter_names_[kCounters], own_names_[kOwnKeys];
  uint64_t counted_[kCounters] = {};
  uint32_t wild_ = kWild;
  uint64_t seen_[kEvicting + 1][kWildKeys][kWorkers] = {};
};

}  // namespace uwshm::test
