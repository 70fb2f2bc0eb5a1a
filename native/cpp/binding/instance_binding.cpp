// Set-up and figures: making or joining an instance, and what the master and
// the stats server ask of it. None of this is hot, so it is written for reading.
#include <fcntl.h>
#include <napi.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <mutex>

#include "../sweeper.hpp"
#include "cache_spec.hpp"
#include "environment.hpp"
#include "process_end.hpp"

namespace uwshm {
namespace {

struct Process {
  std::mutex mutex;
  std::atomic<Instance*> instance{nullptr};  // other threads look without the mutex
  uint32_t worker = 0;
};

Process& OwnProcess() {
  static Process* process = new Process;  // never destroyed: native threads outlive us
  return *process;
}

void Draw(void* bytes, size_t size) {
  // Up to 256 bytes come whole, once the machine has booted.
  if (getrandom(bytes, size, 0) != static_cast<ssize_t>(size)) abort();
}

Self WhoAmI(uint32_t worker) {
  struct stat pid_namespace = {};
  stat("/proc/self/ns/pid", &pid_namespace);
  const auto pid = static_cast<uint32_t>(getpid());
  return {pid,
          worker,
          StartTime(pid),
          static_cast<uint64_t>(pid_namespace.st_ino),
          BootMilliseconds,
          HasEnded,
          MonotonicMicroseconds};
}

std::string Hex(InstanceId id) {
  char text[33];
  snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(id.high),
           static_cast<unsigned long long>(id.low));
  return text;
}

InstanceId IdOf(const std::string& hex) {
  if (hex.size() != 32) return {0, 0};
  return {strtoull(hex.substr(0, 16).c_str(), nullptr, 16), strtoull(hex.substr(16).c_str(), nullptr, 16)};
}

Environment& Home(const Napi::CallbackInfo& info) { return *Environment::Of(info.Env()); }

Napi::Value Undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

// The instance, or nullptr with an error pending.
Instance* Attached(const Napi::CallbackInfo& info) {
  if (ProcessInstance() == nullptr) Home(info).Throw("NOT_ATTACHED");
  return ProcessInstance();
}

Cache* CacheAt(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  if (instance == nullptr) return nullptr;
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  if (index < instance->caches().size()) return instance->caches()[index].get();
  Napi::RangeError::New(info.Env(), "no such cache").ThrowAsJavaScriptException();
  return nullptr;
}

void Throw(Environment& home, Status status, const Trouble& trouble) {
  switch (status) {
    case Status::kLayout:
      home.Throw("SEGMENT_LAYOUT", {trouble.segment, std::to_string(trouble.found), std::to_string(trouble.expected)});
      break;
    case Status::kPidNamespace: home.Throw("SEGMENT_PID_NAMESPACE"); break;
    case Status::kNoMemory:
      home.Throw("NO_MEMORY", {trouble.segment, std::to_string(trouble.expected), strerror(errno)});
      break;
    case Status::kTooLarge:
      home.Throw("SEGMENT_TOO_LARGE",
                 {trouble.segment, std::to_string(trouble.found), std::to_string(trouble.expected)});
      break;
    case Status::kInUse: home.Throw("LOCKS_IN_USE"); break;
    case Status::kNoProcessSlot: home.Throw("TOO_MANY_PROCESSES", {std::to_string(trouble.expected)}); break;
    default: home.Throw("SEGMENT_FOREIGN", {trouble.segment, "magic, seals, size or instance id differ"});
  }
}

Napi::Value Errors(const Napi::CallbackInfo& info) {
  Environment& home = Home(info);
  if (home.error_class == nullptr) napi_create_reference(info.Env(), info[0], 1, &home.error_class);
  return Undefined(info);
}

// Takes down what a failed attempt has mapped, and closes its descriptors: those
// that segments have, and those of `opened` that no segment took. errno stays.
void GiveUp(Instance* instance, const std::vector<int>& opened) {
  const int why = errno;
  const std::vector<int> taken = instance->Descriptors();
  instance->Leave();
  delete instance;
  for (int fd : opened)
    if (std::find(taken.begin(), taken.end(), fd) == taken.end()) close(fd);
  errno = why;
}

// Locks that are the kernel's outlive their processes; the last to exit removes them.
void LeaveLocksAtExit(Instance& instance) {
  if (instance.locks().engine().kernel != nullptr) atexit([] { ProcessInstance()->locks().Leave(); });
}

Napi::Value Create(const Napi::CallbackInfo& info) {
  Environment& home = Home(info);
  std::lock_guard<std::mutex> alone(OwnProcess().mutex);
  if (OwnProcess().instance != nullptr) return home.Throw("ALREADY_ATTACHED"), Undefined(info);

  const LockEngine* engine = LockTable::EngineNamed(info[3].As<Napi::String>().Utf8Value().c_str());
  if (engine == nullptr) {
    std::string known;
    for (auto each = LockTable::Engines(); *each; each++)
      known += (known.empty() ? "" : ", ") + std::string((*each)->name);
    return home.Throw("UNKNOWN_LOCK_ENGINE", {info[3].As<Napi::String>(), known}), Undefined(info);
  }

  Trouble trouble;
  std::vector<CacheSpec> caches;
  const Napi::Array rows = info[4].As<Napi::Array>();
  const double memory = info[5].As<Napi::Number>().DoubleValue();
  double needed = 0;
  std::vector<int> stores;
  for (uint32_t i = 0; i < rows.Length(); i++) {
    const Napi::Array row = Napi::Value(rows[i]).As<Napi::Array>();
    auto number = [&](uint32_t column) { return Napi::Value(row[column]).As<Napi::Number>().DoubleValue(); };
    CacheSpec spec;
    trouble.expected = 1 << 30;
    if (!ReadSpec(row, &spec, &trouble.found)) {
      trouble.segment = "cache " + spec.name;
      return Throw(home, Status::kTooLarge, trouble), Undefined(info);
    }
    Draw(&spec.seed, sizeof spec.seed);
    spec.store = {number(12) < 0 ? -1 : static_cast<int>(number(12)), ThisBoot(), static_cast<uint32_t>(getpid()),
                  Napi::Value(row[13u]).As<Napi::Boolean>()};
    const double blocks = spec.blocks != 0 ? spec.blocks : number(1);
    if (spec.store.fd >= 0) stores.push_back(spec.store.fd);
    // What full use touches; keys over 64 bytes are too rare to refuse a start for. Of a file, what does not fit stays
    // on the disk.
    else needed += number(1) * (sizeof(Item) + kMiddleKey) + blocks * number(2) + 4.0 * spec.hashsize;
    caches.push_back(spec);
  }
  if (memory > 0 && needed > memory) {
    trouble = {caches.size() == 1 ? "cache " + caches[0].name : "caches", static_cast<uint64_t>(needed),
               static_cast<uint64_t>(memory)};
    return Throw(home, Status::kTooLarge, trouble), Undefined(info);
  }

  InstanceId id;
  Draw(&id, sizeof id);
  auto* instance = new Instance;  // once attached, kept for good
  auto count = [&](size_t argument) { return info[argument].As<Napi::Number>().Uint32Value(); };
  LockChoice locks(engine);
  locks.first_key = info[6].As<Napi::Number>().Int32Value();
  locks.persistent = info[7].As<Napi::Boolean>().Value();
  const InstanceSpec spec{count(0),
                          count(1),
                          count(2),
                          static_cast<uint64_t>(time(nullptr)),
                          locks,
                          caches,
                          {count(8), count(9)},
                          {count(10), count(11)}};
  Status status = instance->Create(id, spec, WhoAmI(0), &trouble);
  if (status != Status::kOk) {
    GiveUp(instance, stores);
    for (const CacheSpec& cache : caches)
      if (status == Status::kNoMemory && cache.store.fd >= 0 && trouble.segment == "cache " + cache.name)
        return home.Throw("STORE_NO_ROOM", {cache.name, std::to_string(trouble.expected), strerror(errno)}),
               Undefined(info);
    return Throw(home, status, trouble), Undefined(info);
  }
  OwnProcess().instance = instance;
  LeaveLocksAtExit(*instance);
  return Undefined(info);
}

Napi::Value Attach(const Napi::CallbackInfo& info) {
  Environment& home = Home(info);
  std::lock_guard<std::mutex> alone(OwnProcess().mutex);
  if (OwnProcess().instance != nullptr) return home.Throw("ALREADY_ATTACHED"), Undefined(info);
  const Napi::Array paths = info[1].As<Napi::Array>();
  const uint32_t worker = info[2].As<Napi::Number>().Uint32Value();
  std::vector<int> fds;
  for (uint32_t i = 0; i < paths.Length(); i++) {
    const std::string path = Napi::Value(paths[i]).As<Napi::String>();
    fds.push_back(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (fds.back() >= 0) continue;
    const std::string why = path + ": " + strerror(errno);
    for (int fd : fds) close(fd);
    return home.Throw("SEGMENT_FOREIGN", {i == 0 ? "root" : "next", why}), Undefined(info);
  }
  Trouble trouble;
  auto* instance = new Instance;
  Status status = instance->Attach(IdOf(info[0].As<Napi::String>()), fds, WhoAmI(worker), &trouble);
  if (status != Status::kOk) {
    GiveUp(instance, fds);
    return Throw(home, status, trouble), Undefined(info);
  }
  OwnProcess().worker = worker <= instance->accounting().workers() ? worker : 0;
  OwnProcess().instance = instance;
  LeaveLocksAtExit(*instance);
  return Undefined(info);
}

Napi::Value IsAttached(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), ProcessInstance() != nullptr);
}

Napi::Value GetInstance(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  if (instance == nullptr) return Undefined(info);
  Napi::Array fds = Napi::Array::New(info.Env());
  for (int fd : instance->Descriptors()) fds[fds.Length()] = fd;
  Napi::Object result = Napi::Object::New(info.Env());
  result["id"] = Hex(instance->id());
  result["fds"] = fds;
  return result;
}

Napi::Value LockEngineTitle(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  return instance ? Napi::String::New(info.Env(), instance->locks().engine().title) : Undefined(info);
}

Napi::Value LockEngineName(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  return instance ? Napi::String::New(info.Env(), instance->locks().engine().name) : Undefined(info);
}

Napi::Value ReapLocks(const Napi::CallbackInfo& info) {
  uint32_t removed = 0;
  for (auto engine = LockTable::Engines(); *engine; engine++)
    if ((*engine)->kernel != nullptr) removed += (*engine)->kernel->reap();
  return Napi::Number::New(info.Env(), removed);
}

Napi::Value CacheNames(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  if (instance == nullptr) return Undefined(info);
  Napi::Array names = Napi::Array::New(info.Env());
  for (auto& cache : instance->caches()) names[names.Length()] = Napi::String::New(info.Env(), cache->name());
  return names;
}

Napi::Value FiguresOf(const Napi::CallbackInfo& info) {
  Cache* cache = CacheAt(info);
  if (cache == nullptr) return Undefined(info);
  const CacheGeometry& geometry = cache->geometry();
  const CacheFigures figures = cache->Figures(ProcessInstance()->processes().threads_used());
  Napi::Object row = Napi::Object::New(info.Env());
  auto put = [&](const char* name, uint64_t number) {
    row[name] = Napi::Number::New(info.Env(), static_cast<double>(number));
  };
  row["name"] = cache->name();
  row["hash"] = kHashNames[cache->rules().hash];
  put("hashsize", geometry.hashsize);
  put("keysize", geometry.keysize);
  put("maxItems", geometry.max_items);
  put("blocks", geometry.blocks != 0 ? geometry.blocks : geometry.max_items);
  row["bitmap"] = geometry.blocks != 0;
  put("blocksTaken", figures.blocks_taken);
  put("moves", figures.moves);
  put("blocksize", geometry.blocksize);
  put("items", figures.items);
  put("hits", figures.hits);
  put("miss", figures.misses);
  put("full", figures.full);
  put("repairs", figures.repairs);
  put("evictions", figures.evictions);
  row["policy"] = kPolicyNames[geometry.policy];
  put("expired", figures.expired);
  put("longestChain", figures.longest_chain);
  put("damaged", figures.damaged);
  put("bytes", cache->segment().Resident());
  put("lastModifiedAt", figures.modified_at == 0 ? 0 : EpochSeconds(figures.modified_at));
  Napi::Object refused = Napi::Object::New(info.Env());
  for (auto status = static_cast<uint32_t>(Status::kNotFound); status < static_cast<uint32_t>(Status::kBusy); status++)
    refused[RefusalName(static_cast<Status>(status))] =
        Napi::Number::New(info.Env(), static_cast<double>(figures.refused[status]));
  row["refused"] = refused;
  return row;
}

Napi::Value CheckCache(const Napi::CallbackInfo& info) {
  Cache* cache = CacheAt(info);
  if (cache == nullptr) return Undefined(info);
  const std::string fault = cache->Check();
  return fault.empty() ? info.Env().Null() : Napi::String::New(info.Env(), fault);
}

Napi::Value StartSweeper(const Napi::CallbackInfo& info) {
  Environment& home = Home(info);
  Instance* instance = Attached(info);
  if (instance == nullptr) return Undefined(info);
  static auto* sweeper = new Sweeper;  // never destroyed: the thread may outlive static destructors
  sweeper->Stop();
  switch (sweeper->Start(*instance, info[0].As<Napi::Number>().Uint32Value())) {
    case Status::kOk: break;
    case Status::kNoThreadSlot:
      return home.Throw("TOO_MANY_THREADS", {std::to_string(instance->processes().geometry().threads)}),
             Undefined(info);
    default: return home.Throw("NO_THREAD", {"the sweeper"}), Undefined(info);
  }
  static const int at_exit = atexit([] { sweeper->Stop(); });
  static_cast<void>(at_exit);
  return Undefined(info);
}

Napi::Value Reclaim(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  return instance ? Napi::Number::New(info.Env(), instance->Reclaim()) : Undefined(info);
}

Napi::Value Processes(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  if (instance == nullptr) return Undefined(info);
  ProcessTable& table = instance->processes();
  Napi::Array list = Napi::Array::New(info.Env());
  for (uint32_t slot = 0; slot < table.geometry().processes; slot++) {
    ProcessSlot& process = table.process(slot);
    if (process.claimed.load(std::memory_order_acquire) == 0) continue;
    Napi::Object row = Napi::Object::New(info.Env());
    row["slot"] = slot;
    row["pid"] = process.pid;
    row["worker"] = process.worker;
    row["alive"] = Napi::Boolean::New(info.Env(), slot == table.own_slot() || table.Alive(slot));
    list[list.Length()] = row;
  }
  return list;
}

Napi::Value Locks(const Napi::CallbackInfo& info) {
  Instance* instance = Attached(info);
  if (instance == nullptr) return Undefined(info);
  Napi::Array list = Napi::Array::New(info.Env());
  for (const auto& holder : instance->Holders()) {
    Napi::Array row = Napi::Array::New(info.Env(), 2);
    row[uint32_t{0}] = holder.first;
    row[uint32_t{1}] = holder.second;
    list[list.Length()] = row;
  }
  return list;
}

}  // namespace

Instance* ProcessInstance() { return OwnProcess().instance; }

uint32_t ProcessWorker() { return OwnProcess().worker; }

void InitInstance(napi_env env, napi_value target) {
  Napi::Object exports(env, target);
  auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports[name] = Napi::Function::New(env, call, name);
  };
  add("errors", Errors);
  add("create", Create);
  add("attach", Attach);
  add("attached", IsAttached);
  add("instance", GetInstance);
  add("lockEngineTitle", LockEngineTitle);
  add("lockEngineName", LockEngineName);
  add("reapLocks", ReapLocks);
  add("cacheNames", CacheNames);
  add("cacheFigures", FiguresOf);
  add("checkCache", CheckCache);
  add("startSweeper", StartSweeper);
  add("reclaim", Reclaim);
  add("processes", Processes);
  add("locks", Locks);
}

}  // namespace uwshm
