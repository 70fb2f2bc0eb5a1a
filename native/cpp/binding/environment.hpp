// What the binding keeps: one instance per process, one Environment per
// JavaScript environment (the main thread, each worker thread).
//
// The process's part is never destroyed: native threads and other environments
// may outlive whoever made it. The environment's part goes with it; its thread
// slot is free for the next thread then.
#pragma once

#include <node_api.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "../instance.hpp"

namespace uwshm {

struct Environment;

// A cache as one thread uses it; bound to each of its hot functions.
struct BoundCache {
  Environment* home;
  Cache* cache;
  Status last = Status::kOk;  // of the last write: why it was refused
  bool bytes_last = false;    // the last value was an array, no string
};

// Private memory for bytes on their way; grows, and is never cleared.
struct Room {
  uint8_t* bytes = nullptr;
  size_t size = 0;

  // nullptr: there is no memory.
  uint8_t* AtLeast(size_t wanted) {
    if (wanted > size) {
      free(bytes);
      bytes = static_cast<uint8_t*>(malloc(wanted));
      size = bytes != nullptr ? wanted : 0;
    }
    return bytes;
  }
  ~Room() { free(bytes); }
};

// JavaScript's memory that `read` copies a value to; the next one goes behind it.
struct Slab {
  uint8_t* at = nullptr;
  size_t room = 0;
};

struct Environment {
  napi_env env = nullptr;
  napi_ref error_class = nullptr;
  Caller caller{};
  bool entered = false;  // has a thread slot
  std::vector<std::unique_ptr<BoundCache>> bound;

  // User locks, and those that are waited for without blocking (lock_waiter.cpp).
  UserLocks* user_locks = nullptr;  // once entered
  napi_threadsafe_function lock_calls = nullptr;
  uint32_t lock_waits = 0;

  Room key_room, value_room, expected_room;
  Slab slabs[2];  // for small values, and for others: see src/cache/slabs.ts

  static Environment* Of(napi_env env);

  // Gives the calling thread its slot. False: a JavaScript error is pending.
  bool Enter();
  void Leave();

  // Throws new UwsgiError(code, ...about); always returns nullptr.
  napi_value Throw(const char* code, const std::vector<std::string>& about = {});
  // The error for an outcome that is no answer: busy, corrupt, out of memory.
  napi_value Throw(Status status, Cache& cache);
};

// The instance this process is attached to, or nullptr.
Instance* ProcessInstance();

// This process's worker id, 0 = none.
uint32_t ProcessWorker();

uint64_t BootMilliseconds();
uint64_t MonotonicMicroseconds();

// What the wall clock said, or will say, at a moment of boot time.
uint64_t EpochSeconds(uint64_t boot_ms);

// The code of an outcome that refuses a write; nullptr for any other.
const char* RefusalName(Status status);

void InitInstance(napi_env env, napi_value exports);
void InitCache(napi_env env, napi_value exports);
void InitListen(napi_env env, napi_value exports);
void InitAccepting(napi_env env, napi_value exports);
void InitSocketQueue(napi_env env, napi_value exports);
void InitAccounting(napi_env env, napi_value exports);
void InitMetrics(napi_env env, napi_value exports);
void InitStore(napi_env env, napi_value exports);
void InitUserLocks(napi_env env, napi_value exports, Environment* environment);
void InitLockWatcher(napi_env env, napi_value exports);
void InitMailbox(napi_env env, napi_value exports);

}  // namespace uwshm
