// The module's entry, and the errors it throws.
#include <ctime>

#include "environment.hpp"

namespace uwshm {

Environment* Environment::Of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Environment*>(data);
}

bool Environment::Enter() {
  if (entered) return true;
  Instance* instance = ProcessInstance();
  if (instance == nullptr) {
    Throw("NOT_ATTACHED");
    return false;
  }
  entered = instance->EnterThread(&caller) == Status::kOk;
  if (!entered) Throw("TOO_MANY_THREADS", {std::to_string(instance->processes().geometry().threads)});
  return entered;
}

void Environment::Leave() {
  if (entered && ProcessInstance() != nullptr) ProcessInstance()->LeaveThread(caller);
  entered = false;
}

napi_value Environment::Throw(const char* code, const std::vector<std::string>& about) {
  napi_value type, error;
  std::vector<napi_value> arguments(about.size() + 1);
  napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &arguments[0]);
  for (size_t i = 0; i < about.size(); i++)
    napi_create_string_utf8(env, about[i].data(), about[i].size(), &arguments[i + 1]);
  if (error_class == nullptr) {
    napi_throw_error(env, code, code);
  } else if (napi_get_reference_value(env, error_class, &type) == napi_ok &&
             napi_new_instance(env, type, arguments.size(), arguments.data(), &error) == napi_ok) {
    napi_throw(env, error);
  }
  return nullptr;
}

napi_value Environment::Throw(Status status, Cache& cache) {
  if (status == Status::kBusy)
    return Throw("BUSY", {cache.name(), std::to_string(caller.patience_ms), std::to_string(cache.HolderPid())});
  if (status == Status::kLockBroken) return Throw("LOCK_BROKEN", {"cache " + cache.name()});
  if (status == Status::kNoMemory) return Throw("OUT_OF_MEMORY", {cache.name()});
  return Throw("CACHE_CORRUPT", {cache.name(), "a link leads nowhere"});
}

namespace {

uint64_t Nanoseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

uint64_t BootMilliseconds() { return Nanoseconds(CLOCK_BOOTTIME) / 1'000'000; }

uint64_t MonotonicMicroseconds() { return Nanoseconds(CLOCK_MONOTONIC) / 1'000; }

uint64_t EpochSeconds(uint64_t boot_ms) {
  const uint64_t booted_at = Nanoseconds(CLOCK_REALTIME) - Nanoseconds(CLOCK_BOOTTIME);
  return (booted_at + boot_ms * 1'000'000) / 1'000'000'000;
}

}  // namespace uwshm

NAPI_MODULE_INIT() {
  auto* environment = new uwshm::Environment;
  environment->env = env;
  napi_set_instance_data(
      env, environment,
      [](napi_env, void* data, void*) {
        auto* environment = static_cast<uwshm::Environment*>(data);
        environment->Leave();
        delete environment;
      },
      nullptr);
  uwshm::InitInstance(env, exports);
  uwshm::InitCache(env, exports);
  uwshm::InitListen(env, exports);
  uwshm::InitAccepting(env, exports);
  uwshm::InitSocketQueue(env, exports);
  uwshm::InitAccounting(env, exports);
  uwshm::InitMetrics(env, exports);
  uwshm::InitStore(env, exports);
  uwshm::InitUserLocks(env, exports, environment);
  uwshm::InitLockWatcher(env, exports);
  uwshm::InitMailbox(env, exports);
  return exports;
}
