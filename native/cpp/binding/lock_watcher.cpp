// The watcher of user locks ("deadlock detector"): one native thread of the
// master, for it must work while the master's JavaScript does something else.
//
// It sleeps on the life mutexes of all processes at once. The kernel wakes it when
// it frees one, within a fraction of a millisecond of the death; the word must say
// that somebody waits, so the watcher puts FUTEX_WAITERS there itself. Ten times a second
// it looks anyway: at who came meanwhile, at locks that are held for long, at circles of
// waits. What it finds it does first and tells JavaScript afterwards.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "environment.hpp"
#include "thread.hpp"

namespace uwshm {
namespace {

constexpr uint64_t kTurnUs = 100000;
constexpr uint64_t kSoonUs = 500;
constexpr uint64_t kStoppedUs = 1000000;  // a stopped holder that others wait for is told after
constexpr uint32_t kPatienceMs = 20;

struct News {
  const char* kind;
  std::string lock;
  uint32_t pid, worker, waiters;
  uint64_t ms;
};

// glibc's mutex begins with the futex word that the kernel knows.
static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0);
uint32_t* LifeWord(ProcessSlot& process) { return reinterpret_cast<uint32_t*>(&process.life); }

// The way to JavaScript, which ends before the thread does.
struct Teller {
  std::mutex mutex;
  napi_threadsafe_function call = nullptr;
};

Teller& Own() {
  static Teller* teller = new Teller;
  return *teller;
}

class Watcher {
 public:
  explicit Watcher(uint64_t alarm_us) : alarm_us_(alarm_us) {}

  [[noreturn]] void Run() {
    bool settled = true;
    for (uint64_t next = 0;;) {
      if (settled) SleepOnLives();
      else usleep(kSoonUs);
      settled = BuryTheDead();
      TellOfTheDead();
      const uint64_t now = MonotonicMicroseconds();
      if (now < next) continue;
      next = now + kTurnUs;
      locks_.Tick();
      LookForLongHolds(now);
      LookForCircles();
    }
  }

 private:
  void SleepOnLives() {
    futex_waitv lives[FUTEX_WAITV_MAX] = {};
    unsigned count = 0;
    for (uint32_t slot = 0; slot < table_.geometry().processes && count < FUTEX_WAITV_MAX; slot++) {
      ProcessSlot& process = table_.process(slot);
      if (slot == table_.own_slot() || process.claimed.load(std::memory_order_acquire) == 0) continue;
      uint32_t* word = LifeWord(process);
      uint32_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
      if ((value & FUTEX_TID_MASK) == 0) continue;  // dead, and known to be
      if (!(value & FUTEX_WAITERS) &&
          !__atomic_compare_exchange_n(word, &value, value | FUTEX_WAITERS, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;  // something happens there: look at once
      lives[count++] = {value | FUTEX_WAITERS, reinterpret_cast<uint64_t>(word), FUTEX_32, 0};
    }
    timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += static_cast<long>(kTurnUs) * 1000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    if (count > 0 && (syscall(SYS_futex_waitv, lives, count, 0, &until, CLOCK_MONOTONIC) >= 0 || errno != ENOSYS))
      return;
    usleep(count > 0 ? 10000 : kTurnUs);  // Linux before 5.16: a hundred looks a second
  }

  // False: somebody's end is not certain yet, or a guard is held. Look again soon.
  bool BuryTheDead() {
    std::vector<Life> dead;
    bool ended = true;
    for (uint32_t slot = 0; slot < table_.geometry().processes; slot++) {
      ProcessSlot& process = table_.process(slot);
      const Life life{slot, process.pid, process.start_time};
      if (slot == table_.own_slot() || process.claimed.load(std::memory_order_acquire) == 0 || buried_[slot] == life ||
          (__atomic_load_n(LifeWord(process), __ATOMIC_RELAXED) & FUTEX_TID_MASK) != 0)
        continue;
      if (table_.HasEnded(slot)) dead.push_back(life);
      else ended = false;
    }
    if (dead.empty()) return ended;
    if (!locks_.BuryGone(caller_)) return false;
    for (const Life& life : dead) buried_[life.slot] = life;
    return ended;
  }

  // Those who wait, and the reclaimer, bury as well; whoever it was, it is told here.
  void TellOfTheDead() {
    const uint64_t now = MonotonicMicroseconds();
    for (uint32_t lock = 0; lock < locks_.used(); lock++) {
      const UserLock& row = locks_.row(lock);
      const uint64_t recoveries = row.recoveries.load(), since = row.dead_since_us.load();
      if (recoveries == recoveries_[lock]) continue;
      recoveries_[lock] = recoveries;
      Tell({"died", locks_.NameOf(lock), row.dead_pid.load(), row.dead_worker.load(), WaitersOf(lock),
            since == 0 || since > now ? 0 : (now - since) / 1000});
    }
  }

  void LookForLongHolds(uint64_t now) {
    for (uint32_t lock = 0; lock < locks_.used(); lock++) {
      const UserLock& row = locks_.row(lock);
      const uint64_t word = row.word.load(std::memory_order_acquire), since = row.since_us.load();
      const uint64_t turn = row.acquisitions.load();
      auto told = told_.find(lock);
      if (told != told_.end() && (told->second.turn != turn || lock_word::IsFree(word))) {
        Tell({"free", locks_.NameOf(lock), told->second.pid, told->second.worker, 0,
              (now - told->second.since_us) / 1000});
        told = (told_.erase(told), told_.end());
      }
      if (told != told_.end() || lock_word::OwnerOf(word) == 0 || (word & lock_word::kShared) || since == 0 ||
          row.note_token.load() != lock_word::TokenOf(word) || now < since)
        continue;
      const uint32_t slot = lock_word::SlotOf(word);
      if (slot >= table_.geometry().processes) continue;
      const uint32_t pid = table_.process(slot).pid, worker = table_.process(slot).worker;
      const bool stopped = now - since > kStoppedUs && (word & lock_word::kWaiters) && IsStopped(pid);
      if (!stopped && (alarm_us_ == 0 || now - since < alarm_us_)) continue;
      told_[lock] = {turn, since, pid, worker};
      Tell({stopped || IsStopped(pid) ? "stopped" : "held", locks_.NameOf(lock), pid, worker, WaitersOf(lock),
            (now - since) / 1000});
    }
  }

  // Twice the same tickets: nobody in it has moved for a turn.
  void LookForCircles() {
    std::map<uint64_t, Circle> circles;  // by the youngest ticket
    for (const Circle& circle : locks_.Circles(kTurnUs)) {
      uint64_t youngest = 0;
      for (const CircleLink& link : circle) youngest = std::max(youngest, link.ticket);
      circles[youngest] = circle;
    }
    for (const auto& [youngest, circle] : circles) {
      auto before = suspected_.find(youngest);
      if (before == suspected_.end() || !Same(before->second, circle)) continue;
      for (const CircleLink& link : circle) {
        if (link.ticket != youngest || !locks_.Break(link, caller_)) continue;
        // The youngest first; then along the circle, back to it.
        const auto start = static_cast<size_t>(&link - circle.data());
        for (size_t i = 0; i < circle.size(); i++) {
          const CircleLink& at = circle[(start + i) % circle.size()];
          Tell({"circle", locks_.NameOf(at.lock), at.pid, at.worker, static_cast<uint32_t>(circle.size() - i), 0});
        }
      }
    }
    suspected_ = std::move(circles);
  }

  static bool Same(const Circle& a, const Circle& b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); i++)
      if (a[i].ticket != b[i].ticket || a[i].record != b[i].record) return false;
    return true;
  }

  uint32_t WaitersOf(uint32_t lock) const { return locks_.Figures()[lock].waiters; }

  // Field 3 of /proc/PID/stat; the second, the program's name, may hold anything.
  static bool IsStopped(uint32_t pid) {
    char line[512] = "";
    FILE* file = fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
    if (file == nullptr) return false;
    const char* end = fgets(line, sizeof line, file) ? strrchr(line, ')') : nullptr;
    fclose(file);
    return end != nullptr && strlen(end) > 2 && (end[2] == 'T' || end[2] == 't');
  }

  void Tell(const News& news) const {
    std::lock_guard<std::mutex> alone(Own().mutex);
    auto* told = new News(news);
    if (Own().call == nullptr || napi_call_threadsafe_function(Own().call, told, napi_tsfn_nonblocking) != napi_ok)
      delete told;
  }

  struct Life {
    uint32_t slot, pid;
    uint64_t start_time;
    bool operator==(const Life& other) const {
      return slot == other.slot && pid == other.pid && start_time == other.start_time;
    }
  };
  struct Told {
    uint64_t turn, since_us;
    uint32_t pid, worker;
  };

  const uint64_t alarm_us_;
  Instance& instance_ = *ProcessInstance();
  ProcessTable& table_ = instance_.processes();
  UserLocks& locks_ = instance_.user_locks();
  const Caller caller_ = instance_.Nobody(kPatienceMs);
  std::vector<Life> buried_ = std::vector<Life>(table_.geometry().processes);
  std::vector<uint64_t> recoveries_ = std::vector<uint64_t>(locks_.geometry().most);
  std::map<uint32_t, Told> told_;  // by lock
  std::map<uint64_t, Circle> suspected_;
};

void CallBack(napi_env env, napi_value callback, void*, void* data) {
  auto* news = static_cast<News*>(data);
  if (env != nullptr) {
    napi_value arguments[6], undefined;
    napi_create_string_utf8(env, news->kind, NAPI_AUTO_LENGTH, &arguments[0]);
    napi_create_string_utf8(env, news->lock.data(), news->lock.size(), &arguments[1]);
    napi_create_uint32(env, news->pid, &arguments[2]);
    napi_create_uint32(env, news->worker, &arguments[3]);
    napi_create_double(env, static_cast<double>(news->ms), &arguments[4]);
    napi_create_uint32(env, news->waiters, &arguments[5]);
    napi_get_undefined(env, &undefined);
    napi_call_function(env, undefined, callback, 6, arguments, nullptr);
  }
  delete news;
}

// watchLocks(alarmMs, callback): once per process.
napi_value WatchLocks(napi_env env, napi_callback_info info) {
  napi_value arguments[2], name;
  size_t count = 2;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (ProcessInstance() == nullptr) return Environment::Of(env)->Throw("NOT_ATTACHED");
  double alarm_ms = 0;
  napi_get_value_double(env, arguments[0], &alarm_ms);
  Teller& teller = Own();
  napi_create_string_utf8(env, "uwshm: lock watcher", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, arguments[1], nullptr, name, 0, 1, nullptr, nullptr, nullptr, CallBack,
                                      &teller.call) != napi_ok)
    return nullptr;
  napi_unref_threadsafe_function(env, teller.call);
  auto hang_up = [](void*) {
    std::lock_guard<std::mutex> alone(Own().mutex);
    Own().call = nullptr;
  };
  napi_add_env_cleanup_hook(env, hang_up, nullptr);
  ProcessInstance()->user_locks().Tick();

  auto run = [](void* watcher) -> void* { static_cast<Watcher*>(watcher)->Run(); };
  if (!StartThread(run, new Watcher(static_cast<uint64_t>(alarm_ms * 1000)))) abort();  // as Node does without its own
  return nullptr;
}

}  // namespace

void InitLockWatcher(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "watchLocks", NAPI_AUTO_LENGTH, WatchLocks, nullptr, &function);
  napi_set_named_property(env, exports, "watchLocks", function);
}

}  // namespace uwshm
