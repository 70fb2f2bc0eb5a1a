// Kills whoever has to do with a lock, and looks how soon the others have it.
//
//   lock_storm [KILLS] [--engine NAME] [--freeze SECONDS] [--seed N]
//
// Eight processes take turns at one lock and rest in between. What the lock
// guards is two numbers that must be equal; a turn adds one to each and may
// sleep in between, so that deaths find it torn. The next owner has to repair it.
// Victims, drawn for each kill:
//
//   holder     who holds the lock
//   anybody    whatever it is doing
//   waiter     who sleeps in the lock's queue
//   two        the holder and another at once
//   repairers  the holder, and then who repairs after it, three times over
//
// Then somebody is stopped with the lock in its hands, for --freeze seconds (0.3
// by default): everybody else must give up in time, and nobody take it.
//
// Without KILLS 400. Ends with 0 when every promise held, 1 when one was broken,
// 2 when it could not begin, 3 when the watchdog had to end it. The last line is
// JSON; its histogram has [milliseconds, how many gaps were no longer].
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cinttypes>
#include <csignal>
#include <thread>

#include "../native/world.hpp"
#include "figures.hpp"

using namespace uwshm;
using namespace uwshm::test;

namespace {

constexpr uint32_t kWorkers = 8;
constexpr uint32_t kLock = 1;
constexpr uint32_t kDepth = 3;
constexpr uint64_t kStuckUs = 1000000;

enum Victim { kHolder, kAnybody, kWaiter, kTwo, kRepairers, kVictims };
const char* const kVictimNames[] = {"holder", "anybody", "waiter", "two", "repairers"};

struct Options {
  uint32_t kills = 400;
  const LockEngine* engine = LockTable::Engines()[0];
  double freeze_s = 0.3;
  uint64_t seed = 1;
};

// What the lock guards, and what the processes tell the killer.
struct Page {
  std::atomic<uint64_t> first, second;
  std::atomic<uint64_t> turns, torn, overlaps, repairs;
  std::atomic<uint32_t> inside;            // pid of who believes to be alone
  std::atomic<uint64_t> taken_us;          // when the last turn began,
  std::atomic<uint32_t> taken_by;          // and whose it is
  std::atomic<uint32_t> repairers_wanted;  // that many shall wait for their death in the middle of a repair
  std::atomic<uint32_t> repairer;          // pid of the one that does
  std::atomic<uint32_t> frozen;            // odd while somebody is stopped
  std::atomic<uint64_t> refused, busy, broken;
};

Page* MakePage() {
  void* page = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Need(page != MAP_FAILED, "no memory for the page");
  return static_cast<Page*>(page);
}

class Guarded final : public Repairable {
 public:
  explicit Guarded(Page* page) : page_(page) {}

  void Turn(uint32_t pid, Dice& dice) {
    if (page_->inside.exchange(pid) != 0) page_->overlaps++;
    if (page_->first != page_->second) page_->torn++;
    page_->taken_by = pid;
    page_->taken_us = NowUs();
    page_->first++;
    if (dice.Below(4) == 0) usleep(dice.Below(150));
    page_->second++;
    page_->turns++;
    page_->inside = 0;
  }

  void Repair(uint32_t, uint32_t, const Caller& caller) override {
    if (page_->repairers_wanted != 0) {
      page_->second = page_->first - 1;  // worse than it was
      page_->repairer = caller.pid;
      while (page_->repairer == caller.pid) usleep(1000);
    }
    page_->repairs++;
    page_->second.store(page_->first);
    page_->inside = 0;
  }

 private:
  Page* page_;
};

class LockStorm {
 public:
  explicit LockStorm(const Options& options) : options_(options), dice_(options.seed), guarded_(page_) {
    if (options.engine->kernel != nullptr) options.engine->kernel->reap();  // of storms that were ended
    Need(processes_.Create(kInstance, {kWorkers + 8, 1, PidNamespace()}) == Status::kOk, "no process table");
    Need(locks_.Create(kInstance, 2, options.engine) == Status::kOk, "no locks");
    Arrive();
    std::thread([this] { Watch(); }).detach();
  }

  int Run() {
    const uint64_t since_us = NowUs();
    for (uint32_t id = 0; id < kWorkers; id++) Spawn(id);
    WaitFor("the first turn", [&] { return page_->turns > kWorkers; });
    while (kills_ < options_.kills && fault_.empty()) {
      usleep(dice_.Below(400));
      if (dice_.Below(4) == 0) calm_us_.push_back(GapAfter(NowUs(), 0, 0));
      OneKill();
      if (page_->torn != 0) Broken("a turn began with what a dead one had left");
      if (page_->overlaps != 0) Broken("two were in the lock at once");
      if (page_->busy != 0) Broken("a turn was refused though nobody stood still");
      if (page_->broken != 0) Broken("the lock is broken");
    }
    if (fault_.empty()) Freeze();
    seconds_ = static_cast<double>(NowUs() - since_us) / 1e6;
    for (pid_t pid : pids_) kill(pid, SIGKILL);
    for (pid_t pid : pids_) waitpid(pid, nullptr, 0);
    locks_.Leave();
    return Report();
  }

 private:
  void Broken(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  void Arrive() {
    const auto pid = static_cast<uint32_t>(getpid());
    processes_.SetEnded(HasEnded);
    Need(processes_.EnterProcess(pid, 0, StartTime(pid)) == Status::kOk, "no process slot");
    locks_.ActAs({processes_.OwnName(), &processes_});
  }

  Caller Me(uint32_t patience_ms) const { return {0, static_cast<uint32_t>(getpid()), BootMs, patience_ms}; }

  void Spawn(uint32_t id) {
    const uint64_t seed = dice_.Next();
    pids_[id] = fork();
    Need(pids_[id] >= 0, "fork failed");
    if (pids_[id] == 0) Work(seed);
  }

  [[noreturn]] void Work(uint64_t seed) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Arrive();
    Dice dice(seed);
    const auto pid = static_cast<uint32_t>(getpid());
    for (;;) {
      const uint32_t frozen = page_->frozen;
      {
        Guard guard(locks_, kLock, Me(frozen % 2 ? 50 : 1000), guarded_);
        if (guard.status() == Status::kOk) guarded_.Turn(pid, dice);
        else if (guard.status() != Status::kBusy) page_->broken++;
        else if (page_->frozen != frozen || frozen % 2) page_->refused++;
        else page_->busy++;
      }
      usleep(dice.Below(300));
    }
  }

  template <class Condition>
  void WaitFor(const char* what, Condition holds) {
    for (const uint64_t until_us = NowUs() + kStuckUs; !holds(); usleep(10))
      if (NowUs() > until_us) return stuck_++, Broken(std::string("a second in vain: ") + what);
  }

  // When somebody else has it: from `since_us` on.
  uint64_t GapAfter(uint64_t since_us, uint32_t dead, uint32_t dead_too) {
    WaitFor("the next turn", [&] {
      const uint32_t by = page_->taken_by;
      return page_->taken_us > since_us && by != dead && by != dead_too;
    });
    return page_->taken_us > since_us ? page_->taken_us - since_us : NowUs() - since_us;
  }

  uint32_t IdOf(uint32_t pid) const {
    for (uint32_t id = 0; id < kWorkers; id++)
      if (static_cast<uint32_t>(pids_[id]) == pid) return id;
    return kWorkers;
  }

  // Both may find nobody; then it is anybody.
  uint32_t Holder() {
    for (int turn = 0; turn < 2000; turn++)
      if (const uint32_t id = IdOf(locks_.HolderOf(kLock)); id < kWorkers) return id;
    return dice_.Below(kWorkers);
  }
  uint32_t Waiter() {
    const uint32_t first = dice_.Below(kWorkers);
    for (uint32_t id = first; id < first + kWorkers; id++)
      if (IdOf(locks_.HolderOf(kLock)) != id % kWorkers && StateOf(pids_[id % kWorkers]) == 'S') return id % kWorkers;
    return first;
  }

  void OneKill() {
    const Victim victim = dice_.Below(2) == 0 ? kHolder : static_cast<Victim>(1 + dice_.Below(kVictims - 1));
    const uint64_t repairs = page_->repairs;
    uint32_t ids[2] = {victim == kAnybody ? dice_.Below(kWorkers) : victim == kWaiter ? Waiter() : Holder(), kWorkers};
    if (victim == kTwo) ids[1] = (ids[0] + 1 + dice_.Below(kWorkers - 1)) % kWorkers;
    if (victim == kRepairers) page_->repairers_wanted = 1;
    const auto first = static_cast<uint32_t>(pids_[ids[0]]);
    const uint32_t second = victim == kTwo ? static_cast<uint32_t>(pids_[ids[1]]) : 0;
    uint64_t since_us = NowUs();
    kill(static_cast<pid_t>(first), SIGKILL);
    if (second != 0) kill(static_cast<pid_t>(second), SIGKILL);
    if (victim == kRepairers) since_us = KillRepairers(ids[0], since_us);
    const uint64_t gap_us = GapAfter(since_us, first, second);
    // Who takes the lock of the dead repairs before its turn; without a repair
    // the victim was not, or not any more, what it was chosen for.
    if (page_->repairs != repairs) gaps_us_.push_back(gap_us);
    for (const uint32_t id : ids)
      if (id < kWorkers) Replace(id);
    by_victim_[victim]++;
  }

  // Whoever dies in the midst of a repair leaves it to the next; the last one
  // finishes it. From that last death on it is a gap like others.
  uint64_t KillRepairers(uint32_t id, uint64_t since_us) {
    for (uint32_t depth = 0; depth < kDepth; depth++) {
      const uint64_t turns = page_->turns;
      // The victim may have died outside of the lock.
      WaitFor("a repairer", [&] { return page_->repairer != 0 || page_->turns > turns + 2; });
      const uint32_t repairer = IdOf(page_->repairer);
      if (repairer >= kWorkers) break;
      if (depth + 1 == kDepth) page_->repairers_wanted = 0;
      since_us = NowUs();
      kill(pids_[repairer], SIGKILL);
      waitpid(pids_[repairer], nullptr, 0);
      page_->repairer = 0;
      repairers_++;
      if (repairer != id) Spawn(repairer), kills_++;
    }
    page_->repairers_wanted = 0;
    page_->repairer = 0;  // one may have arrived meanwhile: it goes on
    return since_us;
  }

  void Replace(uint32_t id) {
    int status = 0;
    waitpid(pids_[id], &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) Broken("a worker ended by itself");
    auto nothing_left = [](uint32_t) { return true; };
    processes_.Reclaim(nothing_left, nothing_left);
    Spawn(id);
    kills_++;
  }

  void Freeze() {
    uint32_t id = kWorkers;
    for (;;) {
      id = Holder();
      kill(pids_[id], SIGSTOP);
      int status = 0;
      waitpid(pids_[id], &status, WUNTRACED);
      if (page_->inside == static_cast<uint32_t>(pids_[id])) break;  // in the midst of its turn
      kill(pids_[id], SIGCONT);
      usleep(500);
    }
    page_->frozen++;
    const uint64_t turns = page_->turns, repairs = page_->repairs;
    for (const uint64_t until_us = NowUs() + static_cast<uint64_t>(options_.freeze_s * 1e6); NowUs() < until_us;) {
      usleep(10000);
      beats_++;
    }
    if (page_->turns != turns || page_->repairs != repairs || locks_.HolderOf(kLock) != uint32_t(pids_[id]))
      Broken("the lock was taken from a stopped process");
    if (page_->refused == 0 && options_.freeze_s > 1.5) Broken("nobody gave up on a stopped process");
    const uint64_t since_us = NowUs();
    kill(pids_[id], SIGCONT);
    GapAfter(since_us, 0, 0);
    page_->frozen++;
    // Whoever had begun to wait before may give up even now; what matters is that turns go on.
    WaitFor("a hundred turns after the freeze", [&] { return page_->turns > turns + 100; });
    if (page_->torn != 0 || page_->overlaps != 0) Broken("torn after the freeze");
  }

  int Report() {
    const double share = kills_ ? 100.0 * static_cast<double>(gaps_us_.size()) / kills_ : 0;
    if (page_->busy != 0) stuck_ += static_cast<uint32_t>(page_->busy);
    printf("%-28s %s, seed %" PRIu64 "\n", "engine", options_.engine->title, options_.seed);
    printf("%-28s %u in %.1f s, beside %" PRIu64 " turns\n", "kills", kills_.load(), seconds_, page_->turns.load());
    printf("%-28s %zu (%.1f %%)\n%-28s %u\n", "with the lock in its hands", gaps_us_.size(), share,
           "in the midst of a repair", repairers_);
    printf("%-28s %.1f s, %" PRIu64 " calls gave up\n", "stopped holder", options_.freeze_s, page_->refused.load());
    printf("%-28s %u\n", "stuck beyond a second", stuck_);
    PrintTimes("hand-over after a kill", gaps_us_);
    PrintTimes("the same without a kill", calm_us_);
    if (fault_.empty()) printf("every promise held\n");
    else printf("BROKEN at kill %u: %s\n", kills_.load(), fault_.c_str());
    printf("{\"engine\":\"%s\",\"seed\":%" PRIu64 ",\"held\":%s,\"kills\":%u,\"seconds\":%.1f,\"turns\":%" PRIu64
           ",\"inside\":%zu,\"repairersKilled\":%u,\"stuck\":%u,\"freezeSeconds\":%.1f,\"refused\":%" PRIu64,
           options_.engine->name, options_.seed, Bool(fault_.empty()), kills_.load(), seconds_, page_->turns.load(),
           gaps_us_.size(), repairers_, stuck_, options_.freeze_s, page_->refused.load());
    for (int victim = 0; victim < kVictims; victim++) printf(",\"%s\":%u", kVictimNames[victim], by_victim_[victim]);
    printf(",\"gapMs\":%s,\"calmMs\":%s,\"gapHistogram\":%s}\n", JsonTimes(gaps_us_).c_str(),
           JsonTimes(calm_us_).c_str(), Histogram(gaps_us_).c_str());
    return fault_.empty() ? 0 : 1;
  }

  static std::string Histogram(std::vector<uint64_t> times_us) {
    std::sort(times_us.begin(), times_us.end());
    std::string text = "[";
    for (double edge_us = 10; !times_us.empty() && edge_us < 2e6; edge_us *= 1.1) {
      const auto below = std::upper_bound(times_us.begin(), times_us.end(), static_cast<uint64_t>(edge_us));
      const auto count = below - times_us.begin();
      times_us.erase(times_us.begin(), below);
      char bar[64];
      snprintf(bar, sizeof bar, "%s[%.3f,%td]", text.size() > 1 ? "," : "", edge_us / 1000, count);
      if (count > 0) text += bar;
    }
    return text + "]";
  }

  void Watch() {
    uint64_t last = 0;
    for (int still = 0; still < 100; still++) {
      usleep(200000);
      const uint64_t now = page_->turns + kills_ + beats_;
      if (now != last) still = 0;
      last = now;
    }
    printf("STUCK at kill %u for 20 s: the lock is held by pid %u\n", kills_.load(), locks_.HolderOf(kLock));
    for (pid_t pid : pids_) printf("  pid %d, state %c\n", pid, StateOf(pid));
    printf("{\"engine\":\"%s\",\"seed\":%" PRIu64 ",\"held\":false,\"kills\":%u,\"watchdog\":true}\n",
           options_.engine->name, options_.seed, kills_.load());
    for (pid_t pid : pids_)
      if (pid > 0) kill(pid, SIGKILL);
    fflush(stdout);
    _exit(3);
  }

  const Options options_;
  Dice dice_;
  Page* page_ = MakePage();
  Guarded guarded_;
  ProcessTable processes_;
  LockTable locks_;
  pid_t pids_[kWorkers] = {};
  std::atomic<uint32_t> kills_{0};
  std::atomic<uint64_t> beats_{0};
  uint32_t repairers_ = 0, stuck_ = 0, by_victim_[kVictims] = {};
  double seconds_ = 0;
  std::vector<uint64_t> gaps_us_, calm_us_;
  std::string fault_;
};

Options Parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; i++) {
    const std::string word = words[i];
    const char* next = i + 1 < count ? words[i + 1] : "";
    if (word == "--seed") options.seed = strtoull(next, nullptr, 10), i++;
    else if (word == "--engine") options.engine = EngineOrEnd(next), i++;
    else if (word == "--freeze") options.freeze_s = strtod(next, nullptr), i++;
    else options.kills = static_cast<uint32_t>(strtoul(words[i], nullptr, 10));
  }
  Need(options.kills > 0, "usage: lock_storm [KILLS] [--engine NAME] [--freeze SECONDS] [--seed N]");
  return options;
}

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  auto* storm = new LockStorm(Parse(count, words));  // never destroyed: the watchdog looks at it to the end
  const int code = storm->Run();
  fflush(stdout);
  _exit(code);  // the life thread has no end
}
