// Kills processes at random moments while all of them work on the same caches,
// and looks after each death whether anybody noticed more than a short wait.
//
//   storm [KILLS] [--engine NAME] [--mode one|two|waiters|rescuer] [--bitmap] [--checksum] [--store]
//         [--policy lru|lru-strict|sieve] [--rests] [--seed N]
//
//   one      a worker that is not asleep      (the default)
//   two      two of them at once
//   waiters  only a worker that sleeps in a lock
//   rescuer  a worker, and then who repairs after it, up to three times
//
// Workers never rest: eight of them fight for the processors as well, and are
// preempted inside their locks. That is where the storm wants to find them, but
// it makes the gap a wait for the scheduler too. With --rests they do now and
// then, and the gap is what a death costs. With --bitmap values take several blocks;
// with --checksum every read looks at that of its item; with --store the caches live in
// files, and what a start would find there is looked at too. --policy is that of the
// cache that evicts.
// Without KILLS 600, with UWSHM_FULL=1 10,000. Ends with 0 when every promise
// held, 1 when one was broken (the line before the last says which and at
// which kill), 2 when it could not begin, 3 when the watchdog had to end it.
// The last line is JSON.
#include <sys/resource.h>
#include <sys/wait.h>

#include <cinttypes>
#include <cstring>
#include <thread>

#include "figures.hpp"
#include "worker.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

enum class Mode { kOne, kTwo, kWaiters, kRescuer };
const char* const kModes[] = {"one", "two", "waiters", "rescuer"};

#ifdef UWSHM_NO_REPAIR
constexpr bool kRepair = false;
#else
constexpr bool kRepair = true;
#endif

struct Options {
  uint32_t kills = getenv("UWSHM_FULL") ? 10000 : 600;
  const LockEngine* engine = LockTable::Engines()[0];
  Mode mode = Mode::kOne;
  StormKind caches;
  bool rests = false;
  uint64_t seed = 1;
};

class Storm {
 public:
  explicit Storm(const Options& options) : options_(options), dice_(options.seed), ledger_(Ledger::Make()) {
    if (options.engine->kernel != nullptr) options.engine->kernel->reap();  // of storms that were ended
    Trouble trouble;
    Need(instance_.Create(kInstance, {kWorkers + 8, 8, 4, 0, options.engine, StormCaches(options.caches)},
                          MeAmongMortals(), &trouble) == Status::kOk,
         "no instance could be made");
    Need(instance_.EnterThread(&caller_) == Status::kOk, "no thread slot for the killer");
    for (auto& cache : instance_.caches()) probes_.push_back(ProbeNames(*cache));
    ledger_->rests = options.rests;
    std::thread([this] { Watch(); }).detach();
  }

  int Run() {
    started_us_ = NowUs();
    // Where it may, the killer goes before its victims: else most of a storm is its wait for a processor.
    setpriority(PRIO_PROCESS, 0, -10);
    for (uint32_t id = 0; id < kWorkers; id++) Spawn(id);
    if (options_.mode == Mode::kRescuer) SpawnRescuer();
    while (kills_ < options_.kills && fault_.empty()) {
      Beat("letting them work");
      usleep(dice_.Below(2500));
      if (dice_.Below(4) == 0) Calm();
      OneKill();
      if (kills_ % 200 == 0 || kills_ == options_.kills) HaltAndCheck();
      if (ledger_->faults != 0) Broken(ledger_->fault);
    }
    EndAll();
    return Report();
  }

 private:
  Cache& wild() { return *instance_.caches()[kWild]; }
  Cache& kept() { return *instance_.caches()[kKept]; }

  void Broken(const std::string& what) {
    if (fault_.empty()) fault_ = what, fault_kill_ = kills_;
  }

  void Spawn(uint32_t id) {
    Beat("forking");
    WorkerNote& note = ledger_->workers[id];
    note.thread = 0;
    note.halted = 0;
    const uint64_t seed = dice_.Next();
    const pid_t pid = fork();
    Need(pid >= 0, "fork failed");
    // The child maps everything anew, as a process that was handed the descriptors does.
    if (pid == 0) setpriority(PRIO_PROCESS, 0, 0), (new StormWorker(ledger_, id, seed))->Run(instance_.Descriptors());
    pids_[id] = pid;
  }

  // Does nothing but settle what the dead have left, and dies at it.
  void SpawnRescuer() {
    rescuer_ = fork();
    Need(rescuer_ >= 0, "fork failed");
    if (rescuer_ != 0) return;
    setpriority(PRIO_PROCESS, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto* instance = new Instance;
    Trouble trouble;
    if (instance->Attach(kInstance, instance_.Descriptors(), MeAmongMortals(), &trouble) != Status::kOk) _exit(1);
    for (uint32_t round = ledger_->rescue;;) {
      while (ledger_->rescue == round) sched_yield();
      round = ledger_->rescue;
      while (instance->Reclaim() == 0 && ledger_->rescue == round) sched_yield();
    }
  }

  void OneKill() {
    const bool two = options_.mode == Mode::kTwo;
    uint32_t victims[2] = {Victim(), kWorkers};
    while (two && (victims[1] = Victim()) == victims[0]) {
    }
    const uint64_t repairs = Repairs();
    const uint64_t since_us = NowUs();
    for (uint32_t i = 0; i <= two; i++) kill(pids_[victims[i]], SIGKILL);
    for (uint32_t i = 0; i <= two; i++) Hasten(pids_[victims[i]]);

    // Half of the time service comes first and the dead are buried afterwards:
    // then it is the next caller who repairs, not the master.
    const bool serve_first = dice_.Below(2) == 0;
    if (serve_first) gaps_us_.push_back(Probe(since_us));
    uint32_t left = 0;
    for (uint32_t i = 0; i <= two; i++) Reap(&pids_[victims[i]]), left += LeftSomething(victims[i]);
    const uint64_t reaped_us = NowUs();
    deaths_us_.push_back(reaped_us - since_us);
    if (options_.mode == Mode::kRescuer) KillRescuers();
    Bury();
    for (uint32_t i = 0; i <= two; i++) CheckCell(victims[i]);
    if (!serve_first) gaps_us_.push_back(Probe(reaped_us));
    inside_ += std::max<uint64_t>(left, std::min<uint64_t>(Repairs() - repairs, two + 1));
    kills_ += two + 1;
    for (uint32_t i = 0; i <= two; i++) Spawn(victims[i]);
    if (options_.mode == Mode::kRescuer) SpawnRescuer();
  }

  // Whoever sleeps is in a lock's queue or at rest, never inside a section.
  uint32_t Victim() {
    Beat("choosing a victim");
    const bool asleep = options_.mode == Mode::kWaiters;
    for (uint32_t id = dice_.Below(kWorkers);; id = (id + 1) % kWorkers) {
      const char* doing = ledger_->workers[id].doing;
      if ((StateOf(pids_[id]) == 'S') == asleep && !(asleep && doing && strcmp(doing, "rest") == 0)) return id;
    }
  }

  // Who dies needs a processor for it, and most of a storm would be the wait for that.
  static void Hasten(pid_t pid) { setpriority(PRIO_PROCESS, static_cast<id_t>(pid), -20); }

  void Reap(pid_t* pid) {
    Beat("reaping");
    int status = 0;
    waitpid(*pid, &status, 0);
    *pid = 0;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) Broken("a worker ended by itself");
  }

  // Did it die between the lines? An owner record with its name, an armed
  // intent or a reserved slot tells; those that a survivor has repaired
  // already show in the count of repairs.
  bool LeftSomething(uint32_t id) {
    const uint32_t thread = ledger_->workers[id].thread - 1;
    if (thread == UINT32_MAX) return false;
    for (uint32_t lock = 1; lock < instance_.locks().count(); lock++)
      if (instance_.locks().OwnerThreadOf(lock) == thread) return true;
    for (auto& cache : instance_.caches()) {
      const Cell& cell = CellsOf(*cache)[thread];
      if (cell.intent.armed != 0 || cell.reserved != 0 || HoldsRun(cell)) return true;
    }
    return false;
  }

  // What is idle anybody may take; all else the dead one has in hand.
  static bool HoldsRun(const Cell& cell) { return cell.fresh != 0 || (cell.old != 0 && (cell.old & kIdle) == 0); }

  uint64_t Repairs() {
    uint64_t repairs = 0;
    for (auto& cache : instance_.caches()) repairs += cache->Figures(instance_.processes().threads_used()).repairs;
    return repairs;
  }

  void KillRescuers() {
    for (uint32_t depth = 0; depth < 3; depth++) {
      Beat("killing who repairs");
      ledger_->rescue++;
      for (uint32_t turns = dice_.Below(2000); turns > 0; turns--) std::atomic_signal_fence(std::memory_order_seq_cst);
      kill(rescuer_, SIGKILL);
      Hasten(rescuer_);
      Reap(&rescuer_);
      rescuers_killed_++;
      if (depth < 2) SpawnRescuer();
    }
  }

  // Until nobody dead has a slot left. Whoever meets a lock of a dead owner takes that owner's
  // life mutex for a moment; so who asks for it (Alive) may find a dead process alive.
  void Bury() {
    Beat("burying the dead");
    const uint64_t until_us = NowUs() + 1000000;
    do {
      instance_.Reclaim();
      if (DeadWithASlot() == 0) return;
    } while (NowUs() < until_us);
    stuck_++, Broken("the dead could not be settled within a second");
  }

  uint32_t DeadWithASlot() {
    uint32_t dead = 0;
    ProcessTable& processes = instance_.processes();
    for (uint32_t slot = 0; slot < processes.geometry().processes; slot++) {
      const auto pid = static_cast<pid_t>(processes.process(slot).claimed.load());
      const bool lives =
          pid == getpid() || pid == rescuer_ || std::find(pids_, pids_ + kWorkers, pid) != pids_ + kWorkers;
      dead += pid != 0 && !lives;
    }
    return dead;
  }

  // A thread slot that is free has nothing half done: I6, one death at a time.
  void CheckCell(uint32_t id) {
    const uint32_t thread = ledger_->workers[id].thread - 1;
    if (thread == UINT32_MAX) return;
    for (auto& cache : instance_.caches()) {
      const Cell& cell = CellsOf(*cache)[thread];
      const bool armed = cell.intent.armed != 0, reserved = cell.reserved != 0 || HoldsRun(cell);
      if (!(armed || reserved) || HasNewOwner(thread, id)) continue;
      if (armed) Broken("an intent for " + cache->name() + " outlives its thread");
      if (reserved) lost_++, Broken("a slot or a run of " + cache->name() + " stays reserved for a dead thread");
    }
  }

  // Whoever has just come may have got the slot: it says so before its first call.
  bool HasNewOwner(uint32_t thread, uint32_t dead) {
    for (uint32_t id = 0; id < kWorkers; id++)
      if (id != dead && ledger_->workers[id].thread == thread + 1) return true;
    return false;
  }

  // One key per stripe: serving all of them is what "back in service" means.
  static std::vector<std::string> ProbeNames(Cache& cache) {
    std::vector<std::string> names(cache.geometry().stripes());
    size_t missing = names.size();
    for (uint32_t i = 0; missing > 0; i++) {
      const std::string name = "wait-" + std::to_string(i);
      std::string& place = names[KeyFor(cache, name).stripe];
      if (place.empty()) place = name, missing--;
    }
    return names;
  }

  uint64_t Probe(uint64_t since_us) {
    Beat("asking for service");
    for (uint32_t c = 0; c < probes_.size(); c++)
      for (const std::string& name : probes_[c]) ProbeKey(*instance_.caches()[c], name, c != kKept);
    // A key that is new needs a slot of the pool.
    const std::string name = "fresh";  // a Key points to its text
    const Key fresh = KeyFor(kept(), name);
    Served(kept().Store(caller_, fresh, How::kAdd, "x", 1, 0, 0), "storing a new key");
    Served(kept().Remove(caller_, fresh), "removing it");
    return NowUs() - since_us;
  }

  void ProbeKey(Cache& cache, const std::string& name, bool may_be_full) {
    uint8_t bytes[64], copy[512];
    const Key key = KeyFor(cache, name);
    WriteProof(bytes, 1, kProbe, ++probe_count_, sizeof bytes, 0);
    Status status = cache.Store(caller_, key, How::kReplace, bytes, sizeof bytes, 0, 0);
    const bool stored = status == Status::kOk;
    if (!stored && !(may_be_full && status == Status::kFull)) return Served(status, "a write");
    Found found{};
    status = cache.Read(caller_, key, Cache::kCounted, [&](const uint8_t* value, const Found& now) {
      found = now;
      CopyOut(copy, value, now.size);
    });
    if (may_be_full && status == Status::kNotFound) return;  // cleared, or never stored
    Served(status, "a read");
    if (status != Status::kOk) return;
    Proof proof;
    const char* what = ReadProof(copy, 1, found.size, found.flags, &proof);
    if (what == nullptr && stored && proof.count != probe_count_) what = "not the value that was stored last";
    if (what != nullptr) wrong_++, Broken(std::string("the killer read ") + what);
  }

  void Served(Status status, const char* what) {
    if (status == Status::kOk) return;
    if (status == Status::kBusy) stuck_++;
    else wrong_++;
    Broken(std::string("no service for the killer: ") + what + " gave status " +
           std::to_string(static_cast<int>(status)));
  }

  // The same question when nobody has died: what the machine itself costs.
  void Calm() { calm_us_.push_back(Probe(NowUs())); }

  void HaltAndCheck() {
    Beat("halting everybody");
    const uint32_t halt = ++halts_;
    ledger_->halt = halt;
    for (uint32_t id = 0; id < kWorkers; id++) {
      const uint64_t until_us = NowUs() + 5000000;
      while (ledger_->workers[id].halted != halt) {
        usleep(100);
        if (NowUs() < until_us) continue;
        stuck_++;
        return Broken("worker " + std::to_string(id) + " does not come out of " + ledger_->workers[id].doing.load());
      }
    }
    Beat("checking");
    for (auto& cache : instance_.caches()) {
      const std::string fault = cache->Check();
      if (fault.empty()) continue;
      lost_ += fault.compare(0, 2, "I2") == 0 || fault.compare(0, 2, "I4") == 0;
      Broken("check of " + cache->name() + ": " + fault);
    }
    for (auto& cache : instance_.caches()) {
      if (cache->Figures(0).damaged != 0) wrong_++, Broken("an item of " + cache->name() + " was found damaged");
      if (options_.caches.store) CheckStore(*cache);
    }
    CheckCounters();
    CheckSlots();
    checks_++;
    ledger_->halt = 0;
  }

  // What a start would find, were everybody killed now.
  void CheckStore(Cache& cache) {
    StoreHead head;
    StoreFindings found;
    std::string fault;
    const Status status = ExamineStore(cache.segment().fd(), kStormClock, BootMs(), &head, &found, &fault);
    const uint64_t items = cache.Figures(0).items;
    if (status == Status::kOk && fault.empty() && found.damaged + found.older == 0 &&
        found.good + found.expired == items)
      return;
    wrong_++;
    Broken("a start would find " + std::to_string(found.good) + " good, " + std::to_string(found.damaged) +
           " damaged and " + std::to_string(found.expired) + " expired of " + std::to_string(items) + " items of " +
           cache.name() + "; " + fault);
  }

  void CheckCounters() {
    for (uint32_t counter = 0; counter < kCounters; counter++) {
      uint64_t done = 0, started = 0, value = 0;
      for (const WorkerNote& note : ledger_->workers)
        done += note.incs[counter].done, started += note.incs[counter].started;
      kept().Read(caller_, KeyFor(kept(), CounterName(counter)), Cache::kUncounted,
                  [&](const uint8_t* bytes, const Found&) { value = LoadWord(bytes); });
      if (value >= done && value <= started) continue;
      wrong_++;
      Broken("counter " + std::to_string(counter) + " is " + std::to_string(value) + " after " + std::to_string(done) +
             " additions done of " + std::to_string(started) + " started");
    }
  }

  // Everybody lives, so there are as many slots taken as processes.
  void CheckSlots() {
    ProcessTable& processes = instance_.processes();
    uint32_t taken = 0;
    for (uint32_t slot = 0; slot < processes.geometry().processes; slot++)
      taken += processes.process(slot).claimed != 0;
    const uint32_t expected = kWorkers + 1 + (options_.mode == Mode::kRescuer);
    if (taken > expected)
      lost_++, Broken(std::to_string(taken) + " process slots are taken by " + std::to_string(expected));
  }

  void EndAll() {
    Beat("ending");
    for (pid_t pid : pids_)
      if (pid > 0) kill(pid, SIGKILL);
    if (rescuer_ > 0) kill(rescuer_, SIGKILL);
    while (wait(nullptr) > 0) {
    }
    instance_.locks().Leave();
  }

  int Report() {
    uint64_t calls = 0, busy = 0, full = 0;
    for (const WorkerNote& note : ledger_->workers) calls += note.calls, busy += note.busy, full += note.refused_full;
    stuck_ += static_cast<uint32_t>(busy);
    wrong_ += ledger_->faults;
    if (stuck_ > 0) Broken("calls gave up after a second");
    const double inside = kills_ ? 100.0 * static_cast<double>(inside_) / kills_ : 0;
    const double seconds = static_cast<double>(NowUs() - started_us_) / 1e6;
    const char* mode = kModes[static_cast<int>(options_.mode)];

    const StormKind& kind = options_.caches;
    printf("%-28s %s, %s%s%s%s, %s, seed %" PRIu64 ", %s\n", "mode", mode, kind.bitmap ? "bitmap, " : "",
           kind.checksum ? "checksum, " : "", kind.store ? "store, " : "", kPolicyNames[kind.policy],
           options_.engine->title, options_.seed, kRepair ? "with repair" : "repair compiled out");
    printf("%-28s %u in %.1f s, beside %" PRIu64 " calls (%" PRIu64 " found the cache full)\n", "kills", kills_,
           seconds, calls, full);
    if (rescuers_killed_) printf("%-28s %u\n", "killed while repairing", rescuers_killed_);
    printf("%-28s %" PRIu64 " (%.1f %%)\n", "inside a critical section", inside_, inside);
    printf("%-28s %u\n%-28s %u\n%-28s %u\n%-28s %u\n", "stuck beyond a second", stuck_, "wrong or torn values", wrong_,
           "lost slots", lost_, "checks of the whole", checks_);
    PrintTimes("gap after a kill", gaps_us_);
    PrintTimes("the same without a kill", calm_us_);
    PrintTimes("from kill to reaped", deaths_us_);
    if (fault_.empty()) printf("every promise held\n");
    else printf("BROKEN at kill %u: %s\n", fault_kill_, fault_.c_str());
    printf(
        "{\"mode\":\"%s\",\"engine\":\"%s\",\"bitmap\":%s,\"checksum\":%s,\"store\":%s,\"policy\":\"%s\",\"rests\":%s,"
        "\"seed\":%" PRIu64 ",\"repair\":%s,\"held\":%s,\"kills\":%u,\"seconds\":%.1f,\"calls\":%" PRIu64
        ",\"inside\":%" PRIu64
        ",\"insidePercent\":%.1f,\"rescuersKilled\":%u,\"stuck\":%u,\"wrong\":%u,\"lost\":%u,\"checks\":%u",
        mode, options_.engine->name, Bool(kind.bitmap), Bool(kind.checksum), Bool(kind.store),
        kPolicyNames[kind.policy], Bool(options_.rests), options_.seed, Bool(kRepair), Bool(fault_.empty()), kills_,
        seconds, calls, inside_, inside, rescuers_killed_, stuck_, wrong_, lost_, checks_);
    if (!fault_.empty()) printf(",\"brokenAt\":%u", fault_kill_);
    printf(",\"gapMs\":%s,\"calmMs\":%s}\n", JsonTimes(gaps_us_).c_str(), JsonTimes(calm_us_).c_str());
    return fault_.empty() ? 0 : 1;
  }

  void Beat(const char* phase) {
    phase_ = phase;
    beats_++;
  }

  // Ends a storm that stands still, and says where it stands.
  void Watch() {
    uint64_t last = 0, since_us = NowUs();
    for (;;) {
      usleep(200000);
      const uint64_t beats = beats_;
      if (beats != last) last = beats, since_us = NowUs();
      if (NowUs() - since_us < 20000000) continue;
      printf("STUCK at kill %u for 20 s, while %s\n", kills_, phase_.load());
      for (uint32_t lock = 0; lock < instance_.locks().count(); lock++)
        if (uint32_t pid = instance_.locks().HolderOf(lock)) printf("  lock %u is held by pid %u\n", lock, pid);
      for (uint32_t id = 0; id < kWorkers; id++) {
        const char* doing = ledger_->workers[id].doing;
        printf("  worker %u, pid %d, state %c, in %s\n", id, pids_[id], StateOf(pids_[id]),
               doing ? doing : "nothing yet");
      }
      printf("{\"mode\":\"%s\",\"seed\":%" PRIu64 ",\"repair\":%s,\"held\":false,\"kills\":%u,\"watchdog\":true}\n",
             kModes[static_cast<int>(options_.mode)], options_.seed, Bool(kRepair), kills_);
      fflush(stdout);
      for (pid_t pid : pids_)
        if (pid > 0) kill(pid, SIGKILL);
      if (rescuer_ > 0) kill(rescuer_, SIGKILL);
      _exit(3);
    }
  }

  const Options options_;
  Dice dice_;
  Ledger* ledger_;
  Instance instance_;
  Caller caller_{};
  std::vector<std::vector<std::string>> probes_;
  pid_t pids_[kWorkers] = {};
  pid_t rescuer_ = 0;
  std::atomic<const char*> phase_{"beginning"};
  std::atomic<uint64_t> beats_{0};
  uint64_t started_us_ = 0, probe_count_ = 0, inside_ = 0;
  uint32_t kills_ = 0, rescuers_killed_ = 0, stuck_ = 0, wrong_ = 0, lost_ = 0, checks_ = 0, halts_ = 0;
  std::vector<uint64_t> gaps_us_, calm_us_, deaths_us_;
  std::string fault_;
  uint32_t fault_kill_ = 0;
};

Options Parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; i++) {
    const std::string word = words[i];
    const char* next = i + 1 < count ? words[i + 1] : "";
    if (word == "--seed") options.seed = strtoull(next, nullptr, 10), i++;
    else if (word == "--rests") options.rests = true;
    else if (word == "--bitmap") options.caches.bitmap = true;
    else if (word == "--checksum") options.caches.checksum = true;
    else if (word == "--store") options.caches.store = true;
    else if (word == "--policy") {
      uint32_t policy = kLru;
      while (policy < kPolicies && strcmp(kPolicyNames[policy], next) != 0) policy++;
      Need(policy < kPolicies, "--policy is lru, lru-strict or sieve");
      options.caches.policy = static_cast<Policy>(policy), i++;
    } else if (word == "--engine") options.engine = EngineOrEnd(next), i++;
    else if (word == "--mode") {
      size_t mode = 0;
      while (mode < 4 && strcmp(kModes[mode], next) != 0) mode++;
      Need(mode < 4, "--mode is one, two, waiters or rescuer");
      options.mode = static_cast<Mode>(mode), i++;
    } else {
      options.kills = static_cast<uint32_t>(strtoul(words[i], nullptr, 10));
      Need(options.kills > 0,
           "usage: storm [KILLS] [--engine NAME] [--mode one|two|waiters|rescuer] [--bitmap] [--checksum] [--store] "
           "[--policy lru|lru-strict|sieve] [--rests] [--seed N]");
    }
  }
  Need(!options.caches.bitmap || !options.caches.store, "--bitmap and --store: leave one out");
  return options;
}

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  auto* storm = new Storm(Parse(count, words));  // never destroyed: the watchdog looks at it to the end
  return storm->Run();
}
